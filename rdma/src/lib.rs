//! One-sided access to a peer's memory: regions, rights, read, write and compare-and-swap.
//!
//! Without the feature `access` there is the module [`memory`] alone.

#[cfg(feature = "access")]
pub mod access;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "access")]
pub mod dial;
#[cfg(feature = "access")]
pub mod directory;
#[cfg(feature = "access")]
pub mod emulated;
#[cfg(feature = "access")]
pub mod handshake;
pub mod memory;
#[cfg(feature = "access")]
pub mod owner;
#[cfg(feature = "access")]
mod pool;
#[cfg(feature = "access")]
pub mod realtime;
#[cfg(feature = "access")]
pub mod session;
#[cfg(feature = "access")]
pub mod supervisor;
#[cfg(feature = "access")]
pub mod verbs;

#[cfg(feature = "access")]
pub use access::{AccessError, Connection, Limits, Operation, RemoteRange, Request};
#[cfg(feature = "access")]
pub use dial::{DialError, Dialer};
pub use memory::{Protection, SharedMemory};
#[cfg(feature = "access")]
pub use pool::Ticket;
#[cfg(feature = "access")]
pub use session::{OpenError, Provider, Session, SessionConfig};
