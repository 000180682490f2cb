//! Frames that tell a network which of its cards has an address now.

use super::checksum::with_pseudo_header;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

const ICMPV6: u8 = 58;

/// A card, and the socket that puts frames on it. Closing that takes the kernel some milliseconds: it is kept until
/// there is time.
#[derive(Debug)]
pub(super) struct Announcer {
    card: LinkAddr,
    hardware: [u8; 6],
    socket: OwnedFd,
}

impl Announcer {
    pub(super) fn open(card: LinkAddr, hardware: [u8; 6]) -> Result<Announcer, Errno> {
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Announcer { card, hardware, socket })
    }

    /// The number of the card.
    pub(super) fn interface(&self) -> u32 {
        self.card.ifindex() as u32
    }

    /// Tells the network behind the card once.
    pub(super) fn announce(&self, addresses: impl Iterator<Item = IpAddr>) -> Result<(), Errno> {
        for address in addresses {
            let frames = match address {
                // Some take requests only, some replies only.
                IpAddr::V4(address) => {
                    [1, 2].map(|operation| gratuitous_arp(self.hardware, address, operation)).to_vec()
                }
                IpAddr::V6(address) => vec![neighbour_advertisement(self.hardware, address)],
            };
            for frame in frames {
                sendto(self.socket.as_raw_fd(), &frame, &self.card, MsgFlags::MSG_DONTWAIT)?;
            }
        }
        Ok(())
    }
}

fn gratuitous_arp(hardware: [u8; 6], address: Ipv4Addr, operation: u16) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(hardware);
    frame.extend([0x08, 0x06]);
    // Ethernet and IPv4, and how long their addresses are.
    frame.extend([0, 1, 0x08, 0, 6, 4]);
    frame.extend(operation.to_be_bytes());
    frame.extend(hardware);
    frame.extend(address.octets());
    frame.extend([0xff; 6]);
    frame.extend(address.octets());
    frame
}

fn neighbour_advertisement(hardware: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let everybody: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    // Type 136, the override flag, and the option "target link-layer address" of one unit of 8 bytes.
    let mut icmp = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    icmp.extend(address.octets());
    icmp.extend([2, 1]);
    icmp.extend(hardware);
    let sum = with_pseudo_header(address.into(), everybody.into(), ICMPV6, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(hardware);
    frame.extend([0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, 0, icmp.len() as u8, ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(everybody.octets());
    frame.extend(icmp);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: [u8; 6] = [2, 0, 0, 0, 0, 7];

    #[test]
    fn a_gratuitous_arp_asks_everybody_for_its_own_address() {
        let frame = gratuitous_arp(CARD, Ipv4Addr::new(10, 0, 0, 9), 1);
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6]);
        assert_eq!(frame[28..32], frame[38..42]);
        assert_eq!(frame[20..22], [0, 1]);
    }

    #[test]
    fn an_advertisement_is_for_everybody_overrides_and_has_a_good_checksum() {
        let frame = neighbour_advertisement(CARD, "fd00::9".parse().unwrap());
        assert_eq!(frame.len(), 14 + 40 + 32);
        assert_eq!((frame[21], frame[54], frame[58]), (255, 136, 0x20));
        assert_eq!(frame[80..], CARD);
        let everybody = "ff02::1".parse().unwrap();
        assert_eq!(with_pseudo_header("fd00::9".parse().unwrap(), everybody, ICMPV6, &frame[54..]), 0);
    }
}
