//! The moment at which a rebuilt connection speaks.

use super::options::{
    CLOSE_WAIT, OFF_SILENTLY, OFF_WITH_PROBE, ON, QueueSequence, RepairQueue, SEND_QUEUE, State, TcpInfo,
};
use super::rebuild::{Rebuilt, first_sequence, received_next, write_all};
use super::segment::Segment;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, send, setsockopt, shutdown, sockopt};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// A connection that lives again.
#[derive(Debug)]
pub struct Resumed {
    /// The connection, in blocking mode.
    pub stream: TcpStream,
    /// How many of the unsent bytes it has taken. The rest, from there on, is for the caller to write before anything
    /// else.
    pub written: usize,
}

/// Why a rebuilt connection did not come to life. Its socket was dropped silently: the peer has seen lost packets, and
/// maybe some that said nothing new. It waits, and the connection can be rebuilt from the same state.
#[derive(Debug, Error)]
pub enum ResumeError {
    /// The kernel took something and has something else.
    #[error(
        "the kernel counts what was sent up to {has}, not {wanted}; the connection is silent, and a retry cannot help"
    )]
    Sequence {
        /// What it should be.
        wanted: u32,
        /// What it is.
        has: u32,
    },
    /// Segments that this machine sends itself do not arrive.
    #[error(
        "the end of the peer's bytes, sent over the loopback device, did not arrive; the connection is silent; let \
         the firewall pass packets on lo and rebuild it"
    )]
    EndLost,
    /// A call failed that does not fail on a healthy machine.
    #[error("{call} failed: {source}; the connection is silent, and rebuilding it helps if memory was short")]
    Call {
        /// Which one.
        call: &'static str,
        /// Why.
        source: Errno,
    },
}

/// A segment that this machine sends itself arrives within microseconds, unless a busy kernel puts that off.
const ARRIVAL: Duration = Duration::from_millis(100);

/// What padding is made of.
static NOTHING: [u8; 16 << 10] = [0; 16 << 10];

impl Rebuilt {
    /// Ends repair mode, makes the connection speak at once, and writes the bytes that were never sent, as many as fit.
    ///
    /// # Errors
    /// If the kernel refuses something. The connection is silent again then.
    pub fn resume(self) -> Result<Resumed, ResumeError> {
        match self.speak() {
            Ok(written) => Ok(Resumed { stream: TcpStream::from(self.socket), written }),
            Err(error) => {
                // A socket that is closed in repair mode says no farewell. If even this is refused the peer gets a
                // reset, and nothing can be done about it.
                let _ = setsockopt(&self.socket, sockopt::TcpRepair, &ON);
                Err(error)
            }
        }
    }

    fn speak(&self) -> Result<usize, ResumeError> {
        let send_side = &self.state.send;
        let flight = self.flight;
        let (told, again) = send_side.unacknowledged.split_at(flight.told);
        setsockopt(&self.socket, RepairQueue, &SEND_QUEUE)
            .map_err(|source| failed("choosing a queue", source))?;
        let fill = |bytes: &[u8]| {
            write_all(&self.socket, bytes).map_err(|source| failed("filling the send queue", source))
        };
        let mut padding = flight.padding as usize;
        while padding > 0 {
            let piece = padding.min(NOTHING.len());
            fill(&NOTHING[..piece])?;
            padding -= piece;
        }
        fill(told)?;
        let unsent_from = send_side.next.wrapping_sub(again.len() as u32).wrapping_sub(u32::from(flight.fin));
        let has = getsockopt(&self.socket, QueueSequence)
            .map_err(|source| failed("reading a sequence number", source))?;
        if has != unsent_from {
            return Err(ResumeError::Sequence { wanted: unsent_from, has });
        }

        // Whatever is sent again gets an answer. Without that a probe must ask for one, and not otherwise: its answer
        // could acknowledge what is not sent again yet.
        let speaks = flight.fin || !again.is_empty();
        let off = if speaks { OFF_SILENTLY } else { OFF_WITH_PROBE };
        setsockopt(&self.socket, sockopt::TcpRepair, &off)
            .map_err(|source| failed("leaving repair mode", source))?;
        // Before anything else is said: what acknowledges less than the peer has sent it heeds only in part.
        if self.state.receive.closed {
            self.repeat_the_peer(first_sequence(&self.state, flight), true)?;
            self.await_the_end()?;
        }
        // Or else the kernel would wait for more to send along with so little.
        self.set("sending at once", sockopt::TcpNoDelay, true)?;
        // With padding they do not leave yet, but show that the congestion window is what they wait for. Only then does the
        // window grow by what is acknowledged next, and then they leave together.
        again.iter().try_for_each(|byte| self.send_alone(*byte))?;
        if flight.fin {
            shutdown(self.socket.as_raw_fd(), Shutdown::Write)
                .map_err(|source| failed("closing again", source))?;
        }
        if flight.padding > 0 {
            self.repeat_the_peer(first_sequence(&self.state, flight).wrapping_add(flight.padding), false)?;
        }
        self.tell_what_did_not_leave()?;
        self.set("sending together again", sockopt::TcpNoDelay, false)?;
        // Repair mode took it away, and listeners that come later need it.
        self.set("sharing the port", sockopt::ReuseAddr, true)?;
        write_what_fits(self.socket.as_raw_fd(), &send_side.unsent)
    }

    /// A byte in a segment of its own.
    fn send_alone(&self, byte: u8) -> Result<(), ResumeError> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_EOR;
        send(self.socket.as_raw_fd(), &[byte], flags)
            .map(drop)
            .map_err(|source| failed("sending again", source))
    }

    /// The peer may have had all that was sent before, and say so when it has heard the first byte of it again. By then the
    /// congestion window may let no more out, and an acknowledgement of what was not sent the kernel throws away, whole: the
    /// peer would be asked for ever. So what did not leave is told as sent, too, and the peer asked once more.
    fn tell_what_did_not_leave(&self) -> Result<(), ResumeError> {
        let info = getsockopt(&self.socket, TcpInfo)
            .map_err(|source| failed("reading what did not leave", source))?;
        if info.unsent == 0 {
            return Ok(());
        }
        setsockopt(&self.socket, sockopt::TcpRepair, &ON)
            .and_then(|()| setsockopt(&self.socket, RepairQueue, &SEND_QUEUE))
            // In repair mode what is pushed counts as sent.
            .and_then(|()| setsockopt(&self.socket, sockopt::TcpNoDelay, &true))
            .and_then(|()| setsockopt(&self.socket, sockopt::TcpRepair, &OFF_WITH_PROBE))
            .map_err(|source| failed("telling what did not leave", source))
    }

    /// Puts in front of the kernel what the peer said before: that it is done, or which byte it wants next.
    fn repeat_the_peer(&self, acknowledged: u32, fin: bool) -> Result<(), ResumeError> {
        let Some(entrance) = &self.entrance else { return Ok(()) };
        let state = &self.state;
        let scale = state.scales.map_or(0, |scales| scales.send);
        let segment = Segment {
            from: state.remote,
            to: state.local,
            sequence: if fin { received_next(state) } else { state.receive.next },
            acknowledged,
            // It fits: `check` has seen to that.
            window: (state.send.window >> scale) as u16,
            fin,
        };
        entrance.put(&segment).map_err(|source| failed("repeating the peer's words", source))
    }

    /// Without the end of the peer's bytes the application would wait for it for ever.
    fn await_the_end(&self) -> Result<(), ResumeError> {
        let deadline = Instant::now() + ARRIVAL;
        loop {
            let state =
                getsockopt(&self.socket, State).map_err(|source| failed("reading the state", source))?;
            if state == CLOSE_WAIT {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(ResumeError::EndLost);
            }
            std::thread::yield_now();
        }
    }

    fn set<O: nix::sys::socket::SetSockOpt<Val = bool>>(
        &self,
        call: &'static str,
        option: O,
        value: bool,
    ) -> Result<(), ResumeError> {
        setsockopt(&self.socket, option, &value).map_err(|source| failed(call, source))
    }
}

fn write_what_fits(socket: i32, bytes: &[u8]) -> Result<usize, ResumeError> {
    let mut written = 0;
    while written < bytes.len() {
        match send(socket, &bytes[written..], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(more) => written += more,
            Err(Errno::EAGAIN) => break,
            Err(source) => return Err(failed("writing what was never sent", source)),
        }
    }
    Ok(written)
}

fn failed(call: &'static str, source: Errno) -> ResumeError {
    ResumeError::Call { call, source }
}
