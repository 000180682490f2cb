//! `backdoors top` in a terminal: keys are typed, and what is seen is compared with what was kept in `tests/top/screens`. With
//! `UPDATE_SCREENS=1` what is seen is kept. `cargo xtask pictures` does that for the pictures in the documents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod daemon;
mod picture;
mod terminal;

use daemon::Daemon;
use serde_json::json;
use terminal::Terminal;

#[test]
fn every_screen_is_as_it_was_kept() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal.wait_for("db1").compare("fleet");
    terminal.type_keys("?").wait_for("PgUp").compare("help");
    terminal.type_keys("?").wait_until(|text| !text.contains("PgUp"));
    terminal
        .type_keys("/web")
        .wait_for("filter: web_")
        .type_keys("Enter")
        .wait_for("2 rows")
        .compare("filtered");
    terminal.type_keys("/").type_keys("Escape").wait_for("db1");
    terminal.type_keys("Enter").wait_for("forkbomb").compare("verdicts");
    terminal.type_keys("2").wait_for("memory.available").compare("sensors");
    terminal.type_keys("3").wait_for("SWITCHES/s").compare("cpus");
    terminal.type_keys("4").wait_for("bomb").compare("processes");
    terminal.type_keys("t").wait_for("tree sorted").compare("process-tree");
    terminal.type_keys("5").wait_for("2 sessions").compare("sessions");
    terminal.type_keys("6").wait_for("sessions-recovered").compare("events");
    terminal.type_keys("7").wait_for("announced").compare("recovery");
    terminal.type_keys("q").wait_for("targets:");
    terminal.type_keys("q").wait_until(|text| !text.contains("targets:"));
}

#[test]
fn pictures_in_the_documents_are_of_the_screens_as_they_are() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal.wait_for("db1").resize(110, 24).wait_for("db1").compare_picture("fleet");
    terminal.type_keys("Enter").wait_for("forkbomb").compare_picture("verdicts");
    terminal.type_keys("2").wait_for("memory.available").compare_picture("sensors");
    terminal.type_keys("4").wait_for("5 processes").type_keys("t").wait_for("tree sorted");
    terminal.compare_picture("process-tree");
    terminal.type_keys("jjj").type_keys("T").wait_for("Sure?").compare_picture("question");
    terminal.type_keys("n").wait_until(|text| !text.contains("Sure?"));
    terminal.type_keys("5").wait_for("2 sessions").compare_picture("sessions");
    terminal.type_keys("7").wait_for("announced").compare_picture("recovery");
}

#[test]
fn what_is_done_is_asked_before_and_told_behind() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal.wait_for("db1").type_keys("Enter").wait_for("forkbomb").type_keys("4").wait_for("5 processes");
    terminal.type_keys("jjj").type_keys("T").wait_for("Sure?").compare("question");
    assert!(daemon.posted().is_empty());
    terminal.type_keys("d").wait_for("would be struck");
    let tree =
        json!({"subject": {"tree": 4243}, "deed": "kill", "grace_ns": 0, "dry_run": true, "most_victims": 0});
    assert_eq!(daemon.posted(), [("/v1/targets/web1/heal".to_owned(), tree)]);
    terminal.type_keys("n").wait_until(|text| !text.contains("would be struck"));
    terminal.type_keys("1").wait_for("forkbomb").type_keys("a").wait_for("Sure?").compare("approval");
    terminal.type_keys("n").wait_until(|text| !text.contains("Sure?"));
    terminal.type_keys("R").wait_for("Take over the services").type_keys("Escape");
    terminal.wait_until(|text| !text.contains("Take over"));
    assert_eq!(daemon.posted().len(), 1);
    terminal.type_keys("F").wait_for("Fence web1").compare("fence");
    terminal.type_keys("d").wait_for("a fence would hold, for 10.99.0.80");
    assert_eq!(daemon.posted()[1..], [("/v1/targets/web1/fence".to_owned(), json!({"deed": "look"}))]);
}

#[test]
fn a_daemon_that_goes_and_comes_back_is_seen_to() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal.wait_for("db1");
    let folder = daemon.stop();
    terminal.wait_for("NO MONITOR").wait_for("db1").type_keys("Enter").wait_for("web1");
    terminal.type_keys("q");
    let daemon = Daemon::start_in(folder);
    terminal.wait_until(|text| !text.contains("NO MONITOR")).wait_for("db1");
    daemon.answer("/v1/targets", json!([]));
    terminal.wait_for("The monitor has no targets");
}

#[test]
fn a_target_that_disappears_or_changes_while_it_is_looked_at_is_shown_as_such() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal
        .wait_for("db1")
        .type_keys("Enter")
        .wait_for("forkbomb")
        .type_keys("2")
        .wait_for("memory.available");
    let mut sensors = daemon.answered("/v1/targets/web1/sensors");
    sensors["target"]["generation"] = json!(99);
    sensors["sensors"] = json!([sensors["sensors"][0]]);
    daemon.answer("/v1/targets/web1/sensors", sensors);
    terminal.wait_until(|text| !text.contains("memory.available"));
    daemon.forget("/v1/targets/web1/sensors");
    daemon.answer("/v1/targets", json!([]));
    terminal.wait_for("no longer a target").wait_for("no target is called");
    terminal.type_keys("q").wait_for("The monitor has no targets");
}

#[test]
fn a_terminal_that_becomes_too_small_is_told_and_large_again_goes_on() {
    let daemon = Daemon::start();
    let mut terminal = Terminal::of(&daemon);
    terminal.wait_for("db1").resize(60, 20).wait_for("The terminal has 60 columns");
    terminal.resize(5, 2).resize(80, 24).wait_for("db1").compare("fleet-80x24");
}

#[test]
fn without_colours_nothing_is_coloured() {
    let daemon = Daemon::start();
    let coloured = Terminal::of(&daemon).wait_for("db1").colours();
    let plain = Terminal::with(&daemon, &[("NO_COLOR", "1")]).wait_for("db1").colours();
    assert!(coloured > 0 && plain == 0, "{coloured} and {plain}");
}

#[test]
fn a_recording_is_shown_as_one_also_if_it_is_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let whole = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/stuck-kernel.recording");
    let bytes = std::fs::read(whole).unwrap();
    let short = folder.path().join("short.recording");
    std::fs::write(&short, &bytes[..bytes.len() * 2 / 3]).unwrap();
    for file in [whole, short.to_str().unwrap()] {
        let mut terminal = Terminal::start(&format!("top --replay {file} --speed 0 --from -0s"), &[]);
        terminal.wait_for("RECORDING").wait_for("web1").type_keys("Enter").wait_for("1 Verdicts");
        if file == whole {
            terminal.compare("recording");
        }
        terminal.type_keys("6").wait_for("the recording ends here");
        terminal.type_keys("R").wait_for("nothing can be done about the past");
    }
}

#[test]
fn a_recording_that_is_paused_stands_still_until_it_goes_on() {
    const END: &str = "the recording ends here";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/stuck-kernel.recording");
    let mut terminal = Terminal::start(&format!("top --replay {file}"), &[]);
    terminal.wait_for("RECORDING").type_keys("Space").wait_for("RECORDING, PAUSED");
    terminal.wait_for("web1").type_keys("Enter").type_keys("6").wait_for("6 Events");
    // Longer than all of it, and than the screen takes to be told.
    std::thread::sleep(std::time::Duration::from_secs(10));
    assert!(!terminal.text().contains(END));
    terminal.type_keys("Space").wait_for(END);
}
