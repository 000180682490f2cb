//! The monitor's side of the handshake.

use crate::handshake::call::{CallError, call};
use crate::handshake::identity::{Certificate, Identity};
use crate::handshake::stream::{read_message, write_message};
use crate::handshake::{Answer, Hello, Welcome};
use rustls::AlertDescription;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Asks the target at `address`, which must hold the key of the certificate `target`, to admit this monitor. Takes at
/// most `time` to connect, and as long again for the rest.
///
/// # Errors
/// See [`HandshakeError`].
pub fn request(
    address: SocketAddr,
    identity: &Identity,
    target: &Certificate,
    hello: &Hello,
    time: Duration,
) -> Result<Welcome, HandshakeError> {
    let mut stream = call(address, identity, target, time)?;
    let sent = write_message(&mut stream, hello);
    // A target that refused the certificate said so before it closed, so look for its word even if sending failed.
    match (read_message(&mut stream), sent) {
        (Ok(Answer::Welcome(welcome)), _) => Ok(welcome),
        (Ok(Answer::Refused { reason }), _) => Err(HandshakeError::Refused { reason }),
        (Err(error), Ok(())) => Err(error.into()),
        (Err(read), Err(sent)) => match HandshakeError::from(read) {
            HandshakeError::Unreachable(_) => Err(sent.into()),
            error => Err(error),
        },
    }
}

/// Why the target did not admit this monitor. It may have done so nonetheless if the connection failed in the end;
/// that admission ends with the next one.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// This monitor's own key or certificate cannot be used.
    #[error("this monitor's own identity cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// The target cannot be reached, or is too slow. A retry may help.
    #[error("the target cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// Whoever listens there does not hold the key of the target's certificate. Nothing was told to it.
    #[error("who answers there is not the target: it shows another certificate than the one known here")]
    WrongTarget,
    /// The target does not know this monitor's certificate.
    #[error("the target does not know this monitor: list its certificate there")]
    Stranger,
    /// The target knows this monitor and refused it.
    #[error("the target refused: {reason}")]
    Refused {
        /// The target's words.
        reason: String,
    },
    /// What answers there does not speak the protocol.
    #[error("what answers there does not speak the protocol: {0}")]
    Protocol(String),
}

impl From<CallError> for HandshakeError {
    fn from(error: CallError) -> HandshakeError {
        match error {
            CallError::Identity(error) => HandshakeError::Identity(error),
            CallError::Unreachable(error) => HandshakeError::Unreachable(error),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> HandshakeError {
        let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => HandshakeError::WrongTarget,
            Some(rustls::Error::AlertReceived(
                AlertDescription::AccessDenied
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::DecryptError
                | AlertDescription::UnknownCA,
            )) => HandshakeError::Stranger,
            Some(other) => HandshakeError::Protocol(other.to_string()),
            None if error.kind() == io::ErrorKind::InvalidData => HandshakeError::Protocol(error.to_string()),
            None => HandshakeError::Unreachable(error),
        }
    }
}
