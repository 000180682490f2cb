//! What a connection is made of, as plain data, and what must hold before a kernel is bothered with it.

use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use thiserror::Error;

/// A connection as its old kernel had it. Sequence numbers are TCP's, and wrap.
///
/// Congestion window, threshold and round-trip times are not among it: the kernel lets nobody set them. A rebuilt
/// connection starts slowly, and measures anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpState {
    /// The service's end: the one that is rebuilt.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// What goes to the peer.
    pub send: SendSide,
    /// What comes from the peer.
    pub receive: ReceiveSide,
    /// The largest segment that the peer takes (`mss_clamp`).
    pub segment_size: u16,
    /// The scales of windows, if both ends agreed on any.
    pub scales: Option<Scales>,
    /// Whether both ends agreed on selective acknowledgements.
    pub selective: bool,
    /// Timestamps, if both ends agreed on them.
    pub timestamps: Option<Timestamps>,
}

/// What goes to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendSide {
    /// The oldest sequence number that the peer has not acknowledged (`snd_una`). It may be older than the peer's.
    pub una: u32,
    /// The next one to be sent (`snd_nxt`): none beyond it was ever sent.
    pub next: u32,
    /// How many bytes from `una` on the peer takes (`snd_wnd`).
    pub window: u32,
    /// The peer's sequence number that brought the window (`snd_wl1`).
    pub window_at: u32,
    /// The largest window the peer ever offered.
    pub max_window: u32,
    /// The bytes from `una` to `next`.
    pub unacknowledged: Bytes,
    /// The bytes that were written and never sent: from `next` on.
    pub unsent: Bytes,
    /// Whether our own FIN was sent; then `next` counts it, and it is no byte of `unacknowledged`.
    pub closed: bool,
}

/// What comes from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSide {
    /// The next sequence number that the application will read (`copied_seq`).
    pub copied: u32,
    /// The next one that the peer will send (`rcv_nxt`).
    pub next: u32,
    /// How many bytes from `window_at` on the peer was told that it may send (`rcv_wnd`).
    pub window: u32,
    /// What `next` was when the peer was told (`rcv_wup`).
    pub window_at: u32,
    /// The bytes from `copied` to `next`.
    pub unread: Vec<u8>,
    /// Whether the peer's FIN was received; then `next` counts it, and so does `copied` once the application has
    /// read that end.
    pub closed: bool,
}

/// By how many bits windows are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scales {
    /// Windows that the peer tells.
    pub send: u8,
    /// Windows that are told to the peer.
    pub receive: u8,
}

/// The clock that our timestamps tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// The last value that was sent, or may have been.
    pub last: u32,
    /// How long ago that was, when the connection is rebuilt.
    pub age: Duration,
    /// Whether it ticks in microseconds, not in milliseconds.
    pub microseconds: bool,
}

/// Added to a timestamp's age. A value that is a little late costs nothing; one that is early has the peer drop
/// everything.
const MARGIN: Duration = Duration::from_millis(250);

/// A window has at most 30 bits; half a wrap holds several of them.
const LARGEST_WINDOW: u32 = 1 << 30;

impl Timestamps {
    /// The value to go on with, or none if the peer could take it for one of the past.
    pub(super) fn value(&self) -> Option<u32> {
        let past = self.age.checked_add(MARGIN)?;
        let ticks = if self.microseconds { past.as_micros() } else { past.as_millis() };
        let ticks = u32::try_from(ticks).ok().filter(|ticks| *ticks < LARGEST_WINDOW)?;
        let value = self.last.wrapping_add(ticks);
        // Bit 0 tells the kernel which clock to use (6.7 and later).
        Some(if self.microseconds { value | 1 } else { value.wrapping_add(1) & !1 })
    }
}

/// Why a state cannot be that of a connection. It will not get better.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// An IPv4 and an IPv6 end.
    #[error("{0} and {1} are of two families")]
    Families(SocketAddr, SocketAddr),
    /// A port or address that no connection has.
    #[error(
        "{0} is not an end of a connection: it needs a port and the address of one host, IPv4 not written as IPv6"
    )]
    End(SocketAddr),
    /// A count of bytes that contradicts the sequence numbers.
    #[error("{what} are {held} bytes, but sequence numbers {from} to {to} are {difference}")]
    Length {
        /// Of which bytes.
        what: &'static str,
        /// How many there are.
        held: usize,
        /// Where they begin.
        from: u32,
        /// Where they end, a FIN included.
        to: u32,
        /// How many they should be.
        difference: u32,
    },
    /// Bytes to be sent behind our own FIN.
    #[error("{0} bytes were written after the connection was closed")]
    WrittenAfterClose(usize),
    /// A window or a stretch of bytes that is larger than any can be.
    #[error("{what} of {value} is more than {most}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// What it is.
        value: u64,
        /// The most that it may be.
        most: u64,
    },
    /// A sequence number that is far from where it belongs.
    #[error("{what} {value} is not near {near}")]
    Far {
        /// Which one.
        what: &'static str,
        /// What it is.
        value: u32,
        /// What it should be near to.
        near: u32,
    },
    /// A segment size that no kernel takes.
    #[error("a segment size of {0} is less than 88")]
    SegmentSize(u16),
    /// A scale above 14.
    #[error("a window scale of {0} is more than 14")]
    Scale(u8),
    /// A timestamp so old that the peer may take the next one for one of the past.
    #[error("a timestamp {0:?} old cannot be gone on with")]
    OldTimestamp(Duration),
    /// Both ends have closed, and both know.
    #[error("the connection is over: both ends have closed, and the peer has acknowledged it")]
    Over,
}

impl TcpState {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first thing that contradicts another.
    pub fn check(&self) -> Result<(), StateError> {
        self.check_ends()?;
        self.send.check()?;
        self.receive.check()?;
        let scales = self.scales.unwrap_or(Scales { send: 0, receive: 0 });
        if let Some(scale) = [scales.send, scales.receive].into_iter().find(|scale| *scale > 14) {
            return Err(StateError::Scale(scale));
        }
        at_most("the window of the peer", u64::from(self.send.window), 0xffff << scales.send)?;
        if self.segment_size < 88 {
            return Err(StateError::SegmentSize(self.segment_size));
        }
        if let Some(timestamps) = self.timestamps
            && timestamps.value().is_none()
        {
            return Err(StateError::OldTimestamp(timestamps.age));
        }
        // What brought the window cannot lie beyond what the peer may send.
        let last = self.receive.next.wrapping_add(LARGEST_WINDOW);
        at_most_before("the send window's sequence", self.send.window_at, last, 2 * LARGEST_WINDOW)?;
        if self.send.closed && self.receive.closed && self.send.una == self.send.next {
            return Err(StateError::Over);
        }
        Ok(())
    }

    fn check_ends(&self) -> Result<(), StateError> {
        if self.local.is_ipv4() != self.remote.is_ipv4() {
            return Err(StateError::Families(self.local, self.remote));
        }
        let broken = |end: &SocketAddr| {
            let ip = end.ip();
            let not_one_host = match ip {
                IpAddr::V4(ip) => ip.is_broadcast(),
                IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
            };
            end.port() == 0 || ip.is_unspecified() || ip.is_multicast() || not_one_host
        };
        match [self.local, self.remote].into_iter().find(broken) {
            Some(end) => Err(StateError::End(end)),
            None => Ok(()),
        }
    }
}

impl SendSide {
    fn check(&self) -> Result<(), StateError> {
        // A FIN that was acknowledged lies before `una`.
        let fin = self.closed && self.una != self.next;
        length("unacknowledged bytes", self.unacknowledged.len(), self.una, self.next, fin)?;
        if self.closed && !self.unsent.is_empty() {
            return Err(StateError::WrittenAfterClose(self.unsent.len()));
        }
        at_most("unsent bytes", self.unsent.len() as u64, u64::from(LARGEST_WINDOW))?;
        at_most("the largest window of the peer", u64::from(self.max_window), u64::from(LARGEST_WINDOW))?;
        at_most("the window of the peer", u64::from(self.window), u64::from(self.max_window))
    }
}

impl ReceiveSide {
    fn check(&self) -> Result<(), StateError> {
        // Whoever has read the end has read past the FIN.
        let fin = self.closed && self.copied != self.next;
        length("unread bytes", self.unread.len(), self.copied, self.next, fin)?;
        at_most("the receive window", u64::from(self.window), u64::from(LARGEST_WINDOW))?;
        at_most_before("the receive window's sequence", self.window_at, self.next, LARGEST_WINDOW)
    }
}

fn length(what: &'static str, held: usize, from: u32, to: u32, fin: bool) -> Result<(), StateError> {
    let difference = to.wrapping_sub(from).wrapping_sub(u32::from(fin));
    at_most(what, u64::from(difference), u64::from(LARGEST_WINDOW))?;
    if held as u64 == u64::from(difference) {
        Ok(())
    } else {
        Err(StateError::Length { what, held, from, to, difference })
    }
}

fn at_most(what: &'static str, value: u64, most: u64) -> Result<(), StateError> {
    if value <= most { Ok(()) } else { Err(StateError::TooLarge { what, value, most }) }
}

fn at_most_before(what: &'static str, value: u32, near: u32, distance: u32) -> Result<(), StateError> {
    if near.wrapping_sub(value) <= distance { Ok(()) } else { Err(StateError::Far { what, value, near }) }
}
