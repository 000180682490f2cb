//! Adding addresses to interfaces and taking them away, by the kernel's own messages.

use super::checksum::octets;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

/// Known on this machine only: such an address is never told to anybody, and never chosen for anything new.
const SCOPE_HOST: u8 = 254;
const SCOPE_GLOBAL: u8 = 0;
/// Used at once: nobody is asked whether somebody else has it.
const NO_DETECTION: u32 = 2;

/// An address on an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub address: IpAddr,
    pub prefix: u8,
    pub interface: u32,
    pub this_machine_only: bool,
}

pub(super) fn add(placed: Placed) -> Result<(), Errno> {
    ask(&message(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, placed))
}

pub(super) fn remove(placed: Placed) -> Result<(), Errno> {
    ask(&message(libc::RTM_DELADDR, 0, placed))
}

/// A `nlmsghdr`, an `ifaddrmsg` and its attributes.
fn message(kind: u16, flags: u16, placed: Placed) -> Vec<u8> {
    let family = if placed.address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    // IPv6 gives scopes by the address alone.
    let scope = if placed.this_machine_only && placed.address.is_ipv4() { SCOPE_HOST } else { SCOPE_GLOBAL };
    let mut body = vec![family, placed.prefix, 0, scope];
    body.extend(placed.interface.to_ne_bytes());
    let address = octets(placed.address);
    for (attribute, value) in [
        (libc::IFA_LOCAL, &address[..]),
        (libc::IFA_ADDRESS, &address[..]),
        (libc::IFA_FLAGS, &NO_DETECTION.to_ne_bytes()[..]),
    ] {
        // All of these are of whole words, so nothing needs padding.
        body.extend(((4 + value.len()) as u16).to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
    }
    let mut message = Vec::new();
    message.extend(((16 + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | ACKNOWLEDGE | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

fn ask(message: &[u8]) -> Result<(), Errno> {
    let socket: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(socket.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    outcome(&answer[..length])
}

/// Of an `nlmsgerr`: 0, or an error number below it.
fn outcome(answer: &[u8]) -> Result<(), Errno> {
    let kind = answer.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let error = answer.get(16..20).map(|error| i32::from_ne_bytes([error[0], error[1], error[2], error[3]]));
    match (kind.map(i32::from), error) {
        (Some(libc::NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(libc::NLMSG_ERROR), Some(error)) => Err(Errno::from_raw(error.wrapping_neg())),
        _ => Err(Errno::EBADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        assert_eq!(outcome(&[]), Err(Errno::EBADMSG));
        let mut answer = vec![0; 20];
        answer[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        assert_eq!(outcome(&answer), Ok(()));
        answer[16..20].copy_from_slice(&(-libc::EEXIST).to_ne_bytes());
        assert_eq!(outcome(&answer), Err(Errno::EEXIST));
        assert_eq!(outcome(&answer[..18]), Err(Errno::EBADMSG));
    }
}
