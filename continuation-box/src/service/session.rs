//! A session: a connection whose application says where it can go on.

use super::link::{Arrived, Link, Seat};
use crate::snapshot::{ExportError, SessionBox};
use crate::tcp::throw_unread_away;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{SendFlags, Shutdown, send, shutdown};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the kernel may put into a send queue beyond the size that it has.
const OVERSHOOT: usize = 64 << 10;
/// Bytes of a ring that are written to the connection at once.
const PIECE: usize = 16 << 10;

/// Output cannot be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// It is not held at all.
    #[error(
        "nothing that this service writes is held, so nothing can be held back: let `output` be mirrored in the agent's configuration"
    )]
    Regenerated,
    /// Half of the ring is full of it.
    #[error(
        "{0} bytes are held back, which is all there is room for: export more often, or give the service a larger `output_ring`"
    )]
    Full(u64),
}

/// A connection of a service. What is read and written goes through it alone: not through another handle of the socket, which
/// would not be counted.
///
/// From time to time, at points of its own choice, the application [exports](Session::export) what it needs to go on from there. When
/// it ends without a goodbye, or its machine does, the session goes on with another server at the newest such point: that one
/// [is given](Session::recovered) the snapshot, reads again what was read since, and writes again what was written since. All
/// of it must come out as before, because what left is not sent twice, but passed over; a stretch of output that would not is to
/// be [held back](Session::hold_back) until the next export.
///
/// Dropped, or [ended](Session::end), the session is over for the application; the client still gets what was written.
#[derive(Debug)]
pub struct Session {
    socket: Arc<TcpStream>,
    seat: Option<(Arc<Link>, Seat)>,
    recovered: Option<Recovered>,
    /// Written bytes from here on are in the ring, and not in the connection.
    unsent: u64,
    is_held_back: bool,
}

#[derive(Debug)]
struct Recovered {
    snapshot: Vec<u8>,
    replay: Vec<u8>,
    replayed: usize,
    back: u64,
}

impl Session {
    pub(super) fn new(link: Option<&Arc<Link>>, stream: TcpStream) -> io::Result<Session> {
        let socket = Arc::new(stream);
        let seat = link.and_then(|link| Some((Arc::clone(link), link.seat(&socket)?)));
        let session = Session { socket, seat, recovered: None, unsent: 0, is_held_back: false };
        session.bound_send_queue()?;
        Ok(session)
    }

    /// Goes on with a session; `None` if it cannot be: then it has ended.
    pub(super) fn go_on(link: &Arc<Link>, arrived: Arrived) -> io::Result<Option<Session>> {
        let Arrived { recovered, socket, replay, is_kept, boxes } = arrived;
        let (index, cookie) = (recovered.keep.index, recovered.keep.cookie);
        let newest = boxes.newest(index);
        let taken = boxes.take_over(index, cookie, &recovered.continued());
        let (Some(newest), Some(session)) = (newest, taken) else {
            tracing::error!(cookie, "a session was lost: its box was changed meanwhile");
            let _ = shutdown(&*socket, Shutdown::Both);
            link.give_back(recovered.keep);
            return Ok(None);
        };
        let seat = Seat { session, is_kept, cookie };
        let snapshot = newest.bytes;
        let mut session = Session {
            socket,
            seat: Some((Arc::clone(link), seat)),
            recovered: Some(Recovered { snapshot, replay, replayed: 0, back: recovered.back }),
            unsent: recovered.unsent,
            is_held_back: false,
        };
        // Modes belong to the connection, and are as the last server had them.
        session.socket.set_nonblocking(false)?;
        session.bound_send_queue()?;
        // An error is heard of again at the next read or write.
        if let Ok(unsent) = session.send_held(SendFlags::DONTWAIT) {
            session.unsent = unsent;
        }
        Ok(Some(session))
    }

    /// So that what is not acknowledged always is in the ring: see [`SessionBox::will_write`].
    fn bound_send_queue(&self) -> io::Result<()> {
        let ring = self.seat.as_ref().map_or(0, |(_, seat)| seat.session.ring_bytes()) as usize;
        if ring > 0 {
            // The kernel doubles it.
            setsockopt(&self.socket, sockopt::SndBuf, &((ring / 2).saturating_sub(OVERSHOOT) / 2))?;
        }
        Ok(())
    }

    fn session_box(&mut self) -> Option<&mut SessionBox> {
        self.seat.as_mut().map(|(_, seat)| &mut seat.session)
    }

    /// The newest snapshot of this session, if it was begun by another server; empty if that exported none, which is the beginning. It is to be taken in
    /// before anything is read or written.
    #[must_use]
    pub fn recovered(&self) -> Option<&[u8]> {
        self.recovered.as_ref().map(|recovered| recovered.snapshot.as_slice())
    }

    /// How many bytes before its snapshot a recovered session begins to write. Never any if output is mirrored.
    #[must_use]
    pub fn output_to_repeat(&self) -> u64 {
        self.recovered.as_ref().map_or(0, |recovered| recovered.back)
    }

    /// Whether the connection outlives this server: the agent holds it.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.seat.as_ref().is_some_and(|(_, seat)| seat.is_kept.load(Ordering::Relaxed))
    }

    /// Whether there are bytes to be read that the socket does not tell of.
    #[must_use]
    pub fn has_replay(&self) -> bool {
        self.recovered.as_ref().is_some_and(|recovered| recovered.replayed < recovered.replay.len())
    }

    /// Whether there are bytes that were written and for which the connection had no room: [`Session::flush`](Write::flush) when
    /// it has. What is held back does not count.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.is_held_back && self.unsent < self.written()
    }

    fn written(&self) -> u64 {
        self.seat.as_ref().map_or(self.unsent, |(_, seat)| seat.session.written())
    }

    /// Makes this the point at which the session goes on. Without anything held back this asks the system for nothing, and waits
    /// for nothing. What was held back is written now, as much as fits, and the rest with what is written or flushed next.
    ///
    /// # Errors
    /// [`ExportError`]: then the snapshot before stands, and what is held back stays so.
    pub fn export(&mut self, snapshot: &[u8]) -> Result<(), ExportError> {
        let Some(session) = self.session_box() else { return Ok(()) };
        session.export(snapshot)?;
        if self.is_held_back {
            self.is_held_back = false;
            // An error is heard of again at the next write.
            if let Ok(unsent) = self.send_held(SendFlags::DONTWAIT) {
                self.unsent = unsent;
            }
        }
        Ok(())
    }

    /// From here on what is written may come out otherwise if it is written again: it is kept until the next export, and no client
    /// sees any of it before. If the server ends first it was never written. The session should be exported before, too, or what it
    /// decides here must not depend on what it has read since.
    ///
    /// # Errors
    /// [`HoldError::Regenerated`]. Without an agent there is nothing to be held back for, and nothing is.
    pub fn hold_back(&mut self) -> Result<(), HoldError> {
        match self.session_box() {
            Some(session) if session.ring_bytes() == 0 => Err(HoldError::Regenerated),
            Some(_) => {
                self.is_held_back = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Ends the session: what was written is sent, also what is held back, and behind it the end. Dropping it does the
    /// same, except that it waits for nothing and tells of no error: what the connection has no room for is left to the agent to
    /// write, and lost if there is none.
    ///
    /// The FIN leaves at once, whatever the agent does. The agent holds connection and box until the client has everything and
    /// has closed, too, or for `net.ipv4.tcp_fin_timeout` after it has everything: if this server ends now, or its machine does,
    /// the client gets the rest all the same. What it has sent and nobody read, and what it still sends, is thrown away: closing
    /// a connection with unread bytes in it would break it off, and lose what is under way to the client.
    ///
    /// # Errors
    /// If not all that was written could be sent.
    pub fn end(mut self) -> io::Result<()> {
        self.is_held_back = false;
        self.flush()
    }

    /// Whether reading and writing fail with `WouldBlock` rather than wait.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(is_nonblocking)
    }

    /// Whether small pieces are sent at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nodelay(&self, is_nodelay: bool) -> io::Result<()> {
        self.socket.set_nodelay(is_nodelay)
    }

    /// The client's address.
    ///
    /// # Errors
    /// What the system says.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Writes bytes of the ring to the connection, and says up to where that has come. It stops without an error where there is no
    /// room, unless `flags` say to wait.
    fn send_held(&self, flags: SendFlags) -> io::Result<u64> {
        let Some((_, seat)) = &self.seat else { return Ok(self.unsent) };
        let (mut unsent, written) = (self.unsent, seat.session.written());
        let mut piece = vec![0; if unsent < written { PIECE } else { 0 }];
        while unsent < written {
            let length = seat.session.copy_written(unsent..written, &mut piece);
            let bytes = piece.get(..length).unwrap_or_default();
            match send(&*self.socket, bytes, flags | SendFlags::NOSIGNAL) {
                Ok(count) => unsent += count as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(unsent)
    }

    /// Writes all bytes of the ring that are to be written, as the connection's mode says.
    fn catch_up(&mut self) -> io::Result<()> {
        self.unsent = self.send_held(SendFlags::empty())?;
        if self.has_unsent() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(Recovered { replay, replayed, .. }) = &mut self.recovered
            && *replayed < replay.len()
        {
            let rest = replay.get(*replayed..).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            *replayed += count;
            if *replayed == replay.len() {
                *replay = Vec::new();
                *replayed = 0;
            }
            self.session_box().into_iter().for_each(|session| session.has_read(count));
            return Ok(count);
        }
        // The client may be waiting for it before it says any more.
        if self.has_unsent() {
            match self.catch_up() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        let count = (&*self.socket).read(buffer)?;
        self.session_box().into_iter().for_each(|session| session.has_read(count));
        Ok(count)
    }
}

impl Write for Session {
    /// Writes some of the bytes, and at most half of the ring at once. Those that were written by an earlier server are passed.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.has_unsent() {
            self.catch_up()?;
        }
        let (is_held_back, unsent) = (self.is_held_back, self.unsent);
        let Some((_, Seat { session, .. })) = &mut self.seat else { return (&*self.socket).write(bytes) };
        if session.ahead() > 0 {
            let count = usize::try_from(session.ahead()).unwrap_or(usize::MAX).min(bytes.len());
            session.has_passed(count);
            return Ok(count);
        }
        if is_held_back {
            let held = session.written() - unsent;
            let room = u64::from(session.ring_bytes() / 2).saturating_sub(held);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            let fitting = bytes.get(..room).unwrap_or(bytes);
            if fitting.is_empty() && !bytes.is_empty() {
                return Err(io::Error::new(io::ErrorKind::StorageFull, HoldError::Full(held)));
            }
            let count = session.will_write(fitting);
            session.has_written(count);
            return Ok(count);
        }
        let count = session.will_write(bytes);
        let written = (&*self.socket).write(bytes.get(..count).unwrap_or_default());
        session.has_written(*written.as_ref().unwrap_or(&0));
        self.unsent = session.written();
        written
    }

    /// Writes what there was no room for. What is held back stays so.
    fn flush(&mut self) -> io::Result<()> {
        if self.has_unsent() { self.catch_up() } else { Ok(()) }
    }
}

impl AsFd for Session {
    /// To wait at, and to set options of; not to read or write.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.is_held_back = false;
        if self.has_unsent()
            && let Ok(unsent) = self.send_held(SendFlags::DONTWAIT)
        {
            self.unsent = unsent;
        }
        let has_rest = self.has_unsent();
        let mut seat = self.seat.take();
        if let Some((_, seat)) = &mut seat {
            // From here on no server has it any more: if this one is killed now the agent does the rest.
            seat.session.end();
        }
        throw_unread_away(self.socket.as_fd());
        if !has_rest {
            // It may have been closed by the client.
            let _ = shutdown(&*self.socket, Shutdown::Write);
        }
        if let Some((link, Seat { session, cookie, .. })) = seat
            && link.end(cookie)
        {
            // The agent writes the rest, if there is one, and frees the box. Nobody else would.
            session.leave();
        }
    }
}
