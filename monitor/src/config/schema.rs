//! The schema of the configuration, for editors and for programs that write configurations.

use super::Config;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use std::borrow::Cow;

/// Of the file, as JSON Schema. What it says of healers' own settings is nothing: they are their own.
#[must_use]
pub fn schema() -> serde_json::Value {
    schema_for!(Config).to_value()
}

/// A duration as it is written.
pub(super) struct WrittenDuration;

impl JsonSchema for WrittenDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number and ns, us, ms, s, m or h.",
            "type": "string",
            "pattern": "^ *[0-9]*[.]?[0-9]+ *(ns|us|ms|s|m|h)$",
        })
    }
}
