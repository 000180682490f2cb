//! `backdoors-nic` outlives the agent, its own misuse, and nothing else.
#![allow(clippy::unwrap_used, reason = "this file is nothing but tests")]

use backdoors_rdma::conformance::Fixture;
use backdoors_rdma::conformance::fixtures::Process;
use backdoors_rdma::handshake::{Secret, Welcome};
use backdoors_rdma::owner::{Client, MemoryOwner, RegionRequest, Rights};
use backdoors_rdma::{AccessError, Dialer, RemoteRange, Request, Session, SharedMemory, Ticket, emulated};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(1);
const AGENT_SOCKET: &str = "BACKDOORS_TEST_AGENT_SOCKET";
const GREETING: &[u8; 8] = b"greeting";

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_backdoors-nic").into()
}

struct Lab {
    nic: Process,
    client: Option<Box<dyn MemoryOwner>>,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("nic.sock");
        let mut nic = Process::emulated(program(), socket.clone());
        let client = Some(nic.start().unwrap());
        Lab { nic, client, socket, _folder: folder }
    }

    fn client(&mut self) -> &mut dyn MemoryOwner {
        self.client.as_mut().unwrap().as_mut()
    }

    fn session(&mut self, name: &str, slot: u32) -> Session {
        let mut dialer = emulated::Dialer::new(DEADLINE, None);
        let dialer: &mut dyn Dialer = &mut dialer;
        let client = self.client();
        Session::open_with(dialer, 2, |endpoints| {
            let admission = client.admit(name, slot, &endpoints)?;
            Ok(Welcome { target: "target".into(), admission, secret: Secret::from_bytes([0; 16]) })
        })
        .unwrap()
    }

    fn pid(&mut self) -> Pid {
        Pid::from_child(self.nic.child().unwrap())
    }

    /// Runs another NIC on the same socket until it ends by itself.
    fn another(&self) -> Output {
        let mut command = Command::new(program());
        command.args(["--provider", "emulated", "--listen", "127.0.0.1:0", "--socket"]).arg(&self.socket);
        command.stdin(Stdio::null()).output().unwrap()
    }
}

fn region(kind: u32, length: u64) -> RegionRequest {
    RegionRequest { kind, generation: 1, offset: 0, length, rights: Rights::Writable, slot: None }
}

fn read_greeting(session: &mut Session, range: RemoteRange) {
    let mut bytes = [0; 8];
    session.read(range, &mut bytes).unwrap();
    assert_eq!(&bytes, GREETING);
}

/// Not a test: what the process `agent` runs. It registers a region, says so, and waits to be killed.
#[test]
#[ignore = "is run by other tests, as an agent's process"]
fn agent_process() {
    let Some(socket) = std::env::var_os(AGENT_SOCKET) else { return };
    let mut client = Client::connect(Path::new(&socket)).unwrap();
    let (memory, fd) = SharedMemory::create("agent", 64).unwrap();
    memory.write_bytes(0, GREETING).unwrap();
    client.register(region(1, 64), fd).unwrap();
    println!("\nregistered");
    let _ = std::io::stdin().read(&mut [0]);
}

struct Agent(Child);

impl Agent {
    fn start(socket: &Path) -> Agent {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "agent_process", "--nocapture"])
            .env(AGENT_SOCKET, socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let agent = Agent(child);
        assert!(BufReader::new(stdout).lines().any(|line| line.unwrap() == "registered"));
        agent
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memory_is_served_while_its_agent_is_stopped_and_after_it_was_killed() {
    let mut lab = Lab::new();
    let mut agent = Agent::start(&lab.socket);
    let mut session = lab.session("monitor", 0);
    let range = session.expect(1, 1).unwrap().range.slice(0, 8).unwrap();
    read_greeting(&mut session, range);

    agent.signal(Signal::STOP);
    read_greeting(&mut session, range);
    let mut late = lab.session("who comes while it is stopped", 1);
    let its = late.expect(1, 1).unwrap().range.slice(0, 8).unwrap();
    read_greeting(&mut late, its);

    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    read_greeting(&mut session, range);

    let mut next = Client::connect(&lab.socket).unwrap();
    let regions = next.regions().unwrap();
    assert_eq!(regions.len(), 1);
    assert_eq!(regions[0].1, region(1, 64));
    next.retire(regions[0].0).unwrap();
    let error = session.read(range, &mut [0; 8]).unwrap_err();
    assert!(matches!(error, AccessError::Denied), "{error}");
}

#[test]
fn a_killed_nic_is_unreachable_and_its_socket_is_taken_over_by_the_next() {
    let mut lab = Lab::new();
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    lab.client().register(region(1, 64), fd).unwrap();
    let mut session = lab.session("monitor", 0);
    let range = session.expect(1, 1).unwrap().range;
    kill_process(lab.pid(), Signal::KILL).unwrap();
    lab.nic.child().unwrap().wait().unwrap();
    let error = session.read(range, &mut [0; 64]).unwrap_err();
    assert!(matches!(error, AccessError::Unreachable { .. }), "{error}");
    assert!(lab.client().regions().is_err());

    assert!(lab.socket.exists(), "a killed process removes nothing");
    lab.client = Some(lab.nic.start().unwrap());
    assert_eq!(lab.client().regions(), Ok(Vec::new()));
}

#[test]
fn a_stopped_nic_is_unreachable_within_the_deadline() {
    let mut lab = Lab::new();
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    lab.client().register(region(1, 64), fd).unwrap();
    let mut session = lab.session("monitor", 0);
    let range = session.expect(1, 1).unwrap().range;
    kill_process(lab.pid(), Signal::STOP).unwrap();
    // Its threads stop one after the other; this waits for the last.
    waitpid(Some(lab.pid()), WaitOptions::UNTRACED).unwrap();
    let start = Instant::now();
    let error = session.read(range, &mut [0; 64]).unwrap_err();
    assert!(matches!(error, AccessError::Unreachable { after } if after >= DEADLINE), "{error}");
    assert!(start.elapsed() < DEADLINE * 3 / 2, "{:?}", start.elapsed());
    kill_process(lab.pid(), Signal::CONT).unwrap();
    session.read(range, &mut [0; 64]).unwrap();
}

#[test]
fn a_second_nic_leaves_the_first_ones_socket_alone() {
    let mut lab = Lab::new();
    let output = lab.another();
    assert!(!output.status.success());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("another owner answers there"), "{words}");
    assert_eq!(lab.client().regions(), Ok(Vec::new()));
    assert!(Client::connect(&lab.socket).is_ok());
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced() {
    let mut lab = Lab::new();
    kill_process(lab.pid(), Signal::TERM).unwrap();
    lab.nic.child().unwrap().wait().unwrap();
    std::fs::write(&lab.socket, "precious").unwrap();
    let output = lab.another();
    assert!(!output.status.success());
    assert_eq!(std::fs::read_to_string(&lab.socket).unwrap(), "precious");
}

#[test]
fn a_terminated_nic_ends_well_and_removes_its_socket() {
    let mut lab = Lab::new();
    assert!(std::fs::metadata(&lab.socket).unwrap().file_type().is_socket());
    kill_process(lab.pid(), Signal::TERM).unwrap();
    assert!(lab.nic.child().unwrap().wait().unwrap().success());
    assert!(!lab.socket.exists());
}

fn raw(path: &Path) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

#[test]
fn broken_and_stuck_clients_neither_end_the_nic_nor_hold_it_up() {
    let mut lab = Lab::new();
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    let id = lab.client().register(region(1, 64), fd).unwrap();

    let long = vec![b'['; 120_000];
    for words in [b"".as_slice(), b"\xff\x00", b"{}", b"\"Regions\" ", b"{\"Register\":{}}", b"null", &long] {
        let client = raw(&lab.socket);
        let _ = rustix::net::send(&client, words, SendFlags::NOSIGNAL);
    }
    // One that asks and asks and takes no answer, until the NIC takes no more from it.
    let stuck = raw(&lab.socket);
    let asked = (0..100_000)
        .take_while(|_| rustix::net::send(&stuck, b"\"Regions\"", SendFlags::NOSIGNAL).is_ok())
        .count();
    assert!(asked < 100_000, "the connection of a client that takes no answers is closed");
    // More than are served at once: the latest are.
    let idle: Vec<OwnedFd> = (0..20).map(|_| raw(&lab.socket)).collect();
    let mut last = Client::connect(&lab.socket).unwrap();
    assert_eq!(last.regions().unwrap(), vec![(id, region(1, 64))]);
    drop(idle);
    let mut session = {
        lab.client = Some(Box::new(last));
        lab.session("monitor", 0)
    };
    session.refresh_directory().unwrap();
}

/// Waits for a request to end.
fn ended(session: &mut Session, bytes: &mut Vec<u8>) -> (Ticket, Result<(), AccessError>) {
    loop {
        if let Some(ended) = session.poll(bytes) {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_read_that_a_stopped_nic_does_not_answer_holds_up_no_later_one_and_its_answer_is_lost() {
    let mut lab = Lab::new();
    let (memory, fd) = SharedMemory::create("test", 64).unwrap();
    memory.write_bytes(0, &[1; 64]).unwrap();
    lab.client().register(region(1, 64), fd).unwrap();
    let mut session = lab.session("monitor", 0);
    let range = session.expect(1, 1).unwrap().range;
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(10));
    kill_process(lab.pid(), Signal::STOP).unwrap();
    waitpid(Some(lab.pid()), WaitOptions::UNTRACED).unwrap();
    let start = Instant::now();
    let lost = session.start(Request::Read(&[range]), short).unwrap();
    let next = session.start(Request::Read(&[range]), long).unwrap();
    let mut bytes = Vec::new();
    let (ticket, result) = ended(&mut session, &mut bytes);
    let took = start.elapsed();
    assert_eq!(ticket, lost);
    assert!(matches!(result, Err(AccessError::Unreachable { after }) if after >= short), "{result:?}");
    assert!(took >= short && took < short * 5, "{took:?}");
    assert_eq!(session.healthy(), 1);

    memory.write_bytes(0, &[2; 64]).unwrap();
    kill_process(lab.pid(), Signal::CONT).unwrap();
    let (ticket, result) = ended(&mut session, &mut bytes);
    result.unwrap();
    assert_eq!((ticket, bytes.as_slice()), (next, [2; 64].as_slice()));
    for value in 3..10 {
        memory.write_bytes(0, &[value; 64]).unwrap();
        session.start(Request::Read(&[range]), long).unwrap();
        let (_, result) = ended(&mut session, &mut bytes);
        result.unwrap();
        assert_eq!(bytes, [value; 64], "the answer that came late is nobody's");
    }
}
