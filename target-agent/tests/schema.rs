//! The schema of the configuration says what the parser takes: of the sample, of the documents' examples, and of keys.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_target_agent::config::{Config, schema};
use serde_json::Value;
use std::path::Path;

/// What an example that is only a part has before it.
const LEAST: &str = "name = 'a'\nlisten = '127.0.0.1:1'\nidentity = '/i'\nowner = '/o'\n";
const MONITOR: &str = "[[monitor]]\nname = 'm'\ncertificate = '/c'\nslot = 0\n";

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)).unwrap()
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

fn load(text: &str) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Config::load(file.path()).map_err(|error| error.to_string())
}

fn assert_good(text: &str) {
    assert_eq!(problems(text), Vec::<String>::new(), "{text}");
    load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
}

#[test]
fn the_sample_and_the_documents_examples_are_good() {
    assert_good(&read("packages/backdoors-agent/usr/share/backdoors/agent.toml"));
    let whole = examples(&read("README.md"), "agent.toml");
    assert_eq!(whole.len(), 1);
    // The first monitor of the two that the example wants to agree.
    let second = MONITOR.replace("slot = 0", "slot = 1");
    whole.iter().for_each(|example| assert_good(&format!("{example}{second}")));
    let parts = examples(&read("docs/configuration.md"), "agent.toml");
    assert!(parts.len() > 1);
    for part in parts {
        let is_whole = part.parse::<toml::Table>().is_ok_and(|table| table.contains_key("identity"));
        assert_good(&if is_whole { part } else { format!("{LEAST}{part}") });
    }
}

#[test]
fn keys_that_the_parser_does_not_know_are_not_in_the_schema_either() {
    assert_eq!(problems(&format!("{LEAST}{MONITOR}")), Vec::<String>::new());
    for (wrong, place) in [
        (format!("spare_users = [1]\n{LEAST}"), ""),
        (format!("{LEAST}{MONITOR}seat = 1\n"), "/monitor/0"),
        (format!("{LEAST}[agreement]\nneeded = 1\nwanted = 1\n"), "/agreement"),
        (format!("{LEAST}[[service]]\nname = 's'\nports = [80]\nport = 80\n"), "/service/0"),
        (format!("{LEAST}[[variable]]\nname = 'v'\nmost = 1\nleats = 0\n"), "/variable/0"),
    ] {
        let found = problems(&wrong);
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{place}: "))), "{wrong}\n{found:?}");
        assert!(load(&wrong).is_err(), "{wrong}");
    }
}

#[test]
fn commands_sizes_and_durations_are_what_the_parser_takes() {
    let good = |lines: &str| problems(&format!("{LEAST}{lines}\n")).is_empty();
    let service = "[[service]]\nname = 's'\nports = [80]\n";
    assert!(good(&format!("{MONITOR}may = ['fence', 'kill-user']")));
    assert!(!good(&format!("{MONITOR}may = ['kill-usr']")));
    assert!(good(&format!("{service}ring = '256KiB'\noutput_ring = '1MiB'\nkeep = '60s'")));
    for wrong in ["ring = 256", "ring = '1MB'", "keep = '1m'", "keep = 60", "ports = [70000]"] {
        assert!(!good(&format!("[[service]]\nname = 's'\n{wrong}")), "{wrong}");
    }
}
