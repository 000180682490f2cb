//! Which process owns the registered memory: no command may reach it.

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::path::Path;

/// Process id of whoever listens at `socket`, as this process's pid namespace numbers it.
///
/// # Errors
/// What the system says; `NotFound` if the listener lies outside this pid namespace.
pub fn pid(socket: &Path) -> io::Result<u32> {
    let end = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&end, &SocketAddrUnix::new(socket)?)?;
    let listener = socket_peercred(&end)?.pid.as_raw_nonzero().get();
    u32::try_from(listener).map_err(|_| io::ErrorKind::NotFound.into())
}
