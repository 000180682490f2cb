//! The flight recorder of the real daemon, which is killed as nothing can be killed harder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use backdoors_monitor::clock::{Clock, SystemClock};
use backdoors_monitor::recorder::{Recording, What, file_of};
use backdoors_rdma::emulated::Nic;
use backdoors_rdma::handshake::Identity;
use backdoors_tests::made_up_target::{bump, register, shake_hands};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("backdoors")
}

struct Daemon(Child);

impl Daemon {
    fn start(config: &Path) -> Daemon {
        let mut command = Command::new(program());
        command.args(["monitor", "--config"]).arg(config).stdin(Stdio::null()).stderr(Stdio::null());
        Daemon(command.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SIGKILL: nothing is flushed, nobody says goodbye.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// When each reading was made, on the monotonic clock; by run of the monitor.
fn readings(folder: &Path) -> Vec<Vec<Duration>> {
    let mut runs: Vec<Vec<Duration>> = Vec::new();
    let Ok(recording) = Recording::read(&file_of(folder, "web1")) else { return runs };
    assert_eq!(recording.gaps(), []);
    for moment in recording.play() {
        match moment.what {
            What::Begun => runs.push(Vec::new()),
            What::Reading { .. } => runs.last_mut().unwrap().push(moment.at),
            What::Gap(gap) => panic!("{gap}"),
            _ => {}
        }
    }
    runs
}

/// Runs the daemon until it recorded `least` readings and kills it; returns what was there before, and when that was.
fn recorded_until_killed(config: &Path, folder: &Path, run: usize, least: usize) -> (usize, Duration) {
    let daemon = Daemon::start(config);
    let begun = Instant::now();
    loop {
        let known = readings(folder).get(run).map_or(0, Vec::len);
        if known >= least {
            let at = SystemClock.monotonic();
            drop(daemon);
            return (known, at);
        }
        assert!(begun.elapsed() < PATIENCE, "{known} readings in run {run}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_monitor_that_is_killed_loses_no_reading_and_the_next_one_records_behind_them() {
    let folder = tempfile::tempdir().unwrap();
    let [target, monitor] = ["target", "monitor"].map(|name| Identity::generate(name).unwrap());
    for identity in [&target, &monitor] {
        identity.save(folder.path()).unwrap();
    }
    let mut nic = Nic::new(([127, 0, 0, 1], 0).into(), None).unwrap();
    bump(&register(&mut nic, 20).unwrap()).unwrap();
    let address = shake_hands(nic, &target, monitor.certificate()).unwrap();
    let config = folder.path().join("monitor.toml");
    let text = format!(
        "name = 'monitor'\nidentity = '.'\nsocket = 'socket'\njournal = 'journal'\nrecorder = 'flights'\n\
         recorder_bytes = 1048576\n[[target]]\nname = 'web1'\naddress = '{address}'\ncertificate = 'target.crt'\n\
         period = '10ms'\n"
    );
    std::fs::write(&config, text).unwrap();
    let flights = folder.path().join("flights");

    let (known, at) = recorded_until_killed(&config, &flights, 0, 50);
    let first = readings(&flights);
    assert_eq!(first.len(), 1);
    assert!(first[0].len() >= known);
    // What was visible when the kill came is there, and nothing came after it.
    assert!(first[0][known - 1] <= at);

    recorded_until_killed(&config, &flights, 1, 50);
    let both = readings(&flights);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], first[0]);

    let saved = folder.path().join("saved");
    let mut record = Command::new(program());
    record.args(["record", "web1", "--config"]).arg(&config).arg("--out").arg(&saved);
    assert!(record.status().unwrap().success());
    let summary = Command::new(program()).args(["replay", "--summary"]).arg(&saved).output().unwrap();
    let summary = String::from_utf8(summary.stdout).unwrap();
    assert!(summary.contains("runs of the monitor: 2\n") && !summary.contains("gap"), "{summary}");
    assert!(summary.ends_with("run again, detector and judge say the same\n"), "{summary}");
}
