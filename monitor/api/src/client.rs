//! The asker's side.

use crate::endpoint::{Endpoint, Remote};
use crate::operations::{Method, Sent};
use crate::{Event, Failure, Query};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsConnector, rustls};

/// Longest wait for a daemon of another machine until it has proved who it is.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A connection to the daemon. Calls block; each reuses the connection of the one before.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    sender: http1::SendRequest<Full<Bytes>>,
    runtime: Runtime,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no monitor listens on {socket} ({source}); start one with `backdoors monitor --config FILE`, or name its \
         socket with --socket"
    )]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is another user's.
    #[error("not allowed to use {0}: ask as the user who runs the monitor, or as root")]
    NotAllowed(PathBuf),
    /// The daemon of another machine cannot be spoken with.
    #[error(
        "no monitor answers at {address} ({source}); see whether it runs there with `listen` in its `[api]`, and whether this machine \
         reaches it"
    )]
    Unreachable {
        /// Where it is.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Who answers there is another.
    #[error("who answers at {0} is not the monitor whose certificate is known here: get its present one")]
    Stranger(String),
    /// The daemon does not know who asks.
    #[error(
        "the monitor at {0} does not admit this certificate: have it listed as an `[[api.client]]` there, and the monitor reloaded"
    )]
    NotAdmitted(String),
    /// The connection broke.
    #[error("the monitor hung up: {0}; see its log")]
    Broken(#[from] hyper::Error),
    /// This machine refused what a client needs.
    #[error("this machine gives no means to ask: {0}")]
    System(#[from] io::Error),
    /// The answer is not understood.
    #[error("the monitor's answer is not understood ({0}): use the program of the same version")]
    NotUnderstood(#[from] serde_json::Error),
    /// The daemon said no.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Entries of the journal, as they come.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    /// What came and is not a whole event.
    rest: Vec<u8>,
    client: Client,
}

impl Client {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// [`AskError::NoDaemon`], [`AskError::NotAllowed`] and [`AskError::System`]; of another machine [`AskError::Unreachable`],
    /// [`AskError::Stranger`] and [`AskError::NotAdmitted`].
    pub fn connect(endpoint: &Endpoint) -> Result<Client, AskError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let sender = runtime.block_on(async {
            match endpoint {
                Endpoint::Socket(socket) => {
                    let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
                        io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.clone()),
                        _ => AskError::NoDaemon { socket: socket.clone(), source },
                    })?;
                    speak(stream).await
                }
                Endpoint::Remote(remote) => {
                    let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
                    let stream = timeout(CONNECT_PATIENCE, call(remote)).await.unwrap_or_else(late);
                    speak(stream.map_err(|source| refused(&remote.address, source))?).await
                }
            }
        })?;
        Ok(Client { endpoint: endpoint.clone(), sender, runtime })
    }

    /// Asks, and waits for the answer, and takes it apart.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask<T: DeserializeOwned>(&mut self, query: &Query) -> Result<T, AskError> {
        let request = request(&query.sent()?)?;
        let Client { endpoint, sender, runtime } = self;
        runtime.block_on(async {
            let answer = sender.send_request(request).await.map_err(|error| endpoint.broken(error))?;
            let answer = answered(answer).await?;
            Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
        })
    }

    /// What Prometheus is told, in its text format.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn metrics(&mut self) -> Result<String, AskError> {
        let sent = Sent { method: Method::Get, path: "/metrics".to_owned(), body: None };
        let request = request(&sent)?;
        let Client { endpoint, sender, runtime } = self;
        runtime.block_on(async {
            let answer = sender.send_request(request).await.map_err(|error| endpoint.broken(error))?;
            let text = answered(answer).await?.into_body().collect().await?.to_bytes();
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
    }

    /// Asks for [`Query::Follow`].
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn follow(mut self, query: &Query) -> Result<Events, AskError> {
        let request = request(&query.sent()?)?;
        let Client { endpoint, sender, runtime } = &mut self;
        let answer = runtime.block_on(async {
            answered(sender.send_request(request).await.map_err(|error| endpoint.broken(error))?).await
        })?;
        Ok(Events { body: answer.into_body(), rest: Vec::new(), client: self })
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<http1::SendRequest<Full<Bytes>>, AskError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender, and whoever asks learns what broke.
    tokio::spawn(connection);
    Ok(sender)
}

async fn call(remote: &Remote) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(&remote.address).await?;
    stream.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::clone(&remote.tls));
    connector.connect(ServerName::IpAddress(NOBODY.into()), stream).await
}

/// Stands for the name that TLS wants to be given; it is not sent, and the certificate is known as a whole.
const NOBODY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// Why a daemon of another machine is not spoken with.
fn refused(address: &str, source: io::Error) -> AskError {
    match source.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => AskError::Stranger(address.to_owned()),
        Some(rustls::Error::AlertReceived(_)) => AskError::NotAdmitted(address.to_owned()),
        _ => AskError::Unreachable { address: address.to_owned(), source },
    }
}

impl Endpoint {
    /// Why a request was not answered. Whether a daemon admits who asks is told only then: TLS 1.3 has it so.
    fn broken(&self, error: hyper::Error) -> AskError {
        let alert = std::error::Error::source(&error).and_then(|source| {
            source.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()
        });
        match (self, alert) {
            (Endpoint::Remote(remote), Some(rustls::Error::AlertReceived(_))) => {
                AskError::NotAdmitted(remote.address.clone())
            }
            _ => AskError::Broken(error),
        }
    }
}

fn request(sent: &Sent) -> Result<Request<Full<Bytes>>, AskError> {
    let method = match sent.method {
        Method::Get => hyper::Method::GET,
        Method::Post => hyper::Method::POST,
    };
    let body = sent.body.as_ref().map(serde_json::to_vec).transpose()?.unwrap_or_default();
    let request = Request::builder().method(method).uri(&sent.path).header(header::HOST, "monitor");
    let request =
        if sent.body.is_some() { request.header(header::CONTENT_TYPE, "application/json") } else { request };
    Ok(request.body(Full::new(body.into())).map_err(io::Error::other)?)
}

/// The answer, unless the daemon says why not.
async fn answered(answer: Response<Incoming>) -> Result<Response<Incoming>, AskError> {
    if answer.status().is_success() {
        return Ok(answer);
    }
    let failure: Failure = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    Err(failure.into())
}

impl Events {
    fn whole(&mut self) -> Option<Result<Event, AskError>> {
        loop {
            let end = self.rest.windows(2).position(|two| two == b"\n\n")?;
            let event: Vec<u8> = self.rest.drain(..end + 2).collect();
            // Comments only keep the connection alive. Each entry is one line.
            if let Some(line) =
                event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data:"))
            {
                return Some(serde_json::from_slice(line).map_err(AskError::from));
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<Event, AskError>;

    fn next(&mut self) -> Option<Result<Event, AskError>> {
        loop {
            if let Some(event) = self.whole() {
                return Some(event);
            }
            let Events { body, rest, client } = self;
            match client.runtime.block_on(body.frame())? {
                Ok(frame) => rest.extend(frame.data_ref().into_iter().flatten()),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
