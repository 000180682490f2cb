//! The flight recorder from sampling to replay: the real sampler records a simulated machine, the program shows it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::clock::Clock;
use backdoors_monitor::recorder::{LEAST_BYTES, Recorder, file_of};
use backdoors_monitor::sampler::Sampler;
use serde_json::Value;
use simulation::{Simulation, config};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/stuck-kernel.recording");

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn backdoors(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backdoors")).args(arguments).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = backdoors(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A simulation whose monitor records into `folder`.
fn recorded(folder: &Path) -> Simulation {
    let lines = "period = '100ms'\nfastest = '20ms'\nlost_after = '1s'\nlimits = { 'user.processes' = 50 }\n";
    let mut simulation = Simulation::new(lines);
    start(&mut simulation, folder, lines);
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation
}

fn start(simulation: &mut Simulation, folder: &Path, lines: &str) {
    let clock = Box::new(simulation.clock.clone());
    let recorder = Recorder::open_with(folder, "web1", LEAST_BYTES, clock.clone()).unwrap();
    let linker = Box::new(simulation.path.linker(3));
    let sampler = Sampler::new(config(lines), linker, clock, Box::new(|_| {})).unwrap();
    simulation.sampler = sampler.recorded_by(recorder);
}

/// Time passes, and the machine's kernel does nothing.
fn stuck(simulation: &mut Simulation, time: Duration) {
    let end = simulation.clock.monotonic() + time;
    while simulation.clock.monotonic() < end {
        let wake = simulation.sampler.step();
        simulation.clock.turn(wake.saturating_sub(simulation.clock.monotonic()).clamp(ms(1), ms(20)));
    }
}

/// Two seconds in good health, one and a half stuck, a crowd of processes, a path that is cut.
fn incident(folder: &Path) {
    let mut simulation = recorded(folder);
    simulation.run(ms(2000));
    stuck(&mut simulation, ms(1500));
    simulation.run(ms(1000));
    simulation.machine.crowd(20, 60001, 40, 200);
    simulation.machine.crowd(70, 60001, 20, 200);
    simulation.run(ms(500));
    simulation.path.set_agent_answers(false);
    simulation.path.break_connections();
    simulation.run(ms(1500));
}

/// The incident as `backdoors record` saves it.
fn saved(folder: &Path) -> PathBuf {
    incident(folder);
    let out = folder.join("incident.recording");
    let from = file_of(folder, "web1");
    let told = text(&["record", "web1", "--from", from.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(told.starts_with("web1: ") && told.contains(" readings over 6.5 s, "), "{told}");
    out
}

#[test]
fn an_incident_is_recorded_saved_and_shown_with_the_same_verdicts_when_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    let summary = text(&["replay", file.to_str().unwrap(), "--summary"]);
    assert!(summary.contains("kernel failed ("), "{summary}");
    assert!(summary.contains("path suspect ("), "{summary}");
    assert!(summary.ends_with("run again, detector and judge say the same\n"), "{summary}");
    assert!(!summary.contains("gap"), "{summary}");
    let shown = text(&["replay", file.to_str().unwrap()]);
    for part in [
        "begun            a run of the monitor is recorded from here on\n",
        "event            kernel.timer stood still for 5",
        "verdict          ",
        "event            user.processes[60001] is 60 (limit 50)\n",
        "missed           ",
        "\nSENSOR ",
        "\nLAYER ",
        "user.processes[60001]  level        60  !  ≤ 50\n",
    ] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
}

#[test]
fn other_limits_say_what_would_have_been_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = saved(folder.path());
    let json = text(&[
        "replay",
        file.to_str().unwrap(),
        "--summary",
        "--json",
        "--limit",
        "kernel.timer=100ms",
        "--limit",
        "user.processes/60001=1000",
    ]);
    let summary: Value = serde_json::from_str(&json).unwrap();
    let differences = summary["differences"].as_array().unwrap();
    let of = |about: Value| differences.iter().find(|one| one["about"] == about).unwrap();
    let kernel = of(serde_json::json!({ "layer": ["kernel", null] }));
    assert_eq!((&kernel["recorded"], &kernel["now"]), (&"healthy".into(), &"failed".into()));
    let earlier = kernel["lasted_ns"].as_u64().unwrap();
    assert!((300_000_000..=500_000_000).contains(&earlier), "{earlier}");
    let crowd = of(serde_json::json!({ "sensor": "user.processes[60001]" }));
    assert_eq!((&crowd["recorded"], &crowd["now"]), (&"exceptional".into(), &"normal".into()));
}

#[test]
fn only_a_part_is_saved_and_shown_on_request() {
    let folder = tempfile::tempdir().unwrap();
    incident(folder.path());
    let from = file_of(folder.path(), "web1");
    let out = folder.path().join("short");
    let (from, out) = (from.to_str().unwrap(), out.to_str().unwrap());
    text(&["record", "web1", "--from", from, "--out", out, "--last", "1s"]);
    let short = text(&["replay", out, "--summary"]);
    // From the first sample within that second on.
    assert!(short.contains(" 1.0 s, recorded by ") || short.contains(" ms, recorded by "), "{short}");
    assert!(!short.contains("kernel.timer stood still"), "{short}");
    let part = text(&["replay", from, "--from", "22:13:22", "--until", "-3s"]);
    assert!(part.contains("kernel.timer stood still"), "{part}");
    assert!(!part.contains("begun") && !part.contains("60001"), "{part}");
    let refused = backdoors(&["replay", from, "--from", "-1s", "--until", "1s"]);
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_monitor_that_was_killed_leaves_its_recording_and_the_next_goes_on_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulation = recorded(folder.path());
    simulation.run(ms(500));
    // What a killed process does not do either: say goodbye.
    let killed = std::mem::replace(&mut simulation, Simulation::new(""));
    std::mem::forget(killed);
    let from = file_of(folder.path(), "web1");
    let summary = text(&["replay", from.to_str().unwrap(), "--summary"]);
    assert!(summary.contains("runs of the monitor: 1\n"), "{summary}");
}

#[test]
fn the_golden_recording_is_shown_as_ever_and_judged_as_ever() {
    let shown = text(&["replay", GOLDEN]);
    assert_eq!(shown, include_str!("recordings/stuck-kernel.txt"));
    assert!(std::fs::metadata(GOLDEN).unwrap().len() < 32 << 10);
}

#[test]
#[ignore = "makes the golden recording anew"]
fn golden() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(saved(folder.path()), GOLDEN).unwrap();
    std::fs::write(GOLDEN.replace(".recording", ".txt"), text(&["replay", GOLDEN])).unwrap();
}

#[test]
fn files_that_are_no_recording_or_not_the_targets_are_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let path = file.to_str().unwrap();
    let golden = std::fs::read(GOLDEN).unwrap();
    let mut newer = golden.clone();
    newer[8] = 2;
    for (bytes, complaint_wanted) in [
        (&b""[..], "the file is empty"),
        (b"#!/bin/sh\n", "this is no recording of `backdoors`"),
        (&golden[..4096], "nothing was recorded"),
        (&golden[..100], "this is no recording of `backdoors`"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let output = backdoors(&["replay", path]);
        assert_eq!(output.status.code(), Some(1));
        assert!(complaint(&output).contains(complaint_wanted), "{}", complaint(&output));
    }
    std::fs::write(&file, &golden[..golden.len() - 1000]).unwrap();
    let cut = text(&["replay", path, "--summary"]);
    assert!(cut.contains(&format!("gap: the file is cut off at byte {}\n", golden.len() - 1000)), "{cut}");
    // A version that the checksum does not confirm is damage.
    std::fs::write(&file, newer).unwrap();
    let damaged = text(&["replay", path, "--summary"]);
    assert!(damaged.contains("gap: the header is damaged, the target's name is not known\n"), "{damaged}");

    let another = backdoors(&["record", "web2", "--from", GOLDEN, "--out", "-"]);
    assert!(complaint(&another).contains("is the recording of target `web1`, not of `web2`"));
    let missing = backdoors(&["record", "web1", "--from", "/nonexistent/file"]);
    assert!(complaint(&missing).contains("No such file"), "{}", complaint(&missing));
    let overwritten = backdoors(&["record", "web1", "--from", GOLDEN, "--out", path]);
    assert!(complaint(&overwritten).contains("File exists"), "{}", complaint(&overwritten));
    let limit = backdoors(&["replay", GOLDEN, "--limit", "kernel.tmier=1s"]);
    assert!(complaint(&limit).contains("no sensor is called `kernel.tmier`"), "{}", complaint(&limit));
}

#[test]
fn a_configuration_without_recorder_or_target_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.toml");
    let plain = "name = 'm'\nidentity = 'i'\njournal = 'j'\n";
    let target = "[[target]]\nname = 'web1'\naddress = 'a:1'\ncertificate = 'c'\n";
    for (config, complaint_wanted) in [
        (plain.to_owned(), "no target is called `web1`"),
        (format!("{plain}{target}"), "has no `recorder`: the monitor records nothing"),
        (format!("{plain}recorder = 'flights'\n{target}"), "No such file"),
    ] {
        std::fs::write(&file, config).unwrap();
        let output = backdoors(&["record", "web1", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(complaint(&output).contains(complaint_wanted), "{}", complaint(&output));
    }
    incident(&folder.path().join("flights"));
    let saved = backdoors(&["record", "web1", "--config", file.to_str().unwrap(), "--out", "-"]);
    assert!(saved.stdout.starts_with(b"BDRECORD"));
}
