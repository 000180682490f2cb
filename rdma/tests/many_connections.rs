//! One emulated NIC serves thousands of connections, from one thread.
#![allow(clippy::unwrap_used, reason = "this file is nothing but tests")]

use backdoors_rdma::conformance::Fixture;
use backdoors_rdma::conformance::fixtures::Process;
use backdoors_rdma::directory::Directory;
use backdoors_rdma::owner::{MAX_ENDPOINTS, RegionRequest, Rights};
use backdoors_rdma::{Connection, RemoteRange, Request, SharedMemory};
use rustix::event::{Timespec, epoll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::task::Poll;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 3000;
const DEADLINE: Duration = Duration::from_secs(20);

/// A number in the NIC's `/proc/<pid>/status`.
fn status(nic: &mut Process, key: &str) -> u64 {
    let pid = nic.child().unwrap().id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

struct Line {
    connection: Box<dyn Connection>,
    range: RemoteRange,
}

/// Starts a read on every connection, and waits for changes until all have ended.
fn read_all(lines: &mut [Line], watch: impl std::os::fd::AsFd, expected: &[u8]) {
    for line in &mut *lines {
        line.connection.start(Request::Read(&[line.range]), DEADLINE).unwrap();
    }
    let (mut bytes, mut events) = (Vec::new(), Vec::with_capacity(256));
    let mut ended = 0;
    while ended < lines.len() {
        events.clear();
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let room = rustix::buffer::spare_capacity(&mut events);
        let woken = epoll::wait(watch.as_fd(), room, Some(&patience)).unwrap();
        assert!(woken > 0, "{ended} of {} reads ended", lines.len());
        for event in &events {
            let line = &mut lines[event.data.u64() as usize];
            if let Poll::Ready(result) = line.connection.poll(&mut bytes) {
                result.unwrap();
                assert_eq!(bytes, expected);
                ended += 1;
            }
        }
    }
}

#[test]
fn three_thousand_connections_are_served_by_one_thread() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_backdoors-nic").into();
    let mut nic = Process::emulated(program, folder.path().join("nic.sock"));
    let mut owner = nic.start().unwrap();
    let (memory, fd) = SharedMemory::create("test", 4096).unwrap();
    let expected: Vec<u8> = (0..4096).map(|index| (index * 7) as u8).collect();
    memory.write_bytes(0, &expected).unwrap();
    let (generation, offset, length) = (1, 0, 4096);
    let region = RegionRequest { kind: 1, generation, offset, length, rights: Rights::ReadOnly, slot: None };
    owner.register(region, fd).unwrap();

    let threads = status(&mut nic, "Threads:");
    let resident = status(&mut nic, "VmRSS:");
    let mut lines: Vec<Line> = Vec::new();
    let mut slot = 0;
    while lines.len() < CONNECTIONS {
        let mut dialer = nic.dialer(DEADLINE).unwrap();
        let endpoints = dialer.prepare(MAX_ENDPOINTS).unwrap();
        let admission = owner.admit(&format!("monitor {slot}"), slot, &endpoints).unwrap();
        let mut connections = dialer.connect(&admission.endpoints).unwrap();
        let directory = Directory::fetch(connections[0].as_mut(), admission.directory).unwrap();
        let range = directory.region(1).unwrap().range;
        lines.extend(connections.into_iter().map(|connection| Line { connection, range }));
        slot += 1;
    }
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for (index, line) in lines.iter().enumerate() {
        let (data, flags) =
            (epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN | epoll::EventFlags::ET);
        epoll::add(&watch, line.connection.readiness(), data, flags).unwrap();
    }
    for _ in 0..3 {
        let start = Instant::now();
        read_all(&mut lines, &watch, &expected);
        println!("{} reads of 4096 bytes in {:?}", lines.len(), start.elapsed());
    }
    assert_eq!(status(&mut nic, "Threads:"), threads);
    let grown = status(&mut nic, "VmRSS:") - resident;
    println!("{grown} KiB more for {} connections of {slot} monitors", lines.len());
    // A monitor's directory takes three pages; a connection is to take nothing near one.
    assert!(grown < 16 * slot as u64 + lines.len() as u64, "{grown} KiB more");
}
