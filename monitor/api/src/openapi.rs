//! What there is, as a document for programs: OpenAPI 3.1.

use crate::operations::{Answered, Method, OPERATIONS, Operation};
use crate::{ErrorKind, Failure, Query};
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The media type of `/metrics`.
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Describes [`OPERATIONS`], `/metrics`, and itself.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let queries = generator.clone().into_root_schema_for::<Query>().to_value();
    // What the fields of requests refer to.
    let _ = generator.subschema_for::<Query>();
    let failure = generator.subschema_for::<Failure>();
    let mut paths = Map::new();
    for operation in &OPERATIONS {
        let described = describe(operation, &queries, &failure, &mut generator);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        let method = match operation.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        path[method] = described;
    }
    paths.insert("/metrics".to_owned(), plain("metrics", "What is known, for Prometheus.", METRICS_TYPE));
    paths.insert("/openapi.json".to_owned(), plain("openapi", "This document.", "application/json"));
    let mut schemas = generator.take_definitions(true);
    schemas.remove("Query");
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backdoors monitor",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn plain(name: &str, summary: &str, media: &str) -> Value {
    json!({ "get": {
        "operationId": name,
        "summary": summary,
        "responses": { "200": { "description": summary, "content": { media: {} } } },
    } })
}

fn describe(
    operation: &Operation,
    queries: &Value,
    failure: &Schema,
    generator: &mut SchemaGenerator,
) -> Value {
    let request = variant(queries, operation.request);
    let summary = request["description"].as_str().unwrap_or_default();
    let mut fields = request["properties"].as_object().cloned().unwrap_or_default();
    let required: Vec<&str> =
        request["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    fields.remove("request");
    let mut parameters: Vec<Value> =
        operation.fields().map(|name| parameter(name, "path", true, fields.remove(name))).collect();
    let (media, answer) = match operation.answered {
        Answered::Document(schema) => ("application/json", schema(generator)),
        Answered::Stream(schema) => ("text/event-stream", schema(generator)),
    };
    let mut described = json!({
        "operationId": operation.request,
        "summary": summary,
        "responses": {
            "200": { "description": summary, "content": { media: { "schema": answer } } },
            "default": { "description": "Why not.", "content": { "application/json": { "schema": failure } } },
        },
    });
    if operation.method == Method::Get {
        parameters.extend(fields.into_iter().map(|(name, schema)| {
            parameter(&name, "query", required.contains(&name.as_str()), Some(schema))
        }));
    } else {
        let required: Vec<&str> = required.into_iter().filter(|name| fields.contains_key(*name)).collect();
        let body = json!({ "type": "object", "properties": fields, "required": required, "additionalProperties": false });
        let content = json!({ "application/json": { "schema": body } });
        described["requestBody"] = json!({ "required": !required.is_empty(), "content": content });
    }
    described["parameters"] = parameters.into();
    described
}

fn variant<'a>(queries: &'a Value, request: &str) -> &'a Value {
    let all = queries["oneOf"].as_array().into_iter().flatten();
    all.into_iter().find(|schema| schema["properties"]["request"]["const"] == request).unwrap_or(&Value::Null)
}

fn parameter(name: &str, place: &str, required: bool, schema: Option<Value>) -> Value {
    let mut schema = schema.unwrap_or_else(|| json!({}));
    let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
    json!({ "name": name, "in": place, "required": required, "description": description, "schema": schema })
}

/// The HTTP status of a failure.
#[must_use]
pub fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::BadRequest => 400,
        ErrorKind::UnknownTarget | ErrorKind::NoSuchProcess | ErrorKind::NotOpen => 404,
        ErrorKind::NotAllowed => 403,
        ErrorKind::StandsBy | ErrorKind::Unsafe => 409,
        ErrorKind::BadConfiguration => 422,
        ErrorKind::Internal => 500,
        ErrorKind::Busy => 503,
        ErrorKind::Unreachable => 504,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_one_path_and_is_described() {
        let queries = schemars::schema_for!(Query).to_value();
        let all = queries["oneOf"].as_array().unwrap();
        assert_eq!(all.len(), OPERATIONS.len());
        for operation in &OPERATIONS {
            let request = variant(&queries, operation.request);
            assert!(!request.is_null(), "{}", operation.request);
            for name in operation.fields() {
                assert!(!request["properties"][name].is_null(), "{} has no field `{name}`", operation.path);
            }
        }
    }

    #[test]
    fn references_lead_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
