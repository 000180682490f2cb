//! Live connections as read: bytes from another machine, hostile until they have become a view here.

mod decode;
mod fetch;
pub mod layout;

pub use decode::{Refused, SessionsView};
pub use fetch::{
    Received, ReceivedError, fetch_received, fetch_sessions, session_table_room, settle_sessions,
};

use crate::numbered::numbered;
use core::net::SocketAddr;
use core::ops::Range;

numbered! {
    /// What a connection is doing, as the kernel numbers it.
    TcpState {
        /// Both ends may send.
        Established = 1 "established",
        /// An own connection is being opened.
        SynSent = 2 "syn-sent",
        /// The peer's connection is being opened.
        SynReceived = 3 "syn-received",
        /// Closed here, not acknowledged.
        FinWait1 = 4 "fin-wait-1",
        /// Closed here, open there.
        FinWait2 = 5 "fin-wait-2",
        /// Closed on both ends, and kept for stragglers.
        TimeWait = 6 "time-wait",
        /// Closed.
        Close = 7 "close",
        /// Closed there, open here.
        CloseWait = 8 "close-wait",
        /// Closed there, then here, not acknowledged.
        LastAck = 9 "last-ack",
        /// Waits for connections.
        Listen = 10 "listen",
        /// Closed on both ends at once.
        Closing = 11 "closing",
        /// Being opened, known by its first packet alone.
        NewSynReceived = 12 "new-syn-received",
    }
}

/// How much a ring holds, and where each lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Bytes a ring holds, a power of two.
    pub bytes: u32,
    /// How far the rings of two records are apart.
    pub stride: u32,
}

/// One connection as read. Its numbers make sense together; positions count the bytes of a direction from its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Which record it is.
    pub index: usize,
    /// The socket's cookie, never 0.
    pub cookie: u64,
    /// How often received bytes were missed.
    pub gaps: u64,
    /// Own address. IPv4 also if an IPv6 socket carries it: [`SessionView::mapped`].
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// An IPv6 socket carries IPv4.
    pub mapped: bool,
    /// The state.
    pub state: TcpState,
    /// The record, whose numbers were found to fit together, with what the peer was heard to acknowledge since it was written.
    pub record: layout::SessionRecord,
    held: Range64,
}

/// `Range` is not `Copy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range64 {
    start: u64,
    end: u64,
}

impl SessionView {
    /// Whether these bits of [`layout::SessionFlags`] are set.
    #[must_use]
    pub fn has(&self, flags: u32) -> bool {
        self.record.flags & flags == flags
    }

    /// Positions of the received bytes that the ring holds, up to the last one that TCP took in its turn. `None` if any was
    /// missed: then the ring may hold something else anywhere.
    #[must_use]
    pub fn held(&self) -> Option<Range<u64>> {
        (self.gaps == 0).then_some(self.held.start..self.held.end)
    }

    /// Position of the next byte that the application will read.
    #[must_use]
    pub fn read_position(&self) -> u64 {
        let unread = self.record.rcv_nxt.wrapping_sub(self.record.copied_seq);
        // Once the application has read the peer's FIN it is past the last byte.
        (self.record.bytes_received - u64::from(unread)).min(self.held.end)
    }

    /// Whether all bytes that the application has not read are held.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.held().is_some_and(|held| held.start <= self.read_position())
    }

    /// Bytes received so far, the peer's FIN not counted.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.held.end
    }

    /// The sequence number of the received byte at a position.
    #[must_use]
    pub fn received_sequence(&self, position: u64) -> u32 {
        self.record.irs.wrapping_add(1).wrapping_add(position as u32)
    }
}
