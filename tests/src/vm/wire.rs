//! The network between two guests.

use std::{
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Mutex, PoisonError},
};

use super::VmError;

/// A cable between two guests, private to them. The first guest that takes it is 10.77.0.1, the second 10.77.0.2.
///
/// It is a connected pair of sockets, so neither guest must be started first, and nothing of it can be left behind.
#[derive(Debug)]
pub struct Wire {
    free: Mutex<Vec<End>>,
}

/// One end, held by a guest.
#[derive(Debug)]
pub(super) struct End {
    pub(super) socket: OwnedFd,
    pub(super) address: Ipv4Addr,
    pub(super) hardware_address: String,
}

impl Wire {
    /// A wire with both ends free.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn new() -> Result<Wire, VmError> {
        let (first, second) = UnixStream::pair().map_err(VmError::host("make a wire"))?;
        let end = |socket: UnixStream, number: u8| End {
            socket: socket.into(),
            address: Ipv4Addr::new(10, 77, 0, number),
            hardware_address: format!("52:54:00:77:00:{number:02x}"),
        };
        Ok(Wire { free: Mutex::new(vec![end(second, 2), end(first, 1)]) })
    }

    pub(super) fn take_end(&self) -> Result<End, VmError> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or(VmError::WireTaken)
    }
}
