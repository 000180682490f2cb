//! The network between two guests.

use std::{
    net::Ipv4Addr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Mutex, PoisonError},
};

use super::{VmError, switch::switch};

/// A guest's hardware address is this, and the number of its end.
pub(super) const HARDWARE_PREFIX: [u8; 5] = [0x52, 0x54, 0x00, 0x77, 0x00];

/// A network of guests, private to them. The first guest that takes an end is 10.77.0.1, the second 10.77.0.2.
///
/// It consists of connected pairs of sockets, so no guest must be started first, and nothing of it can be left behind.
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
    /// A cable: two ends.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn new() -> Result<Wire, VmError> {
        let (first, second) = UnixStream::pair().map_err(VmError::host("make a wire"))?;
        Ok(Wire::with([first, second]))
    }

    /// A switch with so many ends. Every frame passes through this process.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn switch(ends: u8) -> Result<Wire, VmError> {
        switch(ends).map(Wire::with)
    }

    fn with(sockets: impl IntoIterator<Item = UnixStream>) -> Wire {
        let end = |(socket, number): (UnixStream, u8)| {
            let [a, b, c, d, e] = HARDWARE_PREFIX;
            End {
                socket: socket.into(),
                address: Ipv4Addr::new(10, 77, 0, number),
                hardware_address: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{number:02x}"),
            }
        };
        let mut free: Vec<End> = sockets.into_iter().zip(1..).map(end).collect();
        free.reverse();
        Wire { free: Mutex::new(free) }
    }

    pub(super) fn take_end(&self) -> Result<End, VmError> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().ok_or(VmError::WireTaken)
    }
}
