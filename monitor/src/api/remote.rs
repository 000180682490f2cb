//! Askers of other machines: mutual TLS with certificates that are known beforehand.
//!
//! Who did not prove yet who it is may be anybody: there is room for so many at once, and when it is full the one who has taken longest
//! makes room. Proofs cost this machine time, and there are only so many in a second.

use super::routes::Asker;
use super::server::{Hall, PAUSE};
use crate::clock::{Clock, SystemClock};
use crate::config::{ApiClientConfig, ApiConfig};
use crate::peers::Allowance;
use backdoors_rdma::handshake::{Certificate, Identity, IdentityError, server_config};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Strangers at once that may prove who they are.
const MOST_STRANGERS: usize = 16;
/// Longest time for that.
const PROOF_TIME: Duration = Duration::from_secs(3);
/// Strangers in a second, in the long run.
const STRANGERS_RATE: f64 = 100.0;
/// Strangers beyond that for a moment.
const STRANGERS_BURST: f64 = 64.0;
/// Longest time that who is refused is given to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Most bytes that are taken from it meanwhile.
const LINGER_BYTES: u64 = 64 << 10;

/// What an asker may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Ask for what is known, and have targets read.
    #[default]
    Look,
    /// Everything: also order repairs and recoveries.
    Act,
}

/// Why clients of other machines are not admitted. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// A client's certificate cannot be read.
    #[error("client `{client}`: {source}")]
    Certificate {
        /// The client.
        client: String,
        /// Why.
        source: IdentityError,
    },
    /// A certificate does not tell who shows it.
    #[error("client `{client}` has the certificate of `{other}`: give each keys of its own")]
    SameCertificate {
        /// The client.
        client: String,
        /// Who else has it.
        other: String,
    },
    /// The own identity cannot be used.
    #[error("clients cannot be answered: {0}")]
    Identity(#[from] rustls::Error),
}

/// Who is admitted.
#[derive(Clone)]
struct Admitted {
    tls: Arc<ServerConfig>,
    clients: Arc<[(Certificate, Asker)]>,
}

impl Admitted {
    fn new(identity: &Identity, clients: &[ApiClientConfig]) -> Result<Admitted, AdmitError> {
        let mut admitted: Vec<(Certificate, Asker)> = Vec::new();
        for ApiClientConfig { name, certificate, may } in clients {
            let certificate = Certificate::load(certificate)
                .map_err(|source| AdmitError::Certificate { client: name.clone(), source })?;
            if let Some((_, other)) = admitted.iter().find(|(known, _)| *known == certificate) {
                let (client, other) = (name.clone(), other.name.to_string());
                return Err(AdmitError::SameCertificate { client, other });
            }
            admitted.push((certificate, Asker { name: name.as_str().into(), role: *may }));
        }
        let tls = server_config(identity, admitted.iter().map(|(certificate, _)| certificate))?;
        Ok(Admitted { tls, clients: admitted.into() })
    }

    fn asker(&self, certificate: &Certificate) -> Option<&Asker> {
        self.clients.iter().find(|(known, _)| known == certificate).map(|(_, asker)| asker)
    }
}

/// Where askers of other machines are listened for.
pub struct Remote {
    listener: std::net::TcpListener,
    admission: Admission,
}

/// Changes who is admitted.
#[derive(Clone)]
pub struct Admission {
    admitted: watch::Sender<Admitted>,
    identity: Identity,
}

/// Why nobody of another machine is listened for.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen for clients on {address}: {source}; correct `listen` of `[api]`, or stop who holds it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The clients cannot be admitted.
    #[error(transparent)]
    Admit(#[from] AdmitError),
}

impl Remote {
    /// Listens.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub fn bind(identity: &Identity, config: &ApiConfig) -> Result<Remote, RemoteError> {
        let admitted = Admitted::new(identity, &config.clients)?;
        let address = config.listen;
        let listen = |source| RemoteError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let admission = Admission { admitted: watch::Sender::new(admitted), identity: identity.clone() };
        Ok(Remote { listener, admission })
    }

    /// Changes later who is admitted.
    #[must_use]
    pub fn admission(&self) -> Admission {
        self.admission.clone()
    }

    /// Receives askers for ever.
    pub(super) async fn serve(self, hall: Arc<Hall>) -> io::Result<std::convert::Infallible> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let strangers = Arc::new(Mutex::new(Strangers::default()));
        let mut allowance = Allowance::new(STRANGERS_RATE, STRANGERS_BURST, SystemClock.monotonic());
        loop {
            tokio::time::sleep(allowance.charge(SystemClock.monotonic(), 1.0)).await;
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (hall, admitted) = (Arc::clone(&hall), self.admission.admitted.subscribe());
            let mut queue = strangers.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, strangers) = (queue.number(), Arc::clone(&strangers));
            let task = tokio::spawn(async move {
                let proved = prove(stream, &admitted).await;
                strangers.lock().unwrap_or_else(PoisonError::into_inner).leave(number);
                match proved {
                    Ok((stream, certificate)) => attend(&hall, stream, &certificate, address, admitted).await,
                    Err(error) => tracing::info!(%address, %error, "not admitted"),
                }
            });
            queue.enter(number, task.abort_handle());
        }
    }
}

impl Admission {
    /// Admits these clients from now on, and no others: who is gone from the list, or may no longer do as before, is cut off.
    ///
    /// # Errors
    /// See [`AdmitError`]; then those known before stay.
    pub fn admit(&self, clients: &[ApiClientConfig]) -> Result<(), AdmitError> {
        let admitted = Admitted::new(&self.identity, clients)?;
        self.admitted.send_replace(admitted);
        Ok(())
    }
}

/// Those who have not proved yet who they are, in the order in which they came.
#[derive(Default)]
struct Strangers {
    next: u64,
    waiting: VecDeque<(u64, AbortHandle)>,
}

impl Strangers {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn enter(&mut self, number: u64, task: AbortHandle) {
        if self.waiting.len() >= MOST_STRANGERS
            && let Some((_, oldest)) = self.waiting.pop_front()
        {
            oldest.abort();
        }
        self.waiting.push_back((number, task));
    }

    fn leave(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
    }
}

/// Has the asker prove who it is.
async fn prove(
    stream: TcpStream,
    admitted: &watch::Receiver<Admitted>,
) -> io::Result<(TlsStream<TcpStream>, Certificate)> {
    stream.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&admitted.borrow().tls));
    let shaken = timeout(PROOF_TIME, acceptor.accept(stream).into_fallible()).await?;
    let stream = match shaken {
        Ok(stream) => stream,
        Err((error, stream)) => {
            // It was told why. Were the rest of what it says left unread, the connection would be reset, and that lost.
            drop(timeout(LINGER_TIME, copy(&mut stream.take(LINGER_BYTES), &mut sink())).await);
            return Err(error);
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|certificates| certificates.first());
    let certificate = shown.map(Certificate::shown).ok_or(io::ErrorKind::PermissionDenied)?;
    Ok((stream, certificate))
}

/// Serves an asker as long as it is admitted as it was when it came.
async fn attend(
    hall: &Hall,
    stream: TlsStream<TcpStream>,
    certificate: &Certificate,
    address: SocketAddr,
    mut admitted: watch::Receiver<Admitted>,
) {
    let Some(asker) = admitted.borrow_and_update().asker(certificate).cloned() else { return };
    let told = Asker { name: format!("{} from {}", asker.name, address.ip()).into(), role: asker.role };
    let changed = admitted.wait_for(|admitted| admitted.asker(certificate) != Some(&asker));
    tokio::select! {
        () = hall.serve(stream, told) => {}
        _ = changed => tracing::info!(client = %asker.name, %address, "cut off: no longer admitted as before"),
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("listener", &self.listener).finish_non_exhaustive()
    }
}
