//! `backdoors support-bundle`, with a daemon and without.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use flate2::read::GzDecoder;
use serde_json::Value;
use simulation::lab::Lab;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const HEALER: &str = "[[target.healer]]\nname = 'own'\ncommand = ['/bin/true', '--bearer=hunter22']\n\
                      watches = ['processes']\nmode = 'observe'\n";

fn backdoors(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).output().unwrap()
}

/// A folder with a key and a configuration.
fn set_up(journal: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    assert!(backdoors(&["keys", "new", "--name", "watch1", "--dir", &place]).status.success());
    let text = format!(
        "# the-password-is-in-a-comment\nname = 'watch1'\nidentity = '.'\njournal = '{}'\nsocket = 'nobody'\n\
         [[target]]\nname = 'web1'\naddress = '127.0.0.1:1'\ncertificate = 'web1.crt'\n{HEALER}",
        journal.display()
    );
    std::fs::write(folder.path().join("monitor.toml"), text).unwrap();
    folder
}

fn make(folder: &Path, socket: &Path) -> Output {
    let file = |name: &str| folder.join(name).display().to_string();
    let (out, config, socket) = (file("out.tar.gz"), file("monitor.toml"), socket.display().to_string());
    backdoors(&["support-bundle", "--json", "--out", &out, "--config", &config, "--socket", &socket])
}

/// Its files, without the folder that they are in.
fn unpacked(bundle: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(bundle).unwrap()));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let (folder, name) = path.split_once('/').unwrap();
        assert!(folder.starts_with("backdoors-support-"), "{path}");
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name.to_owned(), text);
    }
    files
}

#[test]
fn a_bundle_has_what_the_daemon_knows_and_nothing_that_is_secret() {
    let lab = Lab::with(HEALER);
    let folder = set_up(&lab.folder.path().join("journal"));
    let key = std::fs::read_to_string(folder.path().join("watch1.key")).unwrap();
    let made = make(folder.path(), &lab.socket());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bundle = folder.path().join("out.tar.gz");
    assert_eq!(bundle.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let files = unpacked(&bundle);
    for (name, part) in [
        ("version.txt", env!("CARGO_PKG_VERSION")),
        ("doctor.json", "\"findings\""),
        ("configuration/monitor.toml", "name = \"web1\""),
        ("configuration/check.txt", "good"),
        ("certificates.json", "\"fingerprint\": \""),
        ("journal.jsonl", "\"kind\":\"connected\""),
        ("daemon/targets.json", "\"name\": \"web1\""),
        ("daemon/verdicts.json", "\"layer\": \"kernel\""),
        ("daemon/healers.json", "/bin/true (withheld)"),
        ("daemon/peers.json", "[]"),
        ("daemon/proposals.json", "[]"),
        ("daemon/events.json", "\"kind\": \"connected\""),
        ("daemon/web1/sensors.json", "kernel.timer"),
        ("daemon/web1/processes.json", "\"command\": \"init\""),
        ("daemon/web1/offers.json", "\"variables\""),
        ("daemon/metrics.txt", "# TYPE "),
        ("system/uname.txt", "Linux"),
    ] {
        let text = files.get(name).unwrap_or_else(|| panic!("{name} is missing in {:?}", files.keys()));
        assert!(text.contains(part), "{name} has no {part}: {text}");
    }
    let of_key: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    assert!(!of_key.is_empty());
    for (name, text) in &files {
        for secret in of_key.iter().chain(&["hunter22", "PRIVATE KEY", "the-password-is"]) {
            assert!(!text.contains(secret), "{name} has {secret}");
        }
    }
    // The manifest names every file, and whatever is not there with the reason.
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    let names = |key: &str| -> Vec<String> {
        let entries = told[key].as_array().unwrap().iter();
        entries.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut listed = names("files");
    listed.push("MANIFEST".to_owned());
    listed.sort_unstable();
    assert_eq!(listed, files.keys().cloned().collect::<Vec<_>>());
    for name in names("files").iter().chain(&names("lacking")) {
        assert!(files["MANIFEST"].contains(name), "{name} is not in {}", files["MANIFEST"]);
    }
    assert!(names("lacking").contains(&"configuration/agent.toml".to_owned()));

    let again = make(folder.path(), &lab.socket());
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--out"));
    assert_eq!(unpacked(&bundle), files, "what was there was overwritten");
}

#[test]
fn a_key_that_somebody_wrote_into_the_journal_is_cut_out() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let set_up = set_up(&journal);
    let key = std::fs::read_to_string(set_up.path().join("watch1.key")).unwrap();
    let middle = key.lines().nth(1).unwrap();
    let line = serde_json::json!({ "kind": "note", "text": key, "again": middle });
    std::fs::write(&journal, format!("{line}\n")).unwrap();
    assert!(make(set_up.path(), Path::new("/nonexistent/socket")).status.success());
    let files = unpacked(&set_up.path().join("out.tar.gz"));
    assert!(files["journal.jsonl"].contains("\"kind\":\"note\""), "{}", files["journal.jsonl"]);
    assert!(!files["journal.jsonl"].contains(&middle[..20]), "{}", files["journal.jsonl"]);
}

#[test]
fn without_a_daemon_and_a_configuration_a_bundle_says_so_and_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("monitor.toml"), "token = 'hunter22\n").unwrap();
    let made = make(folder.path(), Path::new("/nonexistent/socket"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let files = unpacked(&folder.path().join("out.tar.gz"));
    let manifest = &files["MANIFEST"];
    assert!(manifest.contains("  daemon: no monitor listens on /nonexistent/socket"), "{manifest}");
    assert!(manifest.contains("monitor.toml is no TOML"), "{manifest}");
    assert!(files.contains_key("doctor.txt") && files.contains_key("system/uname.txt"));
    for (name, text) in &files {
        assert!(!text.contains("hunter22"), "{name}: {text}");
    }
}
