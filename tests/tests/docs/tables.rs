//! What must have a line in a table of the documents has one, and nothing else has.

use crate::markdown::root;
use backdoors_monitor::journal::What;
use serde_json::Value;
use std::collections::BTreeSet;

/// The codes in the first cells of the tables below a heading.
fn below(heading: &str, text: &str) -> BTreeSet<String> {
    let (_, part) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let cells = part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

fn operations() -> String {
    std::fs::read_to_string(root().join("docs/operations.md")).unwrap()
}

#[test]
fn every_kind_of_journal_entry_is_in_the_operations() {
    let kinds: BTreeSet<String> = What::KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(below("The journal", &operations()), kinds);
}

#[test]
fn every_alert_is_in_the_operations() {
    let alerts = std::fs::read_to_string(root().join("dashboards/prometheus/alerts.yml")).unwrap();
    let alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert_eq!(below("Alerts", &operations()), alerts.map(str::to_owned).collect());
}

#[test]
fn every_kind_of_refusal_is_in_the_operations() {
    let document = backdoors_monitor_api::openapi::document();
    let kinds = constants(&document["components"]["schemas"]["ErrorKind"]);
    assert!(kinds.contains("busy"), "{kinds:?}");
    assert_eq!(below("Refusals of the daemon", &operations()), kinds);
}

#[test]
fn every_reach_and_every_layer_is_in_the_operations() {
    let document = backdoors_monitor_api::openapi::document();
    let mut names = constants(&document["components"]["schemas"]["Reach"]);
    names.extend(constants(&document["components"]["schemas"]["Layer"]));
    assert_eq!(below("What it says of a target", &operations()), names);
}

/// The words that a value may be, by its schema.
fn constants(schema: &Value) -> BTreeSet<String> {
    let of = |schema: &Value| {
        let one = schema["const"].as_str().map(str::to_owned).into_iter();
        one.chain(
            schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
        )
        .collect::<Vec<_>>()
    };
    let several = schema["oneOf"].as_array().into_iter().flatten().flat_map(of);
    several.chain(of(schema)).collect()
}
