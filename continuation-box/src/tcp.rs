//! Live TCP connections, rebuilt from plain data.
//!
//! In this order, and the peer never sees the difference:
//!
//! 1. [`SilentAddresses::take`] makes the service's address local, and nobody hears of it.
//! 2. [`rebuild()`] makes a connected socket out of a [`TcpState`]. It sends nothing, however long it is kept.
//! 3. [`SilentAddresses::announce`] tells the network where the address is now.
//! 4. [`Rebuilt::resume`] lets the connection speak.
//!
//! All of it acts in the network namespace of the calling thread, and needs CAP_NET_ADMIN and CAP_NET_RAW.

pub mod address;
mod announcement;
mod checksum;
mod counts;
mod ending;
mod netlink;
mod options;
pub mod rebuild;
pub mod resume;
mod routes;
mod segment;
pub mod state;

pub use address::{AddressError, Announced, Prefixed, SilentAddresses};
pub use counts::{Counts, CountsError, cookie, counts, is_open};
pub use ending::{Ending, ending, throw_unread_away};
pub use rebuild::{RebuildError, Rebuilder, Rebuilt, Sequences, can_rebuild, rebuild};
pub use resume::{ResumeError, Resumed};
pub use state::{StateError, TcpState};
