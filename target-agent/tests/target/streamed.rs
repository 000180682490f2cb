//! The example of a server in C, killed while it serves, and its clients, who must not notice.

use crate::captured::{Group, PORT, start_with};
use crate::host::{Host, PATIENCE, eventually, inside_network};
use backdoors_tests::sessions::streaming::{self, Client, Received};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// An agent, and where its servers find it.
struct Stage {
    _host: Host,
    /// Left after the agent's end.
    _group: Group,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(program: PathBuf) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let group = Group::enter();
        let top = format!("service_socket = '{}'", folder.path().join("services.sock").display());
        Stage { _host: start_with(&top, "", &group), _group: group, program, folder }
    }

    /// A server, which has no capability: it needs none.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-all", "--inh-caps", "-all"]);
        command.arg(&self.program).args(["web", &PORT.to_string()]);
        command.env("BACKDOORS_SERVICES", self.folder.path().join("services.sock"));
        command
    }

    /// Starts a server, and waits until it is ready.
    fn serve(&self) -> Server {
        let mut server = Server(self.command().stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        server
    }
}

/// A server, which is killed when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_in_c_that_is_killed_again_and_again_sends_every_line_once() {
    inside_network("streamed::a_server_in_c_that_is_killed_again_and_again_sends_every_line_once", || {
        const LINES: u64 = 3000;
        let stage = Stage::new(streaming::build().unwrap());
        let mut server = Some(stage.serve());
        let come: Vec<AtomicU64> = (0..4).map(|_| AtomicU64::new(0)).collect();
        let serve = |number: usize| {
            let mut client = Client::connect(SERVER, PATIENCE).unwrap();
            client.say(&format!("STREAM {} {LINES}", [100, 500, 1000, 2000][number])).unwrap();
            let mut asked = 0;
            loop {
                match client.receive().unwrap() {
                    Received::End => break,
                    Received::Time => {}
                    Received::Line => {
                        come[number].store(client.line, Ordering::Relaxed);
                        // Both directions are in use when the server dies; later on it may have ended already.
                        if client.line < LINES / 3 && client.line.is_multiple_of(20) {
                            client.say(&format!("TIME\nRATE {}", 1000 + client.line)).unwrap();
                            asked += 1;
                        }
                    }
                }
            }
            assert_eq!((client.line, client.times), (LINES, asked));
        };
        thread::scope(|scope| {
            (0..4).for_each(|number| drop(scope.spawn(move || serve(number))));
            for part in 1..8 {
                let slowest = || come.iter().map(|line| line.load(Ordering::Relaxed)).min();
                eventually("lines", || (slowest() >= Some(LINES / 8 * part)).then_some(()));
                // One has gone before the next comes.
                drop(server.take());
                server = Some(stage.serve());
            }
        });
    });
}

#[test]
fn a_server_in_c_may_die_between_any_two_steps() {
    inside_network("streamed::a_server_in_c_may_die_between_any_two_steps", || {
        const LINES: u64 = 12;
        let dying = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/target/dying.h");
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dying");
        streaming::compile(&program, &["-Wno-unused-value", "-include", dying]).unwrap();
        let stage = Stage::new(program);
        // With fewer steps none gets from a line to the time behind it.
        for steps in 7..24 {
            let is_over = AtomicBool::new(false);
            let mut lives = 0;
            thread::scope(|scope| {
                let client = scope.spawn(|| {
                    // No connection is made while one server goes and the next comes.
                    let connect = || Client::connect(SERVER, PATIENCE).ok();
                    let mut client = eventually("a server", connect);
                    client.say("STREAM 2000 0\nTIME").unwrap();
                    let mut asked = 1;
                    while client.line < LINES || client.times < asked {
                        assert_ne!(client.receive().unwrap(), Received::End);
                        // Not for ever: a server that obeys a command a life would not keep up.
                        if client.line == asked * 3 && client.line < LINES {
                            client.say("RATE 500\nTIME").unwrap();
                            asked += 1;
                        }
                    }
                    is_over.store(true, Ordering::Relaxed);
                });
                while !is_over.load(Ordering::Relaxed) && !client.is_finished() {
                    let command =
                        stage.command().env("DIES_AT", steps.to_string()).stdout(Stdio::null()).spawn();
                    let mut server = Server(command.unwrap());
                    lives += 1;
                    assert!(lives < 100, "with {steps} steps a life nothing gets on");
                    eventually("a server's death", || {
                        let is_needless = is_over.load(Ordering::Relaxed) || client.is_finished();
                        (is_needless || server.0.try_wait().unwrap().is_some()).then_some(())
                    });
                }
                assert!(client.join().is_ok(), "with {steps} steps");
            });
            assert!(lives > 1, "with {steps} steps");
        }
    });
}
