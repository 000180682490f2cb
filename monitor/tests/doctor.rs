//! `backdoors doctor` on whatever machine this is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use std::process::{Command, Output};

fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backdoors")).arg("doctor").args(arguments).output().unwrap()
}

/// What is promised of its JSON.
fn schema() -> Value {
    let role = json!({ "enum": ["target", "monitor", "standby"] });
    let text = json!({ "type": "string", "minLength": 1 });
    let finding = json!({
        "type": "object",
        "required": ["name", "state", "roles", "found", "means", "remedy"],
        "additionalProperties": false,
        "properties": {
            "name": text,
            "state": { "enum": ["good", "could-be-better", "missing"] },
            "roles": { "type": "array", "items": role, "minItems": 1 },
            "found": text,
            "means": text,
            "remedy": { "type": ["string", "null"], "minLength": 1 }
        },
        "if": { "properties": { "state": { "const": "good" } } },
        "then": { "properties": { "remedy": { "type": "null" } } },
        "else": { "properties": { "remedy": { "type": "string" } } }
    });
    json!({
        "type": "object",
        "required": ["version", "roles", "findings"],
        "additionalProperties": false,
        "properties": {
            "version": text,
            "roles": { "type": "array", "minItems": 1, "items": {
                "type": "object",
                "required": ["role", "can", "lacks"],
                "additionalProperties": false,
                "properties": {
                    "role": role, "can": { "type": "boolean" }, "lacks": { "type": "array", "items": text }
                }
            } },
            "findings": { "type": "array", "minItems": 1, "items": finding }
        }
    })
}

#[test]
fn what_this_machine_can_do_is_told_as_json_of_the_promised_form() {
    let output = doctor(&["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema())
        .unwrap()
        .iter_errors(&told)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?} in {told:#}");
    assert_eq!(told["roles"].as_array().unwrap().len(), 3);
    // Whoever can read this has a processor and a kernel, which is all that a monitor cannot do without.
    assert_eq!(told["roles"][1], json!({ "role": "monitor", "can": true, "lacks": [] }));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_exit_code_tells_whether_the_role_that_was_asked_for_can_be_had() {
    for role in ["target", "monitor", "standby"] {
        let output = doctor(&["--json", "--role", role]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let [answer] = &told["roles"].as_array().unwrap()[..] else { panic!("{told:#}") };
        assert_eq!(answer["role"], role);
        let code = if answer["can"] == true { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{answer}");
        let text = String::from_utf8(doctor(&["--role", role]).stdout).unwrap();
        let yes = if code == 0 { "yes" } else { "no, for want of " };
        assert!(text.lines().last().unwrap().starts_with(&format!("as {role:<8}  {yes}")), "{text}");
    }
}
