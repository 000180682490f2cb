//! What is for Prometheus is what Prometheus takes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;

#[test]
fn alert_rules_are_as_promtool_wants_them() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/prometheus/alerts.yml");
    let output = Command::new("promtool")
        .args(["check", "rules", rules])
        .output()
        .expect("promtool, of the package prometheus");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("11 rules found"), "{said}");
}
