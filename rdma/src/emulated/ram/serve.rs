//! The NIC's connection to the port: QEMU listens at a unix socket, and is connected to whenever it is there.

use crate::emulated::ram::device::Device;
use crate::emulated::ram::guest_memory::GuestMemory;
use crate::emulated::ram::message::Lines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Time between looks whether a machine was switched on.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes taken from the port at once.
const ROOM: usize = 16 * 1024;

/// Serves the machine whose port is at `socket` and whose RAM is the file `ram`, and the one after it, until `stop`
/// becomes readable. The machine is there as long as it keeps the connection.
///
/// # Errors
/// Only if the system cannot wait for events at all.
pub fn serve(device: &mut Device, ram: &Path, socket: &Path, stop: BorrowedFd<'_>) -> io::Result<()> {
    let mut complained = None;
    while !stopped(stop)? {
        let machine = connect(socket).and_then(|port| Ok((port, GuestMemory::open(ram)?)));
        match machine {
            Ok((port, memory)) => {
                tracing::info!(ram = %ram.display(), "a machine is there");
                complained = None;
                device.switch_on(memory);
                let ended = converse(device, port.as_fd(), stop);
                device.switch_off();
                if ended? {
                    return Ok(());
                }
                tracing::info!("the machine is gone: nothing of it is served any more");
            }
            Err(error) if complained == Some(error.kind()) => {}
            Err(error) => {
                tracing::info!(socket = %socket.display(), ram = %ram.display(), %error, "no machine yet");
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

fn connect(socket: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let port = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&port, &SocketAddrUnix::new(socket)?)?;
    Ok(port)
}

/// Answers what comes over the port until the machine is gone; `true` if it is time to stop.
fn converse(device: &mut Device, port: BorrowedFd<'_>, stop: BorrowedFd<'_>) -> io::Result<bool> {
    let mut lines = Lines::default();
    let mut answers: Vec<u8> = Vec::new();
    let mut room = vec![0; ROOM];
    loop {
        // A guest that does not take its answers is not asked for more questions.
        let interest = if answers.is_empty() { PollFlags::IN } else { PollFlags::OUT };
        let mut events =
            [PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::from_borrowed_fd(port, interest)];
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [stop_event, port_event] = &events;
        if !stop_event.revents().is_empty() {
            return Ok(true);
        }
        if port_event.revents().is_empty() {
            continue;
        }
        let moved = if answers.is_empty() {
            rustix::io::read(port, &mut room).inspect(|count| {
                let bytes = room.get(..*count).unwrap_or_default();
                lines.feed(bytes, |asked| answers.extend(device.line(asked).unwrap_or_default()));
            })
        } else {
            rustix::net::send(port, &answers, SendFlags::NOSIGNAL).inspect(|count| {
                answers.drain(..(*count).min(answers.len()));
            })
        };
        match moved {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => {
                tracing::debug!(%error, "the port failed");
                return Ok(false);
            }
        }
    }
}
