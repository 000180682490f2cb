//! Where a daemon is asked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::ClientConfig;

/// Where a daemon is asked.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Its socket on this machine.
    Socket(PathBuf),
    /// A daemon of another machine.
    Remote(Remote),
}

/// A daemon of another machine, over mutual TLS.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Host and port where it listens. Resolved anew for every connection.
    pub address: String,
    /// Proves who asks, and has the daemon prove who it is. No name is shown or looked for.
    pub tls: Arc<ClientConfig>,
}

impl From<&Path> for Endpoint {
    fn from(socket: &Path) -> Endpoint {
        Endpoint::Socket(socket.to_owned())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Socket(socket) => socket.display().fmt(formatter),
            Endpoint::Remote(remote) => formatter.write_str(&remote.address),
        }
    }
}
