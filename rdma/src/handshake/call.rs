//! The beginning of every call to somebody whose certificate is known.

use super::identity::{Certificate, Identity};
use super::pins;
use super::stream::Bounded;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Why nobody was reached. Nothing was sent.
pub(super) enum CallError {
    /// The own key or certificate cannot be used.
    Identity(rustls::Error),
    /// Nobody answers there.
    Unreachable(io::Error),
}

/// Connects to `address` within `time`, for a conversation with the holder of the key of `peer` that takes at most as long again.
/// Nothing is proved until something is sent or read.
pub(super) fn call(
    address: SocketAddr,
    identity: &Identity,
    peer: &Certificate,
    time: Duration,
) -> Result<StreamOwned<ClientConnection, Bounded>, CallError> {
    let config = pins::client_config(identity, peer).map_err(CallError::Identity)?;
    // The name is never sent, and certificates are compared whole.
    let name = ServerName::from(address.ip());
    let session = ClientConnection::new(config, name).map_err(CallError::Identity)?;
    let stream = TcpStream::connect_timeout(&address, time).map_err(CallError::Unreachable)?;
    // Without it a small message could wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(CallError::Unreachable)?;
    Ok(StreamOwned::new(session, Bounded::new(stream, time)))
}
