//! The live connections of the target's services as its kernel half keeps them, and what they received.
//!
//! | region | shape | who writes |
//! | --- | --- | --- |
//! | [`RegionKind::SESSIONS`](crate::layout::RegionKind::SESSIONS) | [`SessionTableHeader`], then [`SessionRecord`]s | kernel half |
//! | [`RegionKind::RECEIVED`](crate::layout::RegionKind::RECEIVED) | a ring per record, `ring_stride` bytes apart | kernel half |
//!
//! The byte with sequence number s lies in its record's ring at `s & (ring_bytes - 1)`: retransmitted and reordered bytes
//! find their places by themselves. Nobody may write either region remotely.

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the session table.
pub const SESSION_MAGIC: u64 = u64::from_le_bytes(*b"BDSESSIO");
/// Most sessions a table may announce; a reader refuses more.
pub const MAX_SESSIONS: usize = 65536;
/// The smallest ring: what a peer is told at first that it may send fits twice.
pub const LEAST_RING: u32 = 128 << 10;
/// The largest ring.
pub const LARGEST_RING: u32 = 2 << 20;
/// What a ring's memory is longer than the ring. It holds nothing: the kernel half writes pieces of at most so many bytes,
/// and must be seen not to write behind the ring's memory.
pub const RING_MARGIN: u32 = 4096;

/// Head of the session table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionTableHeader {
    /// [`SESSION_MAGIC`].
    pub magic: u64,
    /// [`crate::layout::VERSION`].
    pub version: u32,
    /// Size of this header in bytes; records start there.
    pub header_bytes: u32,
    /// As in the sensor box.
    pub generation: u64,
    /// Records there is room for.
    pub capacity: u32,
    /// Size of a record in bytes.
    pub record_bytes: u32,
    /// Bytes a ring holds, a power of two.
    pub ring_bytes: u32,
    /// How far the rings of two records are apart, in bytes.
    pub ring_stride: u32,
    /// The receive buffer that every connection is given at most, in bytes: half a ring. So a ring holds what was not read,
    /// and as much again of what was.
    pub receive_cap: u32,
    /// Zero.
    pub reserved_word: u32,
    /// Connections that found no free record, ever.
    pub unrecorded: u64,
    /// Zero. As long as a record, so that one array holds both.
    pub reserved: [u64; 25],
}

/// One connection. Fields change only while `sequence` is odd, except for `gaps`, `held_end` and `heard`: single words that
/// change at any time. The numbers are the kernel's own, by the names it has for them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SessionRecord {
    /// Odd while being written.
    pub sequence: u64,
    /// The socket's cookie (`SO_COOKIE`); 0: the record is free.
    pub cookie: u64,
    /// How often received bytes were missed that TCP may have accepted. Never 0 again while the connection lasts.
    pub gaps: u64,
    /// Low half: behind the highest sequence number that was written to the ring, or is being written. Raised before the
    /// ring is written.
    pub held_end: u64,
    /// Own address, IPv4 as `::ffff:a.b.c.d`.
    pub local: [u8; 16],
    /// The peer's address likewise.
    pub remote: [u8; 16],
    /// The socket's address family: 2 for IPv4, 10 for IPv6, which may carry IPv4 addresses.
    pub family: u32,
    /// Own port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// The state, as [`crate::TcpState`] numbers it.
    pub state: u32,
    /// Bits of [`SessionFlags`].
    pub flags: u32,
    /// The peer's first sequence number; its first byte has the next one.
    pub irs: u32,
    /// Own first sequence number.
    pub iss: u32,
    /// Oldest byte sent that the peer has not acknowledged.
    pub snd_una: u32,
    /// Next byte to send; includes the packet that is about to leave.
    pub snd_nxt: u32,
    /// Behind what the application wrote.
    pub write_seq: u32,
    /// Next byte expected.
    pub rcv_nxt: u32,
    /// Next byte that the application will read.
    pub copied_seq: u32,
    /// `rcv_nxt` when the window was last told.
    pub rcv_wup: u32,
    /// The window that the peer told.
    pub snd_wnd: u32,
    /// Sequence number of the packet that told it.
    pub snd_wl1: u32,
    /// The largest window that the peer told.
    pub max_window: u32,
    /// The window that was told to the peer.
    pub rcv_wnd: u32,
    /// Scale of the peer's window.
    pub snd_wscale: u8,
    /// Scale of the own window.
    pub rcv_wscale: u8,
    /// Largest segment that both ends agreed on.
    pub mss_clamp: u16,
    /// The peer's timestamp to echo.
    pub ts_recent: u32,
    /// What is added to the clock to get own timestamps.
    pub tsoffset: u32,
    /// The highest timestamp that left in a packet; 0: none yet.
    pub last_tsval: u32,
    /// The service, counted from 0 in the order of the target's configuration.
    pub service: u32,
    /// Behind the last byte that the peer was ever told it may send. The window may have become smaller since.
    pub told_end: u32,
    /// When it was established, nanoseconds of the target's monotonic clock.
    pub opened_at: u64,
    /// When a packet left last, or the state changed.
    pub changed_at: u64,
    /// `rcv_nxt` as a count of bytes from the first one; the peer's FIN counts as one.
    pub bytes_received: u64,
    /// `snd_una` likewise.
    pub bytes_acked: u64,
    /// What the packet that arrived last told: in the low half the sequence number up to which it acknowledged, above it the
    /// window, not scaled. It is ahead of `snd_una` when nothing has left since.
    pub heard: u64,
    /// Position of the first received byte that may be held: not 0 if the connection was rebuilt here, and had a life before.
    pub held_from: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// Bits of [`SessionRecord::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionFlags;

impl SessionFlags {
    /// Packets carry timestamps.
    pub const TIMESTAMPS: u32 = 1 << 0;
    /// Selective acknowledgements are agreed on.
    pub const SACK: u32 = 1 << 1;
    /// Windows are scaled.
    pub const WINDOW_SCALE: u32 = 1 << 2;
    /// Timestamps count microseconds.
    pub const MICROSECONDS: u32 = 1 << 3;
    /// The peer's FIN was received in its turn: the last byte before `rcv_nxt` is none.
    pub const PEER_FIN: u32 = 1 << 4;
    /// The own FIN was sent: the last byte before `write_seq` is none.
    pub const OWN_FIN: u32 = 1 << 5;
    /// No process has the socket any more.
    pub const ORPHANED: u32 = 1 << 6;
    /// It is being rebuilt, and where in its streams it is was not said yet: its counts mean nothing.
    pub const REBUILDING: u32 = 1 << 7;

    /// Every bit this version knows, with the name screens show.
    pub const NAMES: [(u32, &'static str); 8] = [
        (Self::TIMESTAMPS, "timestamps"),
        (Self::SACK, "sack"),
        (Self::WINDOW_SCALE, "window-scale"),
        (Self::MICROSECONDS, "microseconds"),
        (Self::PEER_FIN, "peer-fin"),
        (Self::OWN_FIN, "own-fin"),
        (Self::ORPHANED, "orphaned"),
        (Self::REBUILDING, "rebuilding"),
    ];
}

/// Bytes of a session table with room for so many records.
#[must_use]
pub const fn session_table_bytes(records: usize) -> usize {
    size_of::<SessionTableHeader>() + records * size_of::<SessionRecord>()
}

/// How far the rings of two records are apart.
#[must_use]
pub const fn ring_stride(ring_bytes: u32) -> u32 {
    ring_bytes + RING_MARGIN
}

const _: () = {
    assert!(size_of::<SessionTableHeader>() == 256);
    assert!(offset_of!(SessionTableHeader, ring_bytes) == 32);
    assert!(offset_of!(SessionTableHeader, unrecorded) == 48);
    assert!(size_of::<SessionRecord>() == 256);
    assert!(offset_of!(SessionRecord, gaps) == 16);
    assert!(offset_of!(SessionRecord, local) == 32);
    assert!(offset_of!(SessionRecord, state) == 72);
    assert!(offset_of!(SessionRecord, snd_una) == 88);
    assert!(offset_of!(SessionRecord, snd_wscale) == 128);
    assert!(offset_of!(SessionRecord, opened_at) == 152);
    assert!(offset_of!(SessionRecord, heard) == 184);
    assert!(offset_of!(SessionRecord, held_from) == 192);
};
