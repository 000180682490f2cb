//! A host at the other end of the target's card, and what it gets from the target.

use crate::host::{PATIENCE, eventually};
use backdoors_target_agent::memory::new_generation;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What the target serves at, and what else it has, of both families; and the peer.
pub const SERVICE: [&str; 2] = ["10.99.0.5", "fd99::5"];
pub const OTHER: [&str; 2] = ["10.99.0.6", "fd99::6"];
pub const PEER: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// The target's card, and the peer's.
pub const CARDS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 5], [2, 0, 0, 0, 0, 1]];

pub fn addresses(of: [&str; 2]) -> [IpAddr; 2] {
    of.map(|text| text.parse().unwrap())
}

/// The host. What it does it does in a network of its own; the test itself is in the target's.
pub struct Peer {
    network: File,
    frames: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// Both ends of a connection.
pub struct Connection {
    pub target: TcpStream,
    pub peer: TcpStream,
}

impl Peer {
    /// Plugs a host into the target, and records what it gets from now on.
    pub fn plug_in() -> Peer {
        let network = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let network = network.join().unwrap();
        let descriptor = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
        run(&format!("ip link add eth0 type veth peer name eth0 netns {descriptor}"));
        card(CARDS[0], &[SERVICE, OTHER].concat());
        let frames = Arc::new(Mutex::new(Vec::new()));
        let peer = Peer { network, frames: Arc::clone(&frames) };
        peer.within(|| {
            card(CARDS[1], &PEER);
            let card: OwnedFd =
                socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), SockProtocol::EthAll)
                    .unwrap();
            setsockopt(&card, sockopt::RcvBufForce, &(16 << 20)).unwrap();
            std::thread::spawn(move || {
                let mut frame = vec![0; 1 << 17];
                while let Ok(length) = recv(card.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                    frames.lock().unwrap().push(frame[..length].to_vec());
                }
            });
        });
        peer
    }

    /// Does something in the peer's network.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects to a server at this address of the target.
    pub fn connect(&self, address: IpAddr) -> Connection {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let peer = self.within(|| eventually("a connection", || TcpStream::connect(to).ok()));
        Connection { target: listener.accept().unwrap().0, peer }
    }

    /// Addresses from which the target sent, or which it claimed, since this was last asked. All that it had sent before
    /// is among them, since a card passes packets on in their order.
    pub fn heard(&self) -> Vec<IpAddr> {
        let mark = new_generation().unwrap().to_be_bytes();
        let from = UdpSocket::bind((OTHER[0], 0)).unwrap();
        let frames = eventually("the mark", || {
            from.send_to(&mark, (PEER[0], 9)).unwrap();
            let mut frames = self.frames.lock().unwrap();
            let marked = frames.iter().any(|frame| frame.ends_with(&mark));
            marked.then(|| std::mem::take(&mut *frames))
        });
        let mut heard: Vec<IpAddr> = frames.iter().flat_map(|frame| claimed(frame)).collect();
        heard.sort_unstable();
        heard.dedup();
        heard
    }

    /// Whether the target spoke from one of its service addresses, or claimed one, since it was last asked.
    pub fn heard_service(&self) -> bool {
        let heard = self.heard();
        assert!(heard.contains(&addresses(OTHER)[0]), "{heard:?}");
        heard.iter().any(|address| addresses(SERVICE).contains(address))
    }
}

impl Connection {
    /// Has the target write, which must arrive.
    pub fn goes_on(&mut self, text: &str) {
        self.target.write_all(text.as_bytes()).unwrap();
        self.arrives(text);
    }

    /// What the target wrote arrives.
    pub fn arrives(&mut self, text: &str) {
        self.peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = vec![0; text.len()];
        self.peer.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8_lossy(&got), text);
    }
}

/// Runs a program with these arguments.
pub fn run(line: &str) {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn card(number: [u8; 6], addresses: &[&str]) {
    let number = number.map(|byte| format!("{byte:02x}")).join(":");
    run("ip link set lo up");
    run(&format!("ip link set eth0 address {number} up"));
    for address in addresses {
        let rest = if address.contains(':') { "/64 dev eth0 nodad" } else { "/24 dev eth0" };
        run(&format!("ip address add {address}{rest}"));
    }
}

/// The addresses that a frame of the target comes from, or says to be the target's.
fn claimed(frame: &[u8]) -> Vec<IpAddr> {
    if frame.get(6..12) != Some(&CARDS[0]) {
        return Vec::new();
    }
    let mut at = 12;
    while frame.get(at..at + 2) == Some(&[0x81, 0]) {
        at += 4;
    }
    let body = &frame[at + 2..];
    let v4 = |at: usize| {
        body.get(at..at + 4).map(|bytes| IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])))
    };
    let v6 = |at: usize| {
        let bytes: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)))
    };
    let found = match [frame[at], frame[at + 1]] {
        [8, 0] => vec![v4(12)],
        [8, 6] => vec![v4(14)],
        [0x86, 0xdd] if body[6] == 58 && [135, 136].contains(&body[40]) => vec![v6(8), v6(48)],
        [0x86, 0xdd] => vec![v6(8)],
        _ => Vec::new(),
    };
    found.into_iter().flatten().collect()
}
