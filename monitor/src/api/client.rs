//! The asker's side.

use super::protocol::{Answer, Failure, Query};
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
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
    Broken(#[from] io::Error),
    /// The answer is not understood.
    #[error("the monitor's answer is not understood ({0}): use the program of the same version")]
    NotUnderstood(#[from] serde_json::Error),
    /// The daemon said no.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Lines of an answer, as they come.
pub type Lines = io::Lines<BufReader<UnixStream>>;

impl Client {
    /// Connects to the daemon.
    ///
    /// # Errors
    /// [`AskError::NoDaemon`] or [`AskError::NotAllowed`].
    pub fn connect(socket: &Path) -> Result<Client, AskError> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Client { socket: socket.to_owned(), stream: BufReader::new(stream) }),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(AskError::NotAllowed(socket.to_owned()))
            }
            Err(source) => Err(AskError::NoDaemon { socket: socket.to_owned(), source }),
        }
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
        self.send(query)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match serde_json::from_str(&line)? {
            Answer::Ok(answer) => Ok(answer),
            Answer::Error(failure) => Err(failure.into()),
        }
    }

    /// Asks for many lines.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask_lines(mut self, query: &Query) -> Result<Lines, AskError> {
        self.send(query)?;
        Ok(self.stream.lines())
    }

    fn send(&mut self, query: &Query) -> Result<(), AskError> {
        let mut line = serde_json::to_vec(query)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        Ok(())
    }
}
