//! A service for tests, as a process of its own, and its clients. A client sends requests; each is a letter and a number:
//!
//! | request | answer |
//! | --- | --- |
//! | `d` n | n bytes of a pattern |
//! | `u` n, then n bytes | their sum |
//! | `r` n | n words that come out otherwise each time |
//! | `p` 1 | whether the session is protected |
//! | `z` n, then n bytes | a byte; nothing is exported, and nothing follows |
//! | `e` n | n bytes of the pattern; then the server ends the session |
//! | `f` n | the same, but nothing is waited for: what the connection has no room for is left to the agent |
//! | `q` 1 | the process id; then the server closes the session |

use crate::captured::{Group, PORT};
use crate::host::{Host, eventually};
use backdoors_continuation_box::service::{Service, Session};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SOCKET: &str = "BACKDOORS_TEST_SERVICES";
/// What a server waits after each piece, so that a transfer lasts.
const PACE: Duration = Duration::from_millis(1);
const PIECE: usize = 16 << 10;

/// What a session has come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    pub request: u8,
    pub size: u64,
    pub done: u64,
    pub sum: u64,
}

impl Progress {
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![self.request];
        [self.size, self.done, self.sum].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    fn of(bytes: &[u8]) -> Progress {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        Progress { request: bytes[0], size: word(1), done: word(9), sum: word(17) }
    }
}

/// Byte number `position` of what is transferred.
pub fn byte(position: u64) -> u8 {
    (position ^ (position >> 8).wrapping_mul(31) ^ (position >> 16).wrapping_mul(17)) as u8
}

pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte))
}

fn serve(mut session: Session) -> std::io::Result<()> {
    let snapshot = session.recovered().filter(|snapshot| !snapshot.is_empty()).map(Progress::of);
    let mut progress = snapshot.unwrap_or_default();
    loop {
        if progress.done == progress.size {
            let mut head = [0; 9];
            match session.read_exact(&mut head) {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return session.end(),
                other => other?,
            }
            let size = u64::from_le_bytes(head[1..].try_into().unwrap());
            progress = Progress { request: head[0], size, done: 0, sum: 0 };
        }
        match progress.request {
            b'd' => {
                let until = progress.size.min(progress.done + PIECE as u64);
                let piece: Vec<u8> = (progress.done..until).map(byte).collect();
                session.write_all(&piece)?;
                progress.done = until;
            }
            b'u' => {
                let mut piece = vec![0; PIECE.min((progress.size - progress.done) as usize)];
                let count = session.read(&mut piece)?;
                if count == 0 {
                    return session.end();
                }
                progress.sum = add(progress.sum, &piece[..count]);
                progress.done += count as u64;
                if progress.done == progress.size {
                    session.write_all(&progress.sum.to_le_bytes())?;
                }
                // Not every time, so that there is something to be read again.
                if progress.done != progress.size && !(progress.done / PIECE as u64).is_multiple_of(3) {
                    continue;
                }
            }
            b'r' => {
                session.hold_back().unwrap();
                let word = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_nsec as u64;
                session.write_all(&word.to_le_bytes())?;
                std::thread::sleep(PACE);
                progress.done += 1;
                progress.sum = add(progress.sum, &word.to_le_bytes());
                if progress.done == progress.size {
                    session.write_all(&progress.sum.to_le_bytes())?;
                }
            }
            b'p' => {
                session.write_all(&[u8::from(session.is_protected())])?;
                progress.done = progress.size;
            }
            b'z' => {
                for _ in 0..progress.size {
                    session.read_exact(&mut [0])?;
                }
                session.write_all(b"z")?;
                // It never gets to the next export.
                std::thread::sleep(Duration::from_secs(1000));
            }
            b'e' => {
                session.write_all(&(0..progress.size).map(byte).collect::<Vec<_>>())?;
                return session.end();
            }
            b'f' => {
                session.set_nonblocking(true)?;
                let bytes: Vec<u8> = (0..progress.size).map(byte).collect();
                let mut rest = bytes.as_slice();
                while let Ok(count) = session.write(&rest[..PIECE.min(rest.len())]) {
                    rest = &rest[count..];
                }
                session.hold_back().unwrap();
                return session.write_all(rest);
            }
            _ => {
                session.write_all(&std::process::id().to_le_bytes())?;
                return session.end();
            }
        }
        session.export(&progress.bytes()).unwrap();
        std::thread::sleep(PACE);
    }
}

#[test]
fn a_server_for_other_tests() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap();
    let listener = Service::attach_at(socket, "web").unwrap().listen(listener).unwrap();
    let quit = std::env::var_os("BACKDOORS_TEST_QUIT").is_some();
    loop {
        let session = listener.accept().unwrap();
        let thread = std::thread::spawn(move || drop(serve(session)));
        if quit {
            // Ends as it should, after one session.
            thread.join().unwrap();
            return;
        }
    }
}

/// An agent whose services can be served, and their servers.
pub struct Served {
    pub host: Host,
    /// Left after the agent's end.
    _group: Group,
    socket: PathBuf,
    server: Option<Child>,
    _folder: tempfile::TempDir,
}

impl Served {
    /// Starts both; `service` is added to the service's configuration.
    pub fn start(service: &str) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("services.sock");
        let group = Group::enter();
        let top = format!("service_socket = '{}'", socket.display());
        let host = crate::captured::start_with(&top, service, &group);
        let mut served = Served { host, _group: group, socket, server: None, _folder: folder };
        served.serve();
        served
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["served::a_server_for_other_tests", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(SOCKET, &self.socket).stdout(Stdio::null());
        command
    }

    /// Starts a server.
    pub fn serve(&mut self) {
        assert!(self.server.is_none());
        self.server = Some(self.command().spawn().unwrap());
    }

    /// Starts one that leaves after one session.
    pub fn serve_once(&mut self) {
        assert!(self.server.is_none());
        self.server = Some(self.command().env("BACKDOORS_TEST_QUIT", "1").spawn().unwrap());
    }

    /// Waits for the server's end.
    pub fn await_end(&mut self) {
        self.server.take().unwrap().wait().unwrap();
    }

    pub fn kill(&mut self) {
        let mut server = self.server.take().unwrap();
        kill_process(Pid::from_child(&server), Signal::KILL).unwrap();
        server.wait().unwrap();
    }

    /// Connects as soon as somebody listens.
    pub fn connect(&self) -> Client {
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).ok();
        let stream = eventually("a server that listens", connect);
        stream.set_read_timeout(Some(crate::host::PATIENCE)).unwrap();
        Client { stream }
    }

    /// Connects when sessions are protected.
    pub fn connect_protected(&self) -> Client {
        let connect = || {
            let mut client = self.connect();
            client.is_protected().then_some(client)
        };
        eventually("a session that is protected", connect)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.kill();
        }
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn ask(&mut self, request: u8, size: u64) {
        let bytes: Vec<u8> = [request].into_iter().chain(size.to_le_bytes()).collect();
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn is_protected(&mut self) -> bool {
        self.ask(b'p', 1);
        let mut answer = [0];
        self.stream.read_exact(&mut answer).unwrap();
        answer[0] == 1
    }

    pub fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        self.stream.read_exact(&mut word).unwrap();
        u64::from_le_bytes(word)
    }

    /// Receives bytes of the pattern, and checks each.
    pub fn receive(&mut self, positions: std::ops::Range<u64>) {
        let mut buffer = vec![0; 1 << 16];
        let mut at = positions.start;
        while at < positions.end {
            let most = buffer.len().min((positions.end - at) as usize);
            let count = self.stream.read(&mut buffer[..most]).unwrap();
            assert!(count > 0, "the end, after {at} bytes");
            for (position, found) in (at..).zip(&buffer[..count]) {
                assert_eq!(*found, byte(position), "byte {position}");
            }
            at += count as u64;
        }
    }
}
