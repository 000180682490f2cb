//! The NIC's connections to QEMU, which listens at unix sockets, and is connected to whenever it is there.

use crate::emulated::ram::device::Device;
use crate::emulated::ram::guest_memory::GuestMemory;
use crate::emulated::ram::message::Lines;
use crate::emulated::ram::resets::Resets;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Time between looks whether a machine was switched on.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes taken from the port at once.
const ROOM: usize = 16 * 1024;

/// Where QEMU listens.
#[derive(Clone, Copy, Debug)]
pub struct Sockets<'a> {
    /// For who is behind the virtio-serial port.
    pub port: &'a Path,
    /// For its machine protocol (QMP), if resets are to be noticed as they happen.
    pub monitor: Option<&'a Path>,
}

/// Serves the machine whose QEMU listens there and whose RAM is the file `ram`, and the one after it, until `stop`
/// becomes readable. The machine is there as long as it keeps the connections.
///
/// # Errors
/// Only if the system cannot wait for events at all.
pub fn serve(device: &mut Device, ram: &Path, sockets: Sockets<'_>, stop: BorrowedFd<'_>) -> io::Result<()> {
    let mut complained = None;
    while !stopped(stop)? {
        match Machine::find(ram, sockets) {
            Ok((mut machine, memory)) => {
                tracing::info!(ram = %ram.display(), "a machine is there");
                complained = None;
                device.switch_on(memory);
                let ended = machine.converse(device, stop);
                device.switch_off();
                if ended? {
                    return Ok(());
                }
                tracing::info!("the machine is gone: nothing of it is served any more");
            }
            Err(error) if complained == Some(error.kind()) => {}
            Err(error) => {
                tracing::info!(?sockets, ram = %ram.display(), %error, "no machine yet");
                complained = Some(error.kind());
            }
        }
    }
    Ok(())
}

/// Waits a moment, or until it is time to stop.
fn stopped(stop: BorrowedFd<'_>) -> io::Result<bool> {
    match poll(&mut [PollFd::from_borrowed_fd(stop, PollFlags::IN)], Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn connect(socket: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let port = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&port, &SocketAddrUnix::new(socket)?)?;
    Ok(port)
}

/// A machine that is switched on.
struct Machine {
    port: OwnedFd,
    resets: Option<Resets>,
    lines: Lines,
    /// Not taken by the guest yet.
    answers: Vec<u8>,
}

impl Machine {
    fn find(ram: &Path, sockets: Sockets<'_>) -> io::Result<(Machine, GuestMemory)> {
        let port = connect(sockets.port)?;
        let resets = sockets.monitor.map(Resets::watch).transpose()?;
        let machine = Machine { port, resets, lines: Lines::default(), answers: Vec::new() };
        Ok((machine, GuestMemory::open(ram)?))
    }

    /// Answers what comes over the port until the machine is gone; `true` if it is time to stop.
    fn converse(&mut self, device: &mut Device, stop: BorrowedFd<'_>) -> io::Result<bool> {
        loop {
            // A guest that does not take its answers is not asked for more questions.
            let interest = if self.answers.is_empty() { PollFlags::IN } else { PollFlags::OUT };
            let mut events =
                vec![PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::new(&self.port, interest)];
            events.extend(self.resets.as_ref().map(|resets| PollFd::new(resets, PollFlags::IN)));
            match poll(&mut events, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let happened: Vec<bool> = events.iter().map(|event| !event.revents().is_empty()).collect();
            let happened = |index: usize| happened.get(index).copied().unwrap_or(false);
            if happened(0) {
                return Ok(true);
            }
            // What the guest said before a reset is not worth an answer after it.
            if happened(2) && !self.look_for_resets(device) {
                return Ok(false);
            }
            if happened(1) && !self.advance(device) {
                return Ok(false);
            }
        }
    }

    /// Whether the machine is still there.
    fn look_for_resets(&mut self, device: &mut Device) -> bool {
        let Some(resets) = &mut self.resets else { return true };
        match resets.happened() {
            Ok(false) => true,
            Ok(true) => {
                tracing::info!("the machine was reset: nothing registered before is served any more");
                device.reset();
                self.lines.clear();
                true
            }
            Err(error) => {
                tracing::debug!(%error, "QEMU's monitor failed");
                false
            }
        }
    }

    /// Takes what the guest says, or gives it its answers; `false` if the machine is gone.
    fn advance(&mut self, device: &mut Device) -> bool {
        let moved = if self.answers.is_empty() {
            let mut room = [0; ROOM];
            rustix::io::read(&self.port, &mut room).inspect(|count| {
                let bytes = room.get(..*count).unwrap_or_default();
                self.lines.feed(bytes, |asked| self.answers.extend(device.line(asked).unwrap_or_default()));
            })
        } else {
            rustix::net::send(&self.port, &self.answers, SendFlags::NOSIGNAL).inspect(|count| {
                self.answers.drain(..(*count).min(self.answers.len()));
            })
        };
        match moved {
            Ok(count) => count > 0,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => true,
            Err(error) => {
                tracing::debug!(%error, "the port failed");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
