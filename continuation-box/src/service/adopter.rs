//! Handing sessions that were recovered from another node to the server that goes on with them.

use crate::resume::Resumption;
use crate::snapshot::Shape;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// Why a session was not handed over. Nothing was changed: no box is taken for it, and its socket is not held.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Nobody answers there.
    #[error(
        "no agent at {path}: {source}; start backdoors-agent with `service_socket` set to that path, and retry"
    )]
    NoAgent {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The agent refused.
    #[error("the agent refused: {reason}")]
    Refused {
        /// What it says, and what may help.
        reason: String,
        /// Whether the same may be taken later.
        retry_helps: bool,
    },
    /// The agent is gone. It drops, silently, what was offered and not begun; connect anew and offer again.
    #[error("the agent is gone: {0}; connect anew and offer again")]
    Lost(#[from] io::Error),
}

/// A connection to the agent of this machine, over which recovered sessions of one service are handed to its server.
#[derive(Debug)]
pub struct Adopter {
    shape: Shape,
}

/// A session that the agent has a box for, and whose socket it holds. The server has not heard of it.
#[derive(Debug)]
#[must_use = "a session that is not begun is dropped when its adopter is"]
pub struct Offered {
    index: u32,
}

impl Adopter {
    /// Connects to the agent that listens at `socket`.
    ///
    /// # Errors
    /// [`AdoptError`]: refused if there is no such service, or if no server of it is attached.
    pub fn connect(socket: &Path, _service: &str) -> Result<Adopter, AdoptError> {
        let source = io::Error::from(io::ErrorKind::Unsupported);
        Err(AdoptError::NoAgent { path: socket.into(), source })
    }

    /// The shape of the boxes here.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Takes a box for a session, whose old one of shape `old` had these bytes, and has the agent hold its socket, which is
    /// still silent. The server hears nothing yet.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub fn offer(
        &mut self,
        _old: Shape,
        _old_box: &[u8],
        _plan: &Resumption,
        _cookie: u64,
        _socket: BorrowedFd<'_>,
    ) -> Result<Offered, AdoptError> {
        Err(AdoptError::Lost(io::Error::from(io::ErrorKind::Unsupported)))
    }

    /// The connection speaks: the server gets it. The kernel took `written` of the plan's unsent bytes when it was
    /// resumed; the server's library writes the rest before anything else.
    ///
    /// # Errors
    /// [`AdoptError`].
    pub fn begin(&mut self, offered: Offered, _written: u64) -> Result<(), AdoptError> {
        let _ = offered.index;
        Err(AdoptError::Lost(io::Error::from(io::ErrorKind::Unsupported)))
    }
}
