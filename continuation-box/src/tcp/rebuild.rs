//! From plain data to a connected socket that nobody has heard of yet.

use super::options::{
    Agreed, BufferLock, ON, QueueSequence, RECEIVE_QUEUE, RepairOptions, RepairQueue, RepairWindow,
    SEGMENT_SIZE, SELECTIVE, SEND_QUEUE, TIMESTAMPS, Timestamp, WINDOW_SCALE, Windows,
};
use super::segment::Entrance;
use super::state::{StateError, TcpState};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, getsockopt,
    send, setsockopt, socket, sockopt,
};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Why a connection was not rebuilt. Nothing has changed then: nothing was sent, and no socket is left.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The state contradicts itself; a retry cannot help.
    #[error("the state of the connection cannot be right: {0}; nothing was done, and a retry cannot help")]
    State(#[from] StateError),
    /// The process lacks a capability.
    #[error(
        "rebuilding connections needs CAP_NET_ADMIN and CAP_NET_RAW; nothing was done; start this process with both"
    )]
    NotPermitted,
    /// The service's address is not one of this machine.
    #[error("{0} is no address of this machine; nothing was done; make it one, silently, and try again")]
    AddressNotLocal(SocketAddr),
    /// This machine has that connection already.
    #[error(
        "{local} is connected to {remote} on this machine already; nothing was done; a retry helps when that connection is gone"
    )]
    Taken {
        /// The service's end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
    },
    /// No route leads to the peer.
    #[error("no route leads to {0}; nothing was done; add one and try again")]
    NoRoute(SocketAddr),
    /// The kernel took something and has something else.
    #[error(
        "the kernel has sequence number {has} of what is {what}, not {wanted}; the socket was dropped, and nothing was sent"
    )]
    Sequence {
        /// Of which queue.
        what: &'static str,
        /// What it should be.
        wanted: u32,
        /// What it is.
        has: u32,
    },
    /// A call failed that does not fail on a healthy machine.
    #[error(
        "{call} failed: {source}; the socket was dropped, and nothing was sent; a retry helps if memory was short"
    )]
    Call {
        /// Which one.
        call: &'static str,
        /// Why.
        source: Errno,
    },
}

/// The kernel takes received bytes in pieces of what it can allocate at once.
const PIECE: usize = 16 << 10;

/// A connection that was rebuilt. It sends nothing, and dropping it sends nothing either: the peer knows of neither.
///
/// What was sent and not acknowledged is put into it by [`Rebuilt::resume`] only, because the kernel's timers run
/// from then on.
#[derive(Debug)]
pub struct Rebuilt {
    pub(super) socket: OwnedFd,
    pub(super) state: TcpState,
    pub(super) flight: Flight,
    pub(super) entrance: Option<Arc<Entrance>>,
}

/// Sequence numbers that tell where in its streams a connection was rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequences {
    /// Of the first received byte that nobody has read.
    pub received: u32,
    /// Of the oldest byte that the peer has not acknowledged.
    pub sent: u32,
}

impl Rebuilt {
    /// Where in its streams it is.
    #[must_use]
    pub fn sequences(&self) -> Sequences {
        let sent = first_sequence(&self.state, self.flight).wrapping_add(self.flight.padding);
        let unread = self.state.receive.unread.len() as u32;
        Sequences { received: received_next(&self.state).wrapping_sub(unread), sent }
    }

    /// What it has received and nobody has read. Reading it from the socket, even with `MSG_PEEK`, would have the kernel tell
    /// the peer of its window, silent or not (`tcp_cleanup_rbuf`).
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.state.receive.unread
    }
}

/// Rebuilds connections, on any number of threads. What they all need on this machine is made once.
#[derive(Debug, Default)]
pub struct Rebuilder {
    /// For IPv4 and for IPv6.
    entrances: Mutex<[Option<Arc<Entrance>>; 2]>,
}

/// How what was sent and not acknowledged is put back, such that the kernel speaks at once.
///
/// A kernel that is told in repair mode what it has sent knows no round-trip time, believes that all of that is under
/// way, and waits, for seconds if the peer has received none or a part of it. So the last of it, three bytes or the FIN, is
/// not told but sent, as a tail loss probe would send it. The peer's answers say what it lacks, and give a true
/// round-trip time.
///
/// Nothing is sent while as much is under way as the congestion window lets, which is ten segments in a new socket.
/// Hence the padding: as many bytes before the oldest unacknowledged one as follow, told as sent, and acknowledged
/// by a segment of our own making that says what the peer has said before. The window grows by that much.
/// What is in the padding does not matter: the peer has those sequence numbers behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// Bytes before the oldest unacknowledged one.
    pub padding: u32,
    /// How many bytes are told as sent.
    pub told: usize,
    /// How many bytes are sent again, each in a segment of its own.
    pub sent_again: usize,
    /// Whether our FIN is sent again.
    pub fin: bool,
}

impl Flight {
    /// After three answers the kernel takes for lost what they lack, and need not wait for reordering.
    const AGAIN: usize = 3;
    /// Segments that a new socket may have under way, less some for what is sent again.
    const SMALL: usize = 6;

    pub(super) fn of(state: &TcpState) -> Flight {
        let held = state.send.unacknowledged.len();
        let scale = state.scales.map_or(0, |scales| scales.send);
        // Beyond the window, as the segment of our own making will tell it, nothing would be sent. There a FIN that
        // was sent can only be sent.
        let window = state.send.window >> scale << scale;
        let speaks = state.send.next.wrapping_sub(state.send.una) <= window;
        let sent_again = if state.send.closed || !speaks { 0 } else { held.min(Self::AGAIN) };
        let size = usize::from(state.segment_size);
        let padding =
            if (speaks || state.send.closed) && held > Self::SMALL * size { held + 8 * size } else { 0 };
        Flight { padding: padding as u32, told: held - sent_again, sent_again, fin: state.send.closed }
    }
}

/// Makes a connected socket of `state`, in repair mode.
///
/// The local address must be one of this machine, and the network should not know so yet: see
/// [`SilentAddresses`](super::SilentAddresses). A listener on the same port does not matter.
///
/// # Errors
/// [`RebuildError`]; nothing is left behind then, and nothing was sent.
pub fn rebuild(state: TcpState) -> Result<Rebuilt, RebuildError> {
    Rebuilder::default().rebuild(state)
}

/// Tries on a socket that is thrown away whether this process may rebuild connections.
///
/// # Errors
/// [`RebuildError`].
pub fn can_rebuild() -> Result<(), RebuildError> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)
        .map_err(|source| failed("making a socket", source))?;
    setsockopt(&socket, sockopt::TcpRepair, &ON).map_err(|source| failed("entering repair mode", source))
}

impl Rebuilder {
    /// As [`rebuild`].
    ///
    /// # Errors
    /// [`RebuildError`].
    pub fn rebuild(&self, state: TcpState) -> Result<Rebuilt, RebuildError> {
        state.check()?;
        let flight = Flight::of(&state);
        let is_needed = flight.padding > 0 || state.receive.closed;
        let entrance = is_needed.then(|| self.entrance(state.local)).transpose()?;
        let socket = connected(&state, flight)?;
        Ok(Rebuilt { socket, state, flight, entrance })
    }

    fn entrance(&self, local: SocketAddr) -> Result<Arc<Entrance>, RebuildError> {
        let [ipv4, ipv6] = &mut *self.entrances.lock().unwrap_or_else(PoisonError::into_inner);
        let place = if local.is_ipv4() { ipv4 } else { ipv6 };
        if let Some(entrance) = place {
            return Ok(Arc::clone(entrance));
        }
        let opened = Entrance::open(local).map_err(|source| failed("opening a raw socket", source))?;
        Ok(Arc::clone(place.insert(Arc::new(opened))))
    }
}

/// The silent socket.
fn connected(state: &TcpState, flight: Flight) -> Result<OwnedFd, RebuildError> {
    let permitted = |call| move |source| failed(call, source);
    let family = if state.local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)
        .map_err(permitted("making a socket"))?;
    setsockopt(&socket, sockopt::TcpRepair, &ON).map_err(permitted("entering repair mode"))?;
    make_room(&socket, state, flight)?;

    let first = first_sequence(state, flight);
    let received_next = received_next(state);
    let copied = received_next.wrapping_sub(state.receive.unread.len() as u32);
    set_sequence(&socket, SEND_QUEUE, first)?;
    set_sequence(&socket, RECEIVE_QUEUE, copied)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(state.local)).map_err(|source| match source {
        Errno::EADDRNOTAVAIL => RebuildError::AddressNotLocal(state.local),
        source => failed("binding", source),
    })?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(state.remote)).map_err(|source| match source {
        Errno::EADDRNOTAVAIL => RebuildError::Taken { local: state.local, remote: state.remote },
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => RebuildError::NoRoute(state.remote),
        source => failed("connecting", source),
    })?;
    agree(&socket, state)?;

    setsockopt(&socket, RepairQueue, &RECEIVE_QUEUE).map_err(permitted("choosing the receive queue"))?;
    write_all(&socket, &state.receive.unread).map_err(permitted("filling the receive queue"))?;
    expect_sequence(&socket, RECEIVE_QUEUE, "received", received_next)?;
    expect_sequence(&socket, SEND_QUEUE, "to be sent", first)?;
    set_windows(&socket, state, flight)?;
    Ok(socket)
}

/// To hand the socket on before it speaks. Until then nothing but [`Rebuilt::resume`] may touch it.
impl AsFd for Rebuilt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The sequence number that the send queue begins with.
pub(super) fn first_sequence(state: &TcpState, flight: Flight) -> u32 {
    // A FIN that was acknowledged is sent once more all the same: that is how the kernel learns of it.
    let acknowledged_fin = u32::from(state.send.closed && state.send.una == state.send.next);
    state.send.una.wrapping_sub(acknowledged_fin).wrapping_sub(flight.padding)
}

/// The next sequence number of the peer, before its FIN, which the kernel is told of last.
pub(super) fn received_next(state: &TcpState) -> u32 {
    state.receive.next.wrapping_sub(u32::from(state.receive.closed))
}

/// Room for everything that is put in, and for what the peer was promised. Not much more of that: as long as nobody reads, the
/// kernel promises whatever there is room for, and whoever bounds the room after that has it break its promise. It throws
/// away what comes then, acknowledgements too, and may wait for these for ever.
fn make_room(socket: &OwnedFd, state: &TcpState, flight: Flight) -> Result<(), RebuildError> {
    // The kernel doubles what it is asked for, for what it adds to the bytes itself. Where memory is short it packs what it
    // received, and then that is a sixth.
    const SPARE: usize = 64 << 10;
    const LEAST: usize = 4 << 10;
    // Twice that is the most it can count.
    const MOST: usize = 1 << 29;
    let send = state.send.unacknowledged.len() + state.send.unsent.len() + flight.padding as usize + SPARE;
    let receive = (state.receive.unread.len() + state.receive.window as usize) * 5 / 8 + LEAST;
    setsockopt(socket, sockopt::SndBufForce, &send.min(MOST))
        .map_err(|source| failed("making room to send", source))?;
    setsockopt(socket, sockopt::RcvBufForce, &receive.min(MOST))
        .map_err(|source| failed("making room to receive", source))?;
    setsockopt(socket, BufferLock, &0).map_err(|source| failed("unlocking the buffers' sizes", source))?;
    // Only what is known before connecting decides how large segments are.
    let size = u32::from(state.segment_size.min(32767));
    setsockopt(socket, sockopt::TcpMaxSeg, &size).map_err(|source| failed("bounding segments", source))
}

/// What the SYNs agreed on.
fn agree(socket: &OwnedFd, state: &TcpState) -> Result<(), RebuildError> {
    let scales = state.scales.map(|scales| u32::from(scales.send) | u32::from(scales.receive) << 16);
    let agreed = [
        Some(Agreed { kind: SEGMENT_SIZE, value: state.segment_size.into() }),
        scales.map(|value| Agreed { kind: WINDOW_SCALE, value }),
        state.selective.then_some(Agreed { kind: SELECTIVE, value: 0 }),
        state.timestamps.map(|_| Agreed { kind: TIMESTAMPS, value: 0 }),
    ];
    for option in agreed.into_iter().flatten() {
        setsockopt(socket, RepairOptions, &option)
            .map_err(|source| failed("setting the connection's options", source))?;
    }
    if let Some(value) = state.timestamps.and_then(|timestamps| timestamps.value()) {
        setsockopt(socket, Timestamp, &value).map_err(|source| failed("setting the timestamp", source))?;
    }
    Ok(())
}

fn set_windows(socket: &OwnedFd, state: &TcpState, flight: Flight) -> Result<(), RebuildError> {
    // Windows count from somewhere: their right edges must not move.
    let added = state.send.una.wrapping_sub(first_sequence(state, flight));
    let next = received_next(state);
    let at_fin = u32::from(state.receive.closed && state.receive.window_at == state.receive.next);
    let windows = Windows {
        // The FIN that the kernel will be told of is no news of the window, which counts from elsewhere then.
        send_window_at: if state.receive.closed { next } else { state.send.window_at },
        send_window: state.send.window + added,
        max_send_window: state.send.max_window + added,
        receive_window: state.receive.window + at_fin,
        receive_window_at: state.receive.window_at.wrapping_sub(at_fin),
    };
    setsockopt(socket, RepairWindow, &windows).map_err(|source| failed("setting the windows", source))
}

fn set_sequence(socket: &OwnedFd, queue: u32, sequence: u32) -> Result<(), RebuildError> {
    setsockopt(socket, RepairQueue, &queue).map_err(|source| failed("choosing a queue", source))?;
    setsockopt(socket, QueueSequence, &sequence).map_err(|source| failed("setting a sequence number", source))
}

fn expect_sequence(
    socket: &OwnedFd,
    queue: u32,
    what: &'static str,
    wanted: u32,
) -> Result<(), RebuildError> {
    setsockopt(socket, RepairQueue, &queue).map_err(|source| failed("choosing a queue", source))?;
    let has =
        getsockopt(socket, QueueSequence).map_err(|source| failed("reading a sequence number", source))?;
    if has == wanted { Ok(()) } else { Err(RebuildError::Sequence { what, wanted, has }) }
}

/// Writes everything or fails; in repair mode the kernel waits for nothing.
pub(super) fn write_all(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    for piece in bytes.chunks(PIECE) {
        let mut rest = piece;
        while !rest.is_empty() {
            let written = send(socket.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
            rest = &rest[written..];
        }
    }
    Ok(())
}

fn failed(call: &'static str, source: Errno) -> RebuildError {
    match source {
        Errno::EPERM => RebuildError::NotPermitted,
        source => RebuildError::Call { call, source },
    }
}
