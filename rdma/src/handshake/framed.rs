//! A conversation that lasts, between two that proved to each other who they are: frames of bytes, each prefixed with
//! its length, bounded in size and time.

use crate::handshake::call::{CallError, call};
use crate::handshake::identity::{Certificate, Identity};
use crate::handshake::stream::Bounded;
use rustls::{AlertDescription, ClientConnection, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// One end of a conversation. After an error it is of no use any more.
#[derive(Debug)]
pub struct Framed {
    stream: Stream,
    /// The frame that is sent, kept for its memory.
    frame: Vec<u8>,
}

/// The caller's end, or that of who was called.
#[derive(Debug)]
enum Stream {
    Called(Box<StreamOwned<ServerConnection, Bounded>>),
    Calling(Box<StreamOwned<ClientConnection, Bounded>>),
}

impl Framed {
    /// Calls the peer at `address`, which must hold the key of the certificate `peer`. Takes at most `time` to connect,
    /// and as long again for the proof. Whether the peer accepts this side's certificate shows when it first answers.
    ///
    /// # Errors
    /// See [`FramedError`].
    pub fn connect(
        address: SocketAddr,
        identity: &Identity,
        peer: &Certificate,
        time: Duration,
    ) -> Result<Framed, FramedError> {
        let mut stream = call(address, identity, peer, time)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Framed { stream: Stream::Calling(Box::new(stream)), frame: Vec::new() })
    }

    pub(super) fn accepted(stream: StreamOwned<ServerConnection, Bounded>) -> Framed {
        Framed { stream: Stream::Called(Box::new(stream)), frame: Vec::new() }
    }

    /// Sends a frame, within `time`.
    ///
    /// # Errors
    /// See [`FramedError`]; part of it may have been sent.
    pub fn send(&mut self, body: &[u8], time: Duration) -> Result<(), FramedError> {
        let length = u32::try_from(body.len()).map_err(|_| FramedError::TooLong(body.len()))?;
        self.frame.clear();
        self.frame.extend_from_slice(&length.to_le_bytes());
        self.frame.extend_from_slice(body);
        self.bound(time);
        match &mut self.stream {
            Stream::Called(stream) => stream.write_all(&self.frame).and_then(|()| stream.flush())?,
            Stream::Calling(stream) => stream.write_all(&self.frame).and_then(|()| stream.flush())?,
        }
        Ok(())
    }

    /// Waits for a frame of at most `most` bytes, which must have come to its end within `time`.
    ///
    /// # Errors
    /// See [`FramedError`]; nothing is kept of a frame that is too long.
    pub fn receive(&mut self, body: &mut Vec<u8>, most: usize, time: Duration) -> Result<(), FramedError> {
        self.bound(time);
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > most {
            return Err(FramedError::TooLong(length));
        }
        body.clear();
        body.resize(length, 0);
        self.read_exact(body)?;
        Ok(())
    }

    /// A handle that ends this conversation from another thread.
    ///
    /// # Errors
    /// If the system gives no further file descriptor.
    pub fn hang_up(&self) -> io::Result<HangUp> {
        let stream = match &self.stream {
            Stream::Called(stream) => stream.sock.socket(),
            Stream::Calling(stream) => stream.sock.socket(),
        };
        stream.try_clone().map(HangUp)
    }

    fn bound(&mut self, time: Duration) {
        match &mut self.stream {
            Stream::Called(stream) => stream.sock.extend(time),
            Stream::Calling(stream) => stream.sock.extend(time),
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Called(stream) => stream.read_exact(bytes),
            Stream::Calling(stream) => stream.read_exact(bytes),
        }
    }
}

/// Ends a conversation, whatever its thread waits for.
#[derive(Debug)]
pub struct HangUp(TcpStream);

impl HangUp {
    /// Ends it. What was sent before may be lost.
    pub fn now(&self) {
        // It fails only if the conversation is over already.
        drop(self.0.shutdown(Shutdown::Both));
    }
}

/// Why a conversation did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum FramedError {
    /// This side's own key or certificate cannot be used.
    #[error("the own identity cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// Whoever listens there does not hold the key of the peer's certificate. Nothing was told to it.
    #[error(
        "who answers there shows another certificate than the one known here: it is not the peer, or has new keys"
    )]
    WrongPeer,
    /// The peer does not know this side's certificate.
    #[error("the peer does not know this side's certificate: list it there")]
    Stranger,
    /// What answers does not speak the protocol.
    #[error("what answers there does not speak the protocol: {0}")]
    Protocol(String),
    /// A frame is longer than agreed.
    #[error("a frame of {0} bytes is longer than agreed")]
    TooLong(usize),
    /// The peer ended the conversation. It may have restarted: a retry may help.
    #[error("the peer hung up")]
    HungUp,
    /// The peer, or the way to it, is too slow. A retry may help.
    #[error("nothing came in time")]
    TimedOut,
    /// The connection failed. A retry may help.
    #[error("the connection failed: {0}")]
    Connection(#[source] io::Error),
}

impl From<CallError> for FramedError {
    fn from(error: CallError) -> FramedError {
        match error {
            CallError::Identity(error) => FramedError::Identity(error),
            CallError::Unreachable(error) => error.into(),
        }
    }
}

impl From<io::Error> for FramedError {
    fn from(error: io::Error) -> FramedError {
        let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        match (tls, error.kind()) {
            (Some(rustls::Error::InvalidCertificate(_)), _) => FramedError::WrongPeer,
            (
                Some(rustls::Error::AlertReceived(
                    AlertDescription::AccessDenied
                    | AlertDescription::BadCertificate
                    | AlertDescription::CertificateUnknown
                    | AlertDescription::CertificateRequired
                    | AlertDescription::DecryptError
                    | AlertDescription::UnknownCA,
                )),
                _,
            ) => FramedError::Stranger,
            (Some(other), _) => FramedError::Protocol(other.to_string()),
            (None, io::ErrorKind::InvalidData) => FramedError::Protocol(error.to_string()),
            (
                None,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe,
            ) => FramedError::HungUp,
            (None, io::ErrorKind::TimedOut) => FramedError::TimedOut,
            (None, _) => FramedError::Connection(error),
        }
    }
}

#[cfg(test)]
mod tests;
