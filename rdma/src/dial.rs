//! The monitor's side of a provider: making connections to a target's memory.

use crate::access::Connection;
use crate::owner::Endpoint;

/// Makes connections in two steps, because each side must know the other's endpoints first: the handshake carries
/// them while the target is healthy.
pub trait Dialer: Send {
    /// Makes `count` local endpoints ready, to be told to the target. Endpoints prepared earlier and not connected
    /// are given up.
    ///
    /// # Errors
    /// See [`DialError`].
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError>;

    /// Joins the prepared endpoints, in order, to the target's.
    ///
    /// # Errors
    /// See [`DialError`]. On an error none of the connections exists, and the prepared endpoints are given up.
    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError>;
}

/// Why no connections could be made. None exists afterwards; the endpoints on both sides are spent.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The target answered with other endpoints than this provider can use. A retry cannot help: configure the same
    /// provider on both sides.
    #[error("the target's endpoints do not fit: {0}; use the same provider on both sides")]
    Mismatch(&'static str),
    /// The local NIC is missing or failed. A retry helps once it is there.
    #[error("the local NIC cannot be used: {0}")]
    Device(#[source] std::io::Error),
    /// The target's NIC does not answer. A retry, with a new handshake, may help.
    #[error("the target's NIC does not answer: {0}")]
    Unreachable(#[source] std::io::Error),
    /// The target's NIC does not accept this endpoint: it was revoked, or used before. A new handshake helps.
    #[error(
        "the target's NIC refused the connection: its endpoint was revoked or used before; shake hands anew"
    )]
    Refused,
}
