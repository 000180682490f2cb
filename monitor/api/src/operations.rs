//! How requests travel: which method and path each has.
//!
//! Fields that the path names are in it. The others are parameters behind `?` if the method is GET, and fields of a JSON body if it is
//! POST. GET changes nothing anywhere; POST may.

use crate::{
    AuditAnswer, Event, Failure, FenceAnswer, HealAnswer, HealersAnswer, OffersAnswer, PeerSummary,
    ProcessesAnswer, ProposalRow, Query, ReloadAnswer, Report, SensorsAnswer, SessionRow, TargetSummary,
    VerdictsAnswer,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Number, Value};

/// Most bytes of the body of a request.
pub const MOST_BODY_BYTES: usize = 16 << 10;

/// What is left as it is in paths and parameters: RFC 3986, section 2.3.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Changes nothing.
    Get,
    /// May change something.
    Post,
}

/// What an answer is.
#[derive(Clone, Copy)]
pub enum Answered {
    /// One JSON document, of this schema.
    Document(fn(&mut SchemaGenerator) -> Schema),
    /// Server-sent events, each of this schema.
    Stream(fn(&mut SchemaGenerator) -> Schema),
}

/// How a request travels.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Name of the request.
    pub request: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path, with names of fields in braces.
    pub path: &'static str,
    /// What is answered.
    pub answered: Answered,
}

const fn document<T: JsonSchema>() -> Answered {
    Answered::Document(SchemaGenerator::subschema_for::<T>)
}

const fn operation(
    request: &'static str,
    method: Method,
    path: &'static str,
    answered: Answered,
) -> Operation {
    Operation { request, method, path, answered }
}

/// All there are.
pub const OPERATIONS: [Operation; 18] = {
    use Method::{Get, Post};
    [
        operation("targets", Get, "/v1/targets", document::<Vec<TargetSummary>>()),
        operation("sensors", Get, "/v1/targets/{target}/sensors", document::<SensorsAnswer>()),
        operation("processes", Get, "/v1/targets/{target}/processes", document::<ProcessesAnswer>()),
        operation("offers", Get, "/v1/targets/{target}/offers", document::<OffersAnswer>()),
        operation("audit", Get, "/v1/targets/{target}/audit", document::<AuditAnswer>()),
        operation("sessions", Get, "/v1/targets/{target}/sessions", document::<Vec<SessionRow>>()),
        operation("heal", Post, "/v1/targets/{target}/heal", document::<HealAnswer>()),
        operation("recover", Post, "/v1/targets/{target}/recover", document::<Report>()),
        operation("fence", Post, "/v1/targets/{target}/fence", document::<FenceAnswer>()),
        operation("approve", Post, "/v1/targets/{target}/proposals/{id}/approve", document::<HealAnswer>()),
        operation("reject", Post, "/v1/targets/{target}/proposals/{id}/reject", document::<()>()),
        operation("proposals", Get, "/v1/proposals", document::<Vec<ProposalRow>>()),
        operation("verdicts", Get, "/v1/verdicts", document::<Vec<VerdictsAnswer>>()),
        operation("healers", Get, "/v1/healers", document::<Vec<HealersAnswer>>()),
        operation("peers", Get, "/v1/peers", document::<Vec<PeerSummary>>()),
        operation("reload", Post, "/v1/reload", document::<ReloadAnswer>()),
        operation("events", Get, "/v1/events", document::<Vec<Event>>()),
        operation(
            "follow",
            Get,
            "/v1/events/stream",
            Answered::Stream(SchemaGenerator::subschema_for::<Event>),
        ),
    ]
};

/// Fields in paths and parameters that are numbers.
const NUMBERS: [&str; 3] = ["id", "last", "lines"];
/// Those that are `true` or `false`.
const FLAGS: [&str; 1] = ["audit"];

/// A request on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The method.
    pub method: Method,
    /// The path, with parameters behind `?`.
    pub path: String,
    /// The body, if the method is POST.
    pub body: Option<Value>,
}

impl Query {
    /// How it travels.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which is a defect of this crate.
    pub fn sent(&self) -> Result<Sent, serde_json::Error> {
        let mut fields = match serde_json::to_value(self)? {
            Value::Object(fields) => fields,
            other => return Err(serde::de::Error::custom(format!("not an object: {other}"))),
        };
        let request =
            fields.remove("request").and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default();
        let operation = OPERATIONS.iter().find(|operation| operation.request == request);
        let operation =
            operation.ok_or_else(|| serde::de::Error::custom(format!("no path for `{request}`")))?;
        let mut path = operation.path.to_owned();
        for name in operation.fields() {
            let value = fields.remove(name).map(|value| escaped(&value)).unwrap_or_default();
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        fields.retain(|_, value| !value.is_null());
        if operation.method == Method::Post {
            return Ok(Sent { method: Method::Post, path, body: Some(Value::Object(fields)) });
        }
        for (index, (name, value)) in fields.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            path.push_str(&format!("{mark}{name}={}", escaped(value)));
        }
        Ok(Sent { method: Method::Get, path, body: None })
    }
}

impl Operation {
    /// Names of the fields in its path.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// The request that arrived this way: `words` are the fields of the path and the parameters, and `body` is the body.
    ///
    /// # Errors
    /// [`crate::ErrorKind::BadRequest`], with what is wrong.
    pub fn query(
        &self,
        words: impl IntoIterator<Item = (String, String)>,
        body: Map<String, Value>,
    ) -> Result<Query, Failure> {
        let mut fields = body;
        // Whoever sends these would have another request understood than the path says.
        for name in self.fields().chain(["request"]) {
            if fields.contains_key(name) {
                return Err(Failure::bad_request(format!("`{name}` belongs in the path")));
            }
        }
        for (name, word) in words {
            let value = value_of(&name, word)?;
            if fields.insert(name.clone(), value).is_some() || name == "request" {
                return Err(Failure::bad_request(format!("`{name}` is given twice")));
            }
        }
        fields.insert("request".to_owned(), self.request.into());
        serde_json::from_value(Value::Object(fields)).map_err(|error| Failure::bad_request(error.to_string()))
    }
}

fn escaped(value: &Value) -> String {
    match value {
        Value::String(text) => utf8_percent_encode(text, PLAIN).to_string(),
        other => other.to_string(),
    }
}

fn value_of(name: &str, word: String) -> Result<Value, Failure> {
    if NUMBERS.contains(&name) {
        let number: u64 = word
            .parse()
            .map_err(|_| Failure::bad_request(format!("`{name}` must be a number, not `{word}`")))?;
        return Ok(Value::Number(Number::from(number)));
    }
    if FLAGS.contains(&name) {
        let flag: bool = word
            .parse()
            .map_err(|_| Failure::bad_request(format!("`{name}` must be `true` or `false`, not `{word}`")))?;
        return Ok(Value::Bool(flag));
    }
    Ok(Value::String(word))
}

#[cfg(test)]
mod tests;
