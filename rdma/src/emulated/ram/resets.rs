//! Resets of the machine, as QEMU's monitor tells of them.

use crate::emulated::ram::message::Lines;
use crate::emulated::ram::serve::connect;
use rustix::net::SendFlags;
use serde::Deserialize;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Ends QEMU's greeting; it tells of nothing before.
const READY: &[u8] = b"{\"execute\":\"qmp_capabilities\"}\n";

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub(super) struct Resets {
    monitor: OwnedFd,
    lines: Lines,
}

/// The part of QEMU's messages that matters.
#[derive(Deserialize)]
struct Message {
    event: Option<String>,
}

impl Resets {
    /// Connects to the socket of QEMU's machine protocol.
    pub(super) fn watch(socket: &Path) -> io::Result<Resets> {
        let monitor = connect(socket)?;
        // It is the first thing sent, so there is room for it.
        rustix::net::send(&monitor, READY, SendFlags::NOSIGNAL)?;
        Ok(Resets { monitor, lines: Lines::default() })
    }

    /// Whether the machine was reset since the last call.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` if QEMU is gone.
    pub(super) fn happened(&mut self) -> io::Result<bool> {
        let mut room = [0; 4096];
        let mut happened = false;
        match rustix::io::read(&self.monitor, &mut room) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.lines.feed(room.get(..count).unwrap_or_default(), |line| {
                    let message = serde_json::from_slice::<Message>(line).ok();
                    happened |=
                        message.and_then(|message| message.event).is_some_and(|event| event == "RESET");
                });
                Ok(happened)
            }
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Resets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }
}
