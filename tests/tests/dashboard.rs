//! The demonstration, watched in the dashboard.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::time::{Duration, Instant};

/// A terminal that keys are typed into; it ends with this.
struct Terminal(tempfile::TempDir);

impl Terminal {
    fn tmux(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("tmux").arg("-S").arg(self.0.path().join("tmux")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn wait_for(&self, part: &str) {
        let begun = Instant::now();
        loop {
            let text = self.tmux(&["capture-pane", "-p", "-S", "-"]);
            if text.contains(part) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "`{part}` is not on the screen:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

#[test]
fn a_fork_bomb_and_its_end_are_seen_in_the_dashboard() {
    let terminal = Terminal(tempfile::tempdir().unwrap());
    let demo = format!("{} top; sleep 60", env!("CARGO_BIN_EXE_backdoors-demo"));
    terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", &demo]);
    terminal.wait_for("1 target:");
    terminal.press("Enter");
    terminal.wait_for("kernel");
    terminal.press("4");
    terminal.wait_for("list sorted by CPU");
    terminal.press("6");
    terminal.wait_for("diagnosis");
    terminal.wait_for("repaired");
    terminal.press("q");
    terminal.wait_for("1 target:");
    terminal.press("q");
    terminal.wait_for("the bomb is gone");
}
