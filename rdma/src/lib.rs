//! One-sided access to a peer's memory: regions, rights, read, write and compare-and-swap.

pub mod access;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod dial;
pub mod directory;
pub mod emulated;
pub mod handshake;
pub mod memory;
pub mod owner;
mod pool;
pub mod realtime;
pub mod session;
pub mod verbs;

pub use access::{AccessError, Connection, Limits, Operation, RemoteRange, Request};
pub use dial::{DialError, Dialer};
pub use memory::{Protection, SharedMemory};
pub use pool::Ticket;
pub use session::{OpenError, Provider, Session, SessionConfig};
