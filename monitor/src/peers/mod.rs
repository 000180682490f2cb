//! Second views: what other monitors say of the same targets.
//!
//! A monitor that cannot read a target cannot tell a dead path from a dead host by itself; one that reaches the target
//! by another path can. Monitors that are configured as each other's peers hold conversations, authenticated both ways:
//! each asks all others once a second about all its targets, and at once about one that becomes suspect.
//!
//! `asking`, `answering`, `allowance`, `backoff` and `protocol` decide and do no I/O; `caller` and `listener` are the
//! threads around them.

mod allowance;
mod answering;
mod asking;
mod backoff;
mod caller;
pub mod config;
mod listener;
mod opinion;
mod opinions;
mod peer;
mod protocol;

pub(crate) use allowance::Allowance;
pub use config::{PeerConfig, PeerConfigError};
pub use opinion::{Answered, Knowledge, Opinion};
pub use opinions::Opinions;
pub use peer::{PeerReach, Standing};

use backdoors_rdma::handshake::{AcceptError, Acceptor, Certificate, Identity, IdentityError};
use listener::Listener;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// The conversations with all peers. They end when it is dropped.
#[derive(Debug)]
pub struct Peers {
    opinions: Opinions,
    _listener: Option<Listener>,
}

/// Why peers are not asked and answered. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// A peer's certificate cannot be read.
    #[error("peer `{peer}`: {source}")]
    Certificate {
        /// The peer.
        peer: String,
        /// Why.
        source: IdentityError,
    },
    /// A certificate does not tell who shows it.
    #[error("peer `{peer}` has the certificate of {other}: give each monitor keys of its own")]
    SameCertificate {
        /// The peer.
        peer: String,
        /// Who else has it.
        other: String,
    },
    /// The own identity cannot be used.
    #[error("peers cannot be answered: {0}")]
    Identity(#[from] AcceptError),
    /// The address cannot be listened on.
    #[error("cannot listen for peers on {address}: {source}; correct `listen`, or stop who holds it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system gives no threads.
    #[error("no thread for the peers: {0}")]
    System(#[source] io::Error),
}

impl Peers {
    /// Asks `peers` about `targets`, as `identity`, from now on, and answers them from `knowledge` if they are to be
    /// listened for.
    ///
    /// # Errors
    /// See [`PeersError`].
    pub fn start(
        identity: &Identity,
        listen: Option<SocketAddr>,
        peers: &[PeerConfig],
        targets: &[String],
        knowledge: Arc<dyn Knowledge>,
    ) -> Result<Peers, PeersError> {
        let bind =
            |address| TcpListener::bind(address).map_err(|source| PeersError::Listen { address, source });
        let socket = listen.map(bind).transpose()?;
        Peers::start_on(identity, socket, peers, targets, knowledge)
    }

    fn start_on(
        identity: &Identity,
        socket: Option<TcpListener>,
        peers: &[PeerConfig],
        targets: &[String],
        knowledge: Arc<dyn Knowledge>,
    ) -> Result<Peers, PeersError> {
        let certificates = certificates(identity, peers)?;
        let opinions =
            Opinions::new(targets, peers.iter().map(|peer| (peer.name.clone(), peer.address.clone())));
        let known: Vec<(String, Certificate)> =
            peers.iter().map(|peer| peer.name.clone()).zip(certificates.iter().cloned()).collect();
        let acceptor = Acceptor::new(identity, known)?;
        if socket.is_some() && peers.is_empty() {
            tracing::warn!("nobody may ask this monitor: list its peers, or leave `listen` out");
        }
        // From here on it cleans up after itself.
        let mut started = Peers { opinions, _listener: None };
        for (peer, certificate) in started.opinions.peers().iter().zip(certificates) {
            caller::start(Arc::clone(peer), identity.clone(), certificate).map_err(PeersError::System)?;
        }
        if let Some(socket) = socket {
            let peers = started.opinions.peers().to_vec();
            let listener = Listener::start(socket, acceptor, peers, knowledge);
            started._listener = Some(listener.map_err(PeersError::System)?);
        }
        Ok(started)
    }

    /// What the peers say.
    #[must_use]
    pub fn opinions(&self) -> Opinions {
        self.opinions.clone()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in self.opinions.peers() {
            peer.end();
        }
    }
}

/// The peers' certificates, which tell them apart from each other and from this monitor.
fn certificates(identity: &Identity, peers: &[PeerConfig]) -> Result<Vec<Certificate>, PeersError> {
    let mut seen: Vec<(String, Certificate)> =
        vec![("this monitor itself".to_owned(), identity.certificate().clone())];
    for peer in peers {
        let certificate = Certificate::load(&peer.certificate)
            .map_err(|source| PeersError::Certificate { peer: peer.name.clone(), source })?;
        if let Some((other, _)) = seen.iter().find(|(_, other)| *other == certificate) {
            return Err(PeersError::SameCertificate { peer: peer.name.clone(), other: other.clone() });
        }
        seen.push((format!("peer `{}`", peer.name), certificate));
    }
    Ok(seen.into_iter().skip(1).map(|(_, certificate)| certificate).collect())
}

#[cfg(test)]
mod tests;
