//! The schema of each configuration says what its parser takes: of the sample, of the documents' examples, and of keys.

use crate::markdown::{Document, root};
use backdoors_monitor::config as monitor;
use backdoors_target_agent::config as agent;
use serde_json::Value;
use std::path::Path;

/// What an example that is only a part has before it.
const LEAST_MONITOR: &str = "name = 'w'\nidentity = '/i'\njournal = '/j'\n";
const LEAST_TARGET: &str = "[[target]]\nname = 't'\naddress = 'a:1'\ncertificate = '/c'\n";
const LEAST_AGENT: &str = "name = 'a'\nlisten = '127.0.0.1:1'\nidentity = '/i'\nowner = '/o'\n";
const AGENTS_MONITOR: &str = "[[monitor]]\nname = 'm'\ncertificate = '/c'\nslot = 0\n";

/// A configuration: its schema, and its parser.
struct Configuration {
    file: &'static str,
    schema: Value,
    load: fn(&str) -> Result<(), String>,
}

fn of_monitor() -> Configuration {
    let load = |text: &str| {
        let parsed = monitor::Config::parse(text, Path::new("/etc/backdoors/monitor.toml"));
        parsed.map(drop).map_err(|error| error.to_string())
    };
    Configuration { file: "monitor.toml", schema: monitor::schema(), load }
}

fn of_agent() -> Configuration {
    let load = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        agent::Config::load(file.path()).map(drop).map_err(|error| error.to_string())
    };
    Configuration { file: "agent.toml", schema: agent::schema(), load }
}

impl Configuration {
    /// What the schema has against a text.
    fn problems(&self, text: &str) -> Vec<String> {
        let document: Value = serde_json::to_value(text.parse::<toml::Table>().unwrap()).unwrap();
        let validator = jsonschema::validator_for(&self.schema).unwrap();
        validator.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    fn is_good(&self, text: &str) -> bool {
        self.problems(text).is_empty()
    }

    fn assert_good(&self, text: &str) {
        assert_eq!(self.problems(text), Vec::<String>::new(), "{text}");
        (self.load)(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    }

    fn assert_wrong(&self, text: &str, place: &str) {
        let found = self.problems(text);
        assert!(found.iter().any(|problem| problem.starts_with(&format!("{place}: "))), "{text}\n{found:?}");
        assert!((self.load)(text).is_err(), "{text}");
    }

    /// The examples of a document that are of this file, each from its first line.
    fn examples(&self, document: &str) -> Vec<String> {
        let blocks = Document::read(document).blocks.into_iter().filter(|block| block.language == "toml");
        let is_of_it = |text: &String| text.lines().next().is_some_and(|line| line.contains(self.file));
        blocks.map(|block| block.text).filter(is_of_it).collect()
    }

    /// The sample of the package; one whole example in the README, with this behind it; and what `configuration.md` shows, of which
    /// parts have that before them.
    fn assert_shown_ones_are_good(&self, sample: &str, behind: &str, before: &str) {
        self.assert_good(&std::fs::read_to_string(root().join(sample)).unwrap());
        let whole = self.examples("README.md");
        assert_eq!(whole.len(), 1);
        whole.iter().for_each(|example| self.assert_good(&format!("{example}{behind}")));
        let parts = self.examples("docs/configuration.md");
        assert!(parts.len() > 1);
        for part in parts {
            let is_whole = part.parse::<toml::Table>().is_ok_and(|table| table.contains_key("identity"));
            self.assert_good(&if is_whole { part } else { format!("{before}{part}") });
        }
    }
}

#[test]
fn the_samples_and_the_documents_examples_are_good() {
    let before = format!("{LEAST_MONITOR}{LEAST_TARGET}");
    let sample = "packages/backdoors-monitor/usr/share/backdoors/monitor.toml";
    of_monitor().assert_shown_ones_are_good(sample, "", &before);
    // The first monitor of the two that the example wants to agree.
    let second = AGENTS_MONITOR.replace("slot = 0", "slot = 1");
    let sample = "packages/backdoors-agent/usr/share/backdoors/agent.toml";
    of_agent().assert_shown_ones_are_good(sample, &second, LEAST_AGENT);
}

#[test]
fn keys_that_a_parser_does_not_know_are_not_in_its_schema_either() {
    let whole = format!("{LEAST_MONITOR}{LEAST_TARGET}");
    let monitor = of_monitor();
    assert_eq!(monitor.problems(&whole), Vec::<String>::new());
    for (wrong, place) in [
        (format!("jornal = '/j'\n{LEAST_MONITOR}"), ""),
        (format!("{whole}perid = '1s'\n"), "/target/0"),
        (format!("{whole}[target.lease]\nlong = true\n"), "/target/0/lease"),
        (format!("{whole}[target.budget]\nall = 1\n"), "/target/0/budget"),
        (format!("{whole}[target.spare]\nuser = [1]\n"), "/target/0/spare"),
        (format!("{whole}[[target.rule]]\nlayer = 'host'\nrun = []\nrunn = 1\n"), "/target/0/rule/0"),
        (
            format!("{LEAST_MONITOR}[[peer]]\nname = 'p'\naddress = 'a:1'\ncertificate = '/c'\nkey = 1\n"),
            "/peer/0",
        ),
        (format!("{LEAST_MONITOR}[api]\nlisten = '1.2.3.4:5'\nhear = 1\n"), "/api"),
    ] {
        monitor.assert_wrong(&wrong, place);
    }
    let agent = of_agent();
    assert_eq!(agent.problems(&format!("{LEAST_AGENT}{AGENTS_MONITOR}")), Vec::<String>::new());
    for (wrong, place) in [
        (format!("spare_users = [1]\n{LEAST_AGENT}"), ""),
        (format!("{LEAST_AGENT}{AGENTS_MONITOR}seat = 1\n"), "/monitor/0"),
        (format!("{LEAST_AGENT}[agreement]\nneeded = 1\nwanted = 1\n"), "/agreement"),
        (format!("{LEAST_AGENT}[[service]]\nname = 's'\nports = [80]\nport = 80\n"), "/service/0"),
        (format!("{LEAST_AGENT}[[variable]]\nname = 'v'\nmost = 1\nleats = 0\n"), "/variable/0"),
    ] {
        agent.assert_wrong(&wrong, place);
    }
}

#[test]
fn a_monitors_durations_have_units_and_limits_may_have_them() {
    let monitor = of_monitor();
    let good = |line: &str| monitor.is_good(&format!("{LEAST_MONITOR}{LEAST_TARGET}{line}\n"));
    assert!(good("period = '100ms'") && good("period = '1.5 s'") && good("fastest = '1us'"));
    assert!(!good("period = 100") && !good("period = '100'") && !good("period = 'soon'"));
    assert!(good("limits = { 'kernel.timer' = '250ms', 'user.processes' = 200 }"));
    assert!(!good("limits = { 'kernel.timer' = 0.5 }"));
}

#[test]
fn an_agents_commands_sizes_and_durations_are_what_the_parser_takes() {
    let agent = of_agent();
    let good = |lines: &str| agent.is_good(&format!("{LEAST_AGENT}{lines}\n"));
    let service = "[[service]]\nname = 's'\nports = [80]\n";
    assert!(good(&format!("{AGENTS_MONITOR}may = ['fence', 'kill-user']")));
    assert!(!good(&format!("{AGENTS_MONITOR}may = ['kill-usr']")));
    assert!(good(&format!("{service}ring = '256KiB'\noutput_ring = '1MiB'\nkeep = '60s'")));
    for wrong in ["ring = 256", "ring = '1MB'", "keep = '1m'", "keep = 60", "ports = [70000]"] {
        assert!(!good(&format!("[[service]]\nname = 's'\n{wrong}")), "{wrong}");
    }
}
