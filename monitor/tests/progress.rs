//! What a terminal shows while a daemon takes its time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SLOW: Duration = Duration::from_millis(2500);
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that takes its time, and then has no target.
fn slow_daemon(folder: &Path) -> PathBuf {
    let socket = folder.join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            std::thread::sleep(SLOW);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]";
            drop(stream.write_all(answer));
        }
    });
    socket
}

/// All that a terminal shows of a command line until `done` stands there.
fn screens(folder: &Path, command: &str) -> Vec<String> {
    let tmux = |arguments: &[&str]| {
        let output =
            Command::new("tmux").arg("-S").arg(folder.join("tmux")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let command = format!("{command}; echo done; sleep 60");
    tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "10", &command]);
    let begun = Instant::now();
    let mut screens: Vec<String> = Vec::new();
    while !screens.last().is_some_and(|screen| screen.contains("done\n")) {
        assert!(begun.elapsed() < PATIENCE, "{screens:?}");
        screens.push(tmux(&["capture-pane", "-p"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    tmux(&["kill-server"]);
    screens
}

fn targets(before: &str, socket: &Path) -> String {
    format!("{before} {} targets --socket {}", env!("CARGO_BIN_EXE_backdoors"), socket.display())
}

#[test]
fn what_takes_longer_than_a_second_is_spoken_of_until_the_answer_comes() {
    let folder = tempfile::tempdir().unwrap();
    let screens = screens(folder.path(), &targets("", &slow_daemon(folder.path())));
    let waiting = |screen: &&String| screen.contains("the monitor is being asked … ");
    assert!(screens.iter().any(|screen| waiting(&screen)), "{screens:?}");
    let [.., last] = &screens[..] else { panic!("nothing was shown") };
    assert!(!waiting(&last) && last.starts_with("TARGET"), "{last}");
}

#[test]
fn programs_and_terminals_that_cannot_take_a_line_back_are_told_nothing() {
    for (before, after) in [("TERM=dumb", ""), ("", " --json"), ("", " 2>/dev/null")] {
        let folder = tempfile::tempdir().unwrap();
        let command = targets(before, &slow_daemon(folder.path())) + after;
        let screens = screens(folder.path(), &command);
        assert!(screens.iter().all(|screen| !screen.contains("being asked")), "{command}: {screens:?}");
    }
}
