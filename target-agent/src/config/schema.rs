//! The schema of the configuration, for editors and for programs that write configurations.

use super::Config;
use super::may::{self, FENCE};
use backdoors_sensor_box::Opcode;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator, json_schema, schema_for};

/// Of the file, as JSON Schema.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schema_for!(Config);
    // They are in the units of the program, not in those of the file.
    RecursiveTransform(|part: &mut Schema| drop(part.remove("default"))).transform(&mut schema);
    schema.to_value()
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A whole number and ms or s.",
        "type": "string",
        "pattern": "^ *[0-9]+ *(ms|s)$",
    })
}

pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A whole number and KiB or MiB.",
        "type": "string",
        "pattern": "^ *[0-9]+ *(KiB|MiB)$",
    })
}

/// What a monitor may do.
pub(super) fn may(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = may::commands().map(Opcode::name).chain([FENCE]).collect();
    json_schema!({ "type": "array", "items": { "enum": names } })
}

/// Commands alone.
pub(super) fn commands(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<&str> = may::commands().map(Opcode::name).collect();
    json_schema!({ "type": "array", "items": { "enum": names } })
}
