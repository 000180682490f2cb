//! Packets with descriptors, over a unix socket of type `SOCK_SEQPACKET`.

use super::message::MOST_BYTES;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, recvmsg,
    sendmsg, socket_with,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Most descriptors of a packet.
pub const MOST_DESCRIPTORS: usize = 2;

/// A packet that was received.
#[derive(Debug)]
pub struct Packet {
    /// What it says; empty if the other end has closed the connection.
    pub bytes: Vec<u8>,
    /// What came along.
    pub descriptors: Vec<OwnedFd>,
    /// Some descriptors had no room in this process, or were too many. They are gone.
    pub is_cut: bool,
}

/// Connects to the socket at `path`. From then on neither connecting, sending nor receiving takes longer than `patience`.
///
/// # Errors
/// What the system says.
pub fn connect(path: &Path, patience: Duration) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    connect_to(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Sends a packet. With [`SendFlags::DONTWAIT`] it does not wait for room.
///
/// # Errors
/// What the system says; then nothing was sent.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Receives a packet. With [`RecvFlags::DONTWAIT`] it does not wait for one.
///
/// # Errors
/// What the system says; then nothing was received.
pub fn receive(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<Packet> {
    let mut bytes = [0; MOST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffers = [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    let rights = |message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    };
    let descriptors = control.drain().filter_map(rights).flatten().collect();
    Ok(Packet {
        bytes: bytes.get(..received.bytes).unwrap_or_default().to_vec(),
        descriptors,
        is_cut: received.flags.contains(ReturnFlags::CTRUNC),
    })
}
