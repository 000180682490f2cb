//! The handshake: how a monitor is admitted, once, while the target is healthy.
//!
//! Mutual TLS 1.3. Either side knows the other's self-signed certificate beforehand and accepts no other; names and
//! dates in it mean nothing, since a machine in trouble may have lost its clock. One question and one answer are
//! exchanged, both JSON, prefixed with their length, bounded in size and time.
//!
//! Monitors prove themselves to each other in the same way, for a conversation that lasts: [`Framed`]. So do those who ask a monitor over
//! HTTP: [`server_config`] and [`client_config`] are for them.

mod acceptor;
mod call;
mod framed;
mod identity;
mod pins;
mod request;
mod secret;
mod stream;

pub use acceptor::{AcceptError, Acceptor, Pending, serve};
pub use framed::{Framed, FramedError, HangUp};
pub use identity::{Certificate, Fingerprint, Identity, IdentityError};
pub use pins::{client_config, server_config};
pub use request::{HandshakeError, request};
pub use secret::Secret;

use crate::owner::{Admission, Endpoint};
use serde::{Deserialize, Serialize};

/// Version of the question and the answer. A target refuses another, with words that say so.
pub const VERSION: u32 = 2;

/// A way to reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProviderKind {
    /// The software NIC.
    Emulated,
    /// A NIC, or soft-RoCE.
    Verbs,
}

/// What a monitor asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// How the monitor can reach memory.
    pub provider: ProviderKind,
    /// The monitor's ends of the connections it wants.
    pub endpoints: Vec<Endpoint>,
}

/// What an admitted monitor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The target's name for itself.
    pub target: String,
    /// What it was admitted to.
    pub admission: Admission,
    /// By which the target knows what this monitor writes, until the monitor shakes hands anew.
    pub secret: Secret,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome(Welcome),
    Refused { reason: String },
}

#[cfg(test)]
mod tests;
