//! Socket options of repair mode that no library names.

// The macro's structures and casts are its own.
#![allow(missing_docs)]

// The third makes use of the other two.
use nix::sys::socket::sockopt;
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

/// Leaves repair mode without the probe that [`ON_WITH_PROBE`] sends.
pub(super) const OFF_SILENTLY: u32 = u32::MAX;
/// Leaves repair mode, and asks the peer for an acknowledgement.
pub(super) const OFF_WITH_PROBE: u32 = 0;
/// Enters repair mode.
pub(super) const ON: u32 = 1;

/// `TCP_RECV_QUEUE`
pub(super) const RECEIVE_QUEUE: u32 = 1;
/// `TCP_SEND_QUEUE`
pub(super) const SEND_QUEUE: u32 = 2;

/// The state of a connection whose peer has closed it: `TCP_CLOSE_WAIT`.
pub(super) const CLOSE_WAIT: u8 = 8;

/// One option of a connection as a SYN would have agreed on it: `struct tcp_repair_opt`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    pub kind: u32,
    pub value: u32,
}

/// Maximum segment size, among the kinds of [`Agreed`].
pub(super) const SEGMENT_SIZE: u32 = 2;
/// Window scales: the peer's in the lower half, ours in the upper.
pub(super) const WINDOW_SCALE: u32 = 3;
/// Selective acknowledgements.
pub(super) const SELECTIVE: u32 = 4;
/// Timestamps.
pub(super) const TIMESTAMPS: u32 = 8;

/// Windows and what they count from: `struct tcp_repair_window`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub send_window_at: u32,
    pub send_window: u32,
    pub max_send_window: u32,
    pub receive_window: u32,
    pub receive_window_at: u32,
}

const SO_BUF_LOCK: libc::c_int = 72;
const SO_COOKIE: libc::c_int = 57;

sockopt_impl!(RepairQueue, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, u32);
sockopt_impl!(QueueSequence, Both, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, u32);
sockopt_impl!(RepairOptions, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_OPTIONS, Agreed);
sockopt_impl!(Timestamp, SetOnly, libc::IPPROTO_TCP, libc::TCP_TIMESTAMP, u32);
sockopt_impl!(RepairWindow, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_WINDOW, Windows);
// The first byte of `struct tcp_info`.
/// The beginning of `struct tcp_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub state: u8,
    bytes: [u8; 7],
    words: [u32; 24],
    /// Rates, what was acknowledged, and what was received.
    pub counts: [u64; 4],
    segments: [u32; 2],
    /// Bytes, and the FIN, that were written and never sent.
    pub unsent: u32,
    shortest_round_trip: u32,
}

type GetInfo = sockopt::GetStruct<Info>;
sockopt_impl!(TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, Info, GetInfo);
sockopt_impl!(Cookie, GetOnly, libc::SOL_SOCKET, SO_COOKIE, u64);
sockopt_impl!(State, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, u8);
// Forced sizes are locked; unlocked the kernel fits them to the connection again.
sockopt_impl!(BufferLock, SetOnly, libc::SOL_SOCKET, SO_BUF_LOCK, u32);
