//! An agent that captures connections to one port, and what tests ask of it.

use crate::host::{Host, eventually};
use crate::wire;
use backdoors_sensor_box::session::{Received, ReceivedError};
use backdoors_sensor_box::{SessionView, SessionsView, fetch_received, fetch_sessions};
use backdoors_target_agent::kernel::find_cgroup;
use backdoors_target_agent::memory::new_generation;
use backdoors_target_agent::words::Words;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

pub const PORT: u16 = 8080;

/// A control group below the own one, with this process in it: no other socket of the machine is looked at.
pub struct Group {
    folder: PathBuf,
    parent: PathBuf,
}

impl Group {
    pub fn enter() -> Group {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let parent = find_cgroup().unwrap().join(own);
        let folder = parent.join(format!("backdoors-sessions-{:x}", new_generation().unwrap()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "0").unwrap();
        Group { folder, parent }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.parent.join("cgroup.procs"), "0");
        // What the agent started ends a moment after it.
        eventually("an empty group", || fs::remove_dir(&self.folder).ok());
    }
}

pub fn start(more: &str, group: &Group) -> Host {
    start_with("", more, group)
}

/// The same with lines for the agent itself.
pub fn start_with(top: &str, more: &str, group: &Group) -> Host {
    let group = group.folder.display();
    Host::start(&format!(
        "{top}\nservice_cgroup = '{group}'\n[[service]]\nname = 'web'\nports = [{PORT}]\n{more}\n"
    ))
}

pub fn reader(words: &Words) -> impl Fn(u64, &mut [u8]) -> Result<(), String> {
    let memory = words.memory();
    move |offset, into| memory.read_bytes(offset as usize, into).map_err(|error| error.to_string())
}

pub fn table(host: &Host) -> SessionsView {
    let words = &host.half().memory.sessions.as_ref().unwrap().table.words;
    let view = fetch_sessions(words.memory().len() as u64, reader(words)).unwrap();
    assert_eq!(view.refused, []);
    view
}

pub fn session(host: &Host, socket: &TcpStream) -> Option<SessionView> {
    table(host).session(wire::cookie(socket)).copied()
}

pub fn received(host: &Host, socket: &TcpStream) -> Result<Received, ReceivedError<String>> {
    let memory = host.half().memory.sessions.as_ref().unwrap();
    let view = table(host);
    let session = view.session(wire::cookie(socket)).unwrap();
    fetch_received(&view, session, reader(&memory.table.words), reader(&memory.rings.words))
}

/// Bytes of which no two stretches are alike.
pub fn pattern(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// As on a wire. With the large packets of a loopback device a small receive buffer is full after two.
pub fn small_packets() {
    let done = Command::new("ip").args("link set lo mtu 1500".split(' ')).status();
    assert!(done.unwrap().success());
}

pub fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).unwrap()
}

pub fn v4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(_) => unreachable!("these tests ask for IPv4"),
    }
}

/// Waits until TCP has taken so many bytes, and returns what is held of them.
pub fn held(host: &Host, socket: &TcpStream, bytes: usize) -> Received {
    eventually("bytes to be received", || (session(host, socket)?.received() == bytes as u64).then_some(()));
    received(host, socket).unwrap()
}
