//! A daemon in this process, and the program `backdoors` against it.

use super::{Machine, Path, config};
use backdoors_monitor::api::{Remote, Server, TargetHandle};
use backdoors_monitor::clock::{Clock, SystemClock};
use backdoors_monitor::journal::Journal;
use backdoors_monitor::peers::Opinions;
use backdoors_monitor::rounds;
use backdoors_monitor::sampler::Sampler;
use backdoors_rdma::supervisor::Pulse;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A daemon in this process that looks after a simulated machine, and the program `backdoors` against it.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub machine: Arc<Mutex<Machine>>,
    pub path: Path,
}

impl Lab {
    /// A daemon that has read its target.
    pub fn new() -> Lab {
        Lab::with("")
    }

    /// The same with these further lines of configuration.
    pub fn with(lines: &str) -> Lab {
        Lab::answering(lines, None)
    }

    /// The same, that also answers askers of other machines.
    pub fn answering(lines: &str, remote: Option<Remote>) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine::new(1);
        machine.crowd(1, 1000, 3, 200);
        machine.crowd(10, 60001, 30, 20);
        let path = Path::new(&machine);
        let config = config(&format!(
            "period = '10ms'\nlost_after = '100ms'\npatience = '2s'\nusers = {{ mallory = 60001 }}\n{lines}"
        ));
        let journal = Journal::open(&folder.path().join("journal"), 1 << 20).unwrap();
        let to_journal = journal.clone();
        let sampler = Sampler::new(
            config.clone(),
            Box::new(path.linker(3)),
            Box::new(SystemClock),
            Box::new(move |entry| to_journal.add(entry)),
        )
        .unwrap();
        let attendant = rounds::start(vec![sampler], Pulse::default()).unwrap().remove(0);
        let server = Server::bind(&folder.path().join("socket")).unwrap().answering(remote);
        let targets = vec![TargetHandle::new(config, attendant)];
        std::thread::spawn(move || server.serve(targets, Opinions::nobodys(), journal));
        let machine = Arc::new(Mutex::new(machine));
        let ticking = Arc::downgrade(&machine);
        std::thread::spawn(move || {
            while let Some(machine) = ticking.upgrade() {
                machine.lock().unwrap().tick(SystemClock.monotonic());
                drop(machine);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let lab = Lab { folder, machine, path };
        lab.wait_for(&["targets", "--json"], |output| output.contains("\"reach\": \"reachable\""));
        lab
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backdoors"));
        command.args(arguments).arg("--socket").arg(self.folder.path().join("socket"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(arguments)).unwrap()
    }

    pub fn wait_for(&self, arguments: &[&str], good: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = String::from_utf8(self.run(arguments).stdout).unwrap();
            if good(&text) {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{arguments:?} still prints {text}");
        }
    }

    /// Where the daemon listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// One raw request, and all of the answer until the daemon hangs up.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        // The daemon may hang up before it has read everything.
        drop(stream.write_all(request));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8(answer).unwrap()
    }
}
