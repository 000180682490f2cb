//! Segments that this machine's kernel takes for the peer's.
//!
//! Repair mode cannot say that the peer's FIN was received, nor let the congestion window grow. A segment that the
//! peer has sent before can, put in front of the kernel once more. It goes through the loopback device alone.

use super::checksum::{octets, with_pseudo_header};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// What of a segment differs from one to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub acknowledged: u32,
    /// As it stands in the header: scaled.
    pub window: u16,
    pub fin: bool,
}

const FIN: u8 = 1;
const ACK: u8 = 16;
const TCP: u8 = 6;

impl Segment {
    /// The IP packet, without the header's checksum: the kernel fills that in.
    fn packet(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(20);
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledged.to_be_bytes());
        tcp.extend([5 << 4, ACK | if self.fin { FIN } else { 0 }]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        let sum = with_pseudo_header(self.from.ip(), self.to.ip(), TCP, &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());

        let mut packet = match self.to {
            SocketAddr::V4(_) => vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, TCP, 0, 0],
            SocketAddr::V6(_) => vec![0x60, 0, 0, 0, 0, 20, TCP, 64],
        };
        packet.extend(octets(self.from.ip()));
        packet.extend(octets(self.to.ip()));
        packet.extend(tcp);
        packet
    }
}

/// Where segments are put in front of the kernel.
#[derive(Debug)]
pub(super) struct Entrance {
    socket: OwnedFd,
}

impl Entrance {
    /// For connections of the family of `local`.
    pub(super) fn open(local: SocketAddr) -> Result<Entrance, Errno> {
        let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        // IPPROTO_RAW: the packet brings its own header.
        Ok(Entrance { socket: socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)? })
    }

    pub(super) fn put(&self, segment: &Segment) -> Result<(), Errno> {
        let mut to = segment.to;
        // A raw IPv6 socket wants a port of 0 or its protocol's number.
        to.set_port(0);
        let to = SockaddrStorage::from(to);
        sendto(self.socket.as_raw_fd(), &segment.packet(), &to, MsgFlags::MSG_DONTWAIT).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_laid_out_as_on_the_wire() {
        let segment = Segment {
            from: "10.0.0.1:4000".parse().unwrap(),
            to: "10.0.0.2:80".parse().unwrap(),
            sequence: 0x01020304,
            acknowledged: 0x05060708,
            window: 512,
            fin: true,
        };
        let packet = segment.packet();
        assert_eq!(packet.len(), 40);
        assert_eq!(packet[12..20], [10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(packet[20..36], [0x0f, 0xa0, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x11, 2, 0]);
        assert_eq!(with_pseudo_header(segment.from.ip(), segment.to.ip(), TCP, &packet[20..]), 0);
    }

    #[test]
    fn a_segment_of_ipv6_has_the_longer_header() {
        let segment = Segment {
            from: "[fd00::1]:4000".parse().unwrap(),
            to: "[fd00::2]:80".parse().unwrap(),
            sequence: 1,
            acknowledged: 2,
            window: 3,
            fin: false,
        };
        let packet = segment.packet();
        assert_eq!((packet.len(), packet[0], packet[6]), (60, 0x60, 6));
        assert_eq!(packet[40 + 13], 0x10);
        assert_eq!(with_pseudo_header(segment.from.ip(), segment.to.ip(), TCP, &packet[40..]), 0);
    }
}
