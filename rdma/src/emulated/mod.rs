//! The emulated provider: a NIC in software, for machines without one.
//!
//! [`Nic`] plays the target's NIC: it maps the regions, keeps a translation table with rights, and serves monitors
//! over TCP whatever the agent does. [`Dialer`] is the monitor's end. What goes over the wire is in [`wire`]; the
//! state machines of both ends ([`server::Server`], [`client::Exchange`]) do no I/O.
//!
//! The data connection is not encrypted: as with a NIC, who can read the network between target and monitor can
//! read what is read over it, and take a connection over.

pub mod client;
mod dialer;
mod line;
mod nic;
mod port;
pub mod ram;
mod serve;
pub mod server;
mod table;

pub(crate) use table::random;
pub mod wire;

pub use dialer::Dialer;
pub use nic::Nic;
