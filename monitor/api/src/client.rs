//! The asker's side.

use crate::operations::{Method, Sent};
use crate::{Event, Failure, Query};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// A connection to the daemon. Calls block; each reuses the connection of the one before.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
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
    /// [`AskError::NoDaemon`], [`AskError::NotAllowed`] or [`AskError::System`].
    pub fn connect(socket: &Path) -> Result<Client, AskError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let sender = runtime.block_on(async {
            let stream = UnixStream::connect(socket).await.map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied => AskError::NotAllowed(socket.to_owned()),
                _ => AskError::NoDaemon { socket: socket.to_owned(), source },
            })?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the sender, and whoever asks learns what broke.
            tokio::spawn(connection);
            Ok::<_, AskError>(sender)
        })?;
        Ok(Client { socket: socket.to_owned(), sender, runtime })
    }

    /// The socket it is connected to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and waits for the answer, and takes it apart.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask<T: DeserializeOwned>(&mut self, query: &Query) -> Result<T, AskError> {
        let request = request(&query.sent()?)?;
        let Client { sender, runtime, .. } = self;
        runtime.block_on(async {
            let answer = answered(sender.send_request(request).await?).await?;
            Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
        })
    }

    /// Asks for [`Query::Follow`].
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn follow(mut self, query: &Query) -> Result<Events, AskError> {
        let request = request(&query.sent()?)?;
        let Client { sender, runtime, .. } = &mut self;
        let answer = runtime.block_on(async { answered(sender.send_request(request).await?).await })?;
        Ok(Events { body: answer.into_body(), rest: Vec::new(), client: self })
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
