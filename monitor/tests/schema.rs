//! The schema of the configuration says what the parser takes: of the sample, of the documents' examples, and of keys.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_monitor::config::{Config, schema};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What an example that is only a part has before it.
const LEAST: &str = "name = 'w'\nidentity = '/i'\njournal = '/j'\n";
const LEAST_TARGET: &str = "[[target]]\nname = 't'\naddress = 'a:1'\ncertificate = '/c'\n";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap()
}

/// The examples of a document that are of this file, each from its first line.
fn examples(document: &str, file: &str) -> Vec<String> {
    let blocks = document.split("```toml\n").skip(1).filter_map(|text| text.split("```").next());
    blocks.filter(|block| block.lines().next().unwrap().contains(file)).map(str::to_owned).collect()
}

fn problems(text: &str) -> Vec<String> {
    let document: Value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn assert_good(text: &str) {
    assert_eq!(problems(text), Vec::<String>::new(), "{text}");
    Config::parse(text, Path::new("/etc/backdoors/monitor.toml")).unwrap();
}

#[test]
fn the_sample_and_the_documents_examples_are_good() {
    assert_good(&read("packages/backdoors-monitor/usr/share/backdoors/monitor.toml"));
    let whole = examples(&read("README.md"), "monitor.toml");
    assert_eq!(whole.len(), 1);
    whole.iter().for_each(|example| assert_good(example));
    let parts = examples(&read("docs/configuration.md"), "monitor.toml");
    assert!(!parts.is_empty());
    for part in parts {
        let is_whole = part.parse::<toml::Table>().is_ok_and(|table| table.contains_key("identity"));
        assert_good(&if is_whole { part } else { format!("{LEAST}{LEAST_TARGET}{part}") });
    }
}

#[test]
fn keys_that_the_parser_does_not_know_are_not_in_the_schema_either() {
    assert_eq!(problems(&format!("{LEAST}{LEAST_TARGET}")), Vec::<String>::new());
    for (wrong, place) in [
        (format!("jornal = '/j'\n{LEAST}"), ""),
        (format!("{LEAST}{LEAST_TARGET}perid = '1s'\n"), "/target/0"),
        (format!("{LEAST}{LEAST_TARGET}[target.lease]\nlong = true\n"), "/target/0/lease"),
        (format!("{LEAST}{LEAST_TARGET}[target.budget]\nall = 1\n"), "/target/0/budget"),
        (format!("{LEAST}{LEAST_TARGET}[target.spare]\nuser = [1]\n"), "/target/0/spare"),
        (
            format!("{LEAST}{LEAST_TARGET}[[target.rule]]\nlayer = 'host'\nrun = []\nrunn = 1\n"),
            "/target/0/rule/0",
        ),
        (format!("{LEAST}[[peer]]\nname = 'p'\naddress = 'a:1'\ncertificate = '/c'\nkey = 1\n"), "/peer/0"),
        (format!("{LEAST}[api]\nlisten = '1.2.3.4:5'\nhear = 1\n"), "/api"),
    ] {
        let found = problems(&wrong);
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{place}: "))), "{wrong}\n{found:?}");
        assert!(Config::parse(&wrong, Path::new("/m.toml")).is_err(), "{wrong}");
    }
}

#[test]
fn durations_have_units_and_limits_may_have_them() {
    let good = |line: &str| problems(&format!("{LEAST}{LEAST_TARGET}{line}\n")).is_empty();
    assert!(good("period = '100ms'") && good("period = '1.5 s'") && good("fastest = '1us'"));
    assert!(!good("period = 100") && !good("period = '100'") && !good("period = 'soon'"));
    assert!(good("limits = { 'kernel.timer' = '250ms', 'user.processes' = 200 }"));
    assert!(!good("limits = { 'kernel.timer' = 0.5 }"));
}
