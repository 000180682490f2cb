//! The units, as systemd's own tool judges them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each with how much of the machine it may reach, of 100: what it needs, and no more. Of systemd's own scale this is ten times
/// the figure; a daemon for memory such as Debian's `earlyoom` has 84.
const UNITS: [(&str, &str, u32); 3] = [
    ("backdoors-agent", "backdoors-nic.service", 48),
    ("backdoors-agent", "backdoors-agent.service", 60),
    ("backdoors-monitor", "backdoors-monitor.service", 49),
];
/// What every unit waits for, and these do.
const TARGETS: [&str; 5] =
    ["sysinit.target", "basic.target", "shutdown.target", "multi-user.target", "network-online.target"];

fn unit(package: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("usr/lib/systemd/system").join(name)
}

/// What the tool says, or nothing where there is no such tool.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze").args(arguments).output().ok().or_else(|| {
        eprintln!("NOT CHECKED: there is no systemd-analyze here");
        None
    })?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn systemd_has_nothing_to_say_against_a_unit() {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    symlink("usr/bin", root.path().join("bin")).unwrap();
    for program in ["backdoors", "backdoors-agent", "backdoors-nic", "kill"] {
        fs::copy("/bin/true", root.path().join("usr/bin").join(program)).unwrap();
    }
    for target in TARGETS {
        fs::write(units.join(target), "[Unit]\nDescription=A stand-in\n").unwrap();
    }
    for (package, name, _) in UNITS {
        fs::copy(unit(package, name), units.join(name)).unwrap();
    }
    let root = format!("--root={}", root.path().display());
    for (_, name, _) in UNITS {
        let Some((good, said)) = analyze(&["verify", "--man=no", &root, name]) else { return };
        assert!(good && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn units_reach_no_more_of_the_machine_than_they_need() {
    for (package, name, most) in UNITS {
        let (path, threshold) = (unit(package, name), format!("--threshold={most}"));
        let path = path.display().to_string();
        let Some((good, said)) = analyze(&["security", "--offline=true", "--no-pager", &threshold, &path])
        else {
            return;
        };
        assert!(good, "{said}");
    }
}
