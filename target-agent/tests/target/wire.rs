//! What tests need of sockets that the standard library has not: the kernel's own numbers of a connection, and packets made
//! by hand.

#![allow(unsafe_code, reason = "socket options that no library knows")]

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrStorage, bind, connect,
    getsockopt, sendto, setsockopt, socket, sockopt,
};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const TCP: i32 = 6;
const SOCKET: i32 = 1;
const TCP_REPAIR: i32 = 19;
const TCP_REPAIR_QUEUE: i32 = 20;
const TCP_QUEUE_SEQ: i32 = 21;
const TCP_REPAIR_WINDOW: i32 = 29;
const TCP_DEFER_ACCEPT: i32 = 9;
const SO_COOKIE: i32 = 57;
const SO_RCVBUF: i32 = 8;

sockopt_impl!(Repair, SetOnly, TCP, TCP_REPAIR, i32);
sockopt_impl!(RepairQueue, SetOnly, TCP, TCP_REPAIR_QUEUE, i32);
sockopt_impl!(QueueSequence, GetOnly, TCP, TCP_QUEUE_SEQ, u32);
sockopt_impl!(RepairWindow, GetOnly, TCP, TCP_REPAIR_WINDOW, [u32; 5]);
sockopt_impl!(DeferAccept, SetOnly, TCP, TCP_DEFER_ACCEPT, u32);
sockopt_impl!(Cookie, GetOnly, SOCKET, SO_COOKIE, u64);
sockopt_impl!(ReceiveBuffer, Both, SOCKET, SO_RCVBUF, u32);

/// What the kernel itself says of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Numbers {
    pub rcv_nxt: u32,
    pub write_seq: u32,
    /// `snd_wl1`, `snd_wnd`, `max_window`, `rcv_wnd`, `rcv_wup`.
    pub windows: [u32; 5],
}

pub fn numbers(socket: &TcpStream) -> Numbers {
    // -1 ends it without a packet.
    setsockopt(socket, Repair, &1).unwrap();
    let of_queue = |queue| {
        setsockopt(socket, RepairQueue, &queue).unwrap();
        getsockopt(socket, QueueSequence).unwrap()
    };
    let (rcv_nxt, write_seq) = (of_queue(1), of_queue(2));
    let windows = getsockopt(socket, RepairWindow).unwrap();
    setsockopt(socket, Repair, &-1).unwrap();
    Numbers { rcv_nxt, write_seq, windows }
}

pub fn cookie(socket: &TcpStream) -> u64 {
    getsockopt(socket, Cookie).unwrap()
}

/// Connects from an address of its own.
pub fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let client = socket(family, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(client.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).unwrap();
    connect(client.as_raw_fd(), &SockaddrStorage::from(to)).unwrap();
    client.into()
}

/// Has the kernel drop the last packet of handshakes, so that the one with the first bytes completes them.
pub fn defer_accept(listener: &TcpListener) {
    setsockopt(listener, DeferAccept, &5).unwrap();
}

pub fn receive_buffer(socket: &TcpStream) -> u32 {
    getsockopt(socket, ReceiveBuffer).unwrap()
}

pub fn ask_for_receive_buffer(socket: &impl AsFd, bytes: u32) {
    setsockopt(socket, ReceiveBuffer, &bytes).unwrap();
}

/// Ends a connection at once, whatever the peer thinks of it.
pub fn reset(socket: TcpStream) {
    setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
}

/// Sends packets in a client's name.
pub struct Forger {
    raw: OwnedFd,
    from: SocketAddrV4,
    to: SocketAddrV4,
    acknowledges: u32,
}

impl Forger {
    pub fn new(from: SocketAddrV4, to: SocketAddrV4, acknowledges: u32) -> Forger {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Raw).unwrap();
        Forger { raw, from, to, acknowledges }
    }

    pub fn send(&self, sequence: u32, payload: &[u8]) {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(self.acknowledges.to_be_bytes());
        // Five words of header; ACK and PSH.
        tcp.extend([5 << 4, 0x18, 0x04, 0x00, 0, 0, 0, 0]);
        tcp.extend(payload);
        let sum = checksum(*self.from.ip(), *self.to.ip(), &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0];
        packet.extend((20 + tcp.len() as u16).to_be_bytes());
        // The kernel fills in the sum of the header.
        packet.extend([0, 0, 0x40, 0, 64, TCP as u8, 0, 0]);
        packet.extend(self.from.ip().octets());
        packet.extend(self.to.ip().octets());
        packet.extend(tcp);
        let to = SockaddrIn::from(SocketAddrV4::new(*self.to.ip(), 0));
        sendto(self.raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
    }
}

fn checksum(from: Ipv4Addr, to: Ipv4Addr, tcp: &[u8]) -> u16 {
    let mut bytes = Vec::new();
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend([0, TCP as u8]);
    bytes.extend((tcp.len() as u16).to_be_bytes());
    bytes.extend(tcp);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
