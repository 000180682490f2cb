//! The demonstration, watched in the dashboard.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use backdoors_tests::terminal::Terminal;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_fork_bomb_and_its_end_are_seen_in_the_dashboard() {
    let demo = format!("{} top; sleep 60", env!("CARGO_BIN_EXE_backdoors-demo"));
    let terminal = Terminal::start(&demo, 120, 40).unwrap();
    let wait_for = |part: &str| terminal.wait_until(PATIENCE, |text| text.contains(part)).unwrap();
    let press = |key: &str| terminal.press(key).unwrap();
    wait_for("1 target:");
    press("Enter");
    wait_for("kernel");
    press("4");
    wait_for("list sorted by CPU");
    press("6");
    wait_for("diagnosis");
    wait_for("repaired");
    press("q");
    wait_for("1 target:");
    press("q");
    wait_for("the bomb is gone");
}
