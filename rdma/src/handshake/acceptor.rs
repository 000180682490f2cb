//! The target's side of the handshake.

use crate::handshake::framed::Framed;
use crate::handshake::identity::{Certificate, Identity};
use crate::handshake::stream::{Bounded, read_message, write_message};
use crate::handshake::{Answer, Hello, VERSION, Welcome, pins};
use rustls::{AlertDescription, ServerConfig, ServerConnection, StreamOwned};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

/// Longest time a monitor may take to prove who it is and to ask.
const ACCEPT_TIME: Duration = Duration::from_secs(3);
/// Longest time a monitor may take to take its answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Longest time a refused peer is given to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Handshakes at once. Above that, new ones are closed at once.
const AT_ONCE: usize = 16;
/// How long nobody is accepted after the system could not accept anybody, lest the thread spins.
const PAUSE: Duration = Duration::from_millis(100);

/// Knows the monitors that may be admitted.
#[derive(Debug)]
pub struct Acceptor(RwLock<Known>);

#[derive(Clone, Debug)]
struct Known {
    config: Arc<ServerConfig>,
    monitors: Arc<[(String, Certificate)]>,
}

impl Known {
    fn new(identity: &Identity, monitors: Vec<(String, Certificate)>) -> Result<Known, AcceptError> {
        let certificates = monitors.iter().map(|(_, certificate)| certificate);
        let config = pins::server_config(identity, certificates).map_err(AcceptError::Identity)?;
        Ok(Known { config, monitors: monitors.into() })
    }
}

/// A monitor that proved who it is, asked, and waits. Dropped without an answer, the connection just closes.
#[derive(Debug)]
pub struct Pending {
    /// Its name here.
    pub monitor: String,
    /// The certificate that it showed, of those it is known by.
    pub certificate: Certificate,
    /// What it asks.
    pub hello: Hello,
    stream: StreamOwned<ServerConnection, Bounded>,
}

impl Acceptor {
    /// Admits the monitors that hold the keys of these certificates, under these names.
    ///
    /// # Errors
    /// [`AcceptError::Identity`] if `identity` cannot be used.
    pub fn new(identity: &Identity, monitors: Vec<(String, Certificate)>) -> Result<Acceptor, AcceptError> {
        Known::new(identity, monitors).map(|known| Acceptor(RwLock::new(known)))
    }

    /// Admits these monitors from now on, and no others; handshakes under way go on by what was known when they began.
    ///
    /// # Errors
    /// [`AcceptError::Identity`] if `identity` cannot be used; then those known before stay.
    pub fn know(&self, identity: &Identity, monitors: Vec<(String, Certificate)>) -> Result<(), AcceptError> {
        let known = Known::new(identity, monitors)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// Waits, for a bounded time, until the peer has proved who it is and asked its question.
    ///
    /// # Errors
    /// See [`AcceptError`]; the peer was told, if it can be.
    pub fn accept(&self, stream: TcpStream) -> Result<Pending, AcceptError> {
        let (monitor, certificate, mut stream) = self.prove(stream)?;
        let hello: Hello = read_message(&mut stream)?;
        let version = hello.version;
        let pending = Pending { monitor, certificate, hello, stream };
        if version != VERSION {
            pending.refuse(&format!(
                "it speaks version {VERSION}, the monitor {version}: update the older one"
            ))?;
            return Err(AcceptError::Version(version));
        }
        Ok(pending)
    }

    /// Waits, for a bounded time, until the peer has proved who it is. Returns its name and the conversation.
    ///
    /// # Errors
    /// See [`AcceptError`]; the peer was told, if it can be.
    pub fn accept_framed(&self, stream: TcpStream) -> Result<(String, Framed), AcceptError> {
        self.prove(stream).map(|(name, _, stream)| (name, Framed::accepted(stream)))
    }

    /// The name of the peer, its certificate, and the stream to it, which must still be used up within the same bounded time.
    fn prove(
        &self,
        stream: TcpStream,
    ) -> Result<(String, Certificate, StreamOwned<ServerConnection, Bounded>), AcceptError> {
        // Without it a small answer could wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let session = ServerConnection::new(known.config).map_err(AcceptError::Identity)?;
        let mut stream = StreamOwned::new(session, Bounded::new(stream, ACCEPT_TIME));
        while stream.conn.is_handshaking() {
            if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
                let error = AcceptError::from(error);
                if matches!(error, AcceptError::Stranger) {
                    stream.sock.linger(LINGER_TIME);
                }
                return Err(error);
            }
        }
        let shown = stream.conn.peer_certificates().and_then(|certificates| certificates.first());
        let monitor = known.monitors.iter().find(|(_, known)| Some(&known.0) == shown);
        let (name, certificate) = monitor.cloned().ok_or(AcceptError::Stranger)?;
        Ok((name, certificate, stream))
    }
}

impl Pending {
    /// Tells the monitor what it was admitted to.
    ///
    /// # Errors
    /// What the system says; whether the monitor was told is not known.
    pub fn welcome(self, welcome: Welcome) -> io::Result<()> {
        self.answer(&Answer::Welcome(welcome))
    }

    /// Tells the monitor why it is not admitted.
    ///
    /// # Errors
    /// What the system says; whether the monitor was told is not known.
    pub fn refuse(self, reason: &str) -> io::Result<()> {
        self.answer(&Answer::Refused { reason: reason.into() })
    }

    fn answer(mut self, answer: &Answer) -> io::Result<()> {
        self.stream.sock.extend(ANSWER_TIME);
        write_message(&mut self.stream, answer)?;
        self.stream.conn.send_close_notify();
        self.stream.conn.complete_io(&mut self.stream.sock)?;
        Ok(())
    }
}

/// Shakes hands with everybody who comes, each in a thread of its own, so that a stuck peer holds up no other.
/// `decide` says what a monitor, that showed this certificate, is admitted to, or why not. Ends only when the listener is shut down.
pub fn serve<F>(listener: &TcpListener, acceptor: &Arc<Acceptor>, decide: F)
where
    F: Fn(&str, &Certificate, &Hello) -> Result<Welcome, String> + Send + Sync + 'static,
{
    let decide = Arc::new(decide);
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // That is what a listener that was shut down says.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::warn!(%error, "no monitor can be accepted");
                thread::sleep(PAUSE);
                continue;
            }
        };
        if busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
            busy.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (acceptor, decide, busy_there) = (Arc::clone(acceptor), Arc::clone(&decide), Arc::clone(&busy));
        let started = thread::Builder::new().name("handshake".into()).spawn(move || {
            let _place = Place(busy_there);
            match shake(&acceptor, stream, &*decide) {
                Ok((monitor, admitted)) => tracing::info!(%peer, monitor, admitted, "handshake"),
                Err(error) => tracing::warn!(%peer, %error, "handshake failed"),
            }
        });
        if let Err(error) = started {
            busy.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "no thread for a handshake");
        }
    }
}

/// One of the places for handshakes; given back also when its thread panics.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn shake(
    acceptor: &Acceptor,
    stream: TcpStream,
    decide: &dyn Fn(&str, &Certificate, &Hello) -> Result<Welcome, String>,
) -> Result<(String, bool), AcceptError> {
    let pending = acceptor.accept(stream)?;
    let monitor = pending.monitor.clone();
    match decide(&monitor, &pending.certificate, &pending.hello) {
        Ok(welcome) => pending.welcome(welcome)?,
        Err(reason) => {
            tracing::warn!(monitor, reason, "monitor refused");
            pending.refuse(&reason)?;
            return Ok((monitor, false));
        }
    }
    Ok((monitor, true))
}

/// Why a peer's handshake came to nothing. Nothing changed on the target.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The target's own key or certificate cannot be used.
    #[error("the target's own identity cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// It shows no certificate that is known here, or does not hold its key.
    #[error("the peer is no monitor known here: list its certificate if it should be")]
    Stranger,
    /// The peer knows another certificate of this target.
    #[error("the peer does not accept this target's certificate: give it the present one")]
    Distrusted,
    /// The monitor speaks another version.
    #[error("the monitor speaks version {0} of the handshake, not {VERSION}: update the older side")]
    Version(u32),
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol: {0}")]
    Protocol(String),
    /// The connection broke, or the peer was too slow.
    #[error("the connection failed: {0}")]
    Connection(io::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> AcceptError {
        let tls = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                AcceptError::Stranger
            }
            Some(rustls::Error::AlertReceived(
                AlertDescription::AccessDenied
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA,
            )) => AcceptError::Distrusted,
            Some(other) => AcceptError::Protocol(other.to_string()),
            None if error.kind() == io::ErrorKind::InvalidData => AcceptError::Protocol(error.to_string()),
            None => AcceptError::Connection(error),
        }
    }
}
