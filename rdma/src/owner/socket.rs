//! The owner's socket: where it is, and the messages that go over it.
//!
//! A unix socket of type `SOCK_SEQPACKET`: one JSON message is one packet, and a file descriptor travels with the
//! message that speaks of it.

use crate::owner::{Admission, Endpoint, OwnerError, RegionId, RegionRequest};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Most bytes of a message; the longest is the list of all regions.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;
/// Descriptors the kernel may hand over with one message; more than any honest message has.
const MAX_DESCRIPTORS: usize = 4;

/// What an agent asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// With the memory's descriptor.
    Register(RegionRequest),
    Retire(RegionId),
    Admit {
        monitor: String,
        slot: u32,
        endpoints: Vec<Endpoint>,
    },
    Dismiss {
        monitor: String,
    },
    Regions,
    Monitors,
}

/// What the owner answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Registered(RegionId),
    Admitted(Admission),
    Regions(Vec<(RegionId, RegionRequest)>),
    Monitors(Vec<String>),
    Done,
    Failed(OwnerError),
}

/// A packet as it was received.
pub(crate) enum Packet<T> {
    /// The peer is gone.
    End,
    /// Not a message.
    Malformed,
    /// A message and the descriptors that came with it.
    Message(T, Vec<OwnedFd>),
}

pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message too long to be sent"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors;
    if let Some(descriptor) = descriptor {
        descriptors = [descriptor];
        let pushed = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(pushed, "the space is for one descriptor");
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Packet<T>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(buffer)],
        &mut control,
        flags | RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received.bytes == 0 {
        return Ok(Packet::End);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Packet::Malformed);
    }
    let message = buffer.get(..received.bytes).and_then(|bytes| serde_json::from_slice(bytes).ok());
    Ok(message.map_or(Packet::Malformed, |message| Packet::Message(message, descriptors)))
}

pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The owner's listening socket. Its file, which only the owner's user may open, goes with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the socket file, to remove no other.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`. A socket file left behind by an owner that died is replaced.
    ///
    /// # Errors
    /// `AddrInUse` if an owner answers there, `AlreadyExists` if the file is no socket, otherwise what the system
    /// says.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        // Two owners that start at once must not take each other's fresh socket for a stale one.
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let lock = std::fs::File::open(folder)?;
        lock.lock()?;
        if let Ok(metadata) = std::fs::symlink_metadata(path) {
            if !metadata.file_type().is_socket() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "the file is no socket: left alone",
                ));
            }
            if connect(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another owner answers there"));
            }
            std::fs::remove_file(path)?;
        }
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        let metadata = std::fs::symlink_metadata(path)?;
        let listener = Listener { socket, path: path.into(), file: (metadata.dev(), metadata.ino()) };
        // Nobody can connect before the socket listens, and then the file is the owner's alone already.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        rustix::net::listen(&listener.socket, 8)?;
        Ok(listener)
    }

    pub(crate) fn accept(&self) -> io::Result<OwnedFd> {
        Ok(rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.file);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket file stays behind");
        }
    }
}
