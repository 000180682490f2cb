//! A service's listener, which yields new connections and recovered ones alike.

use super::agent::Failure;
use super::link::Link;
use super::message::MOST_NAME;
use super::session::Session;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The variable with the path of the agent's socket.
pub const VARIABLE: &str = "BACKDOORS_SERVICES";
/// How long another server of the same service may take to be gone: one that was killed is for a moment.
const SUCCESSION: Duration = Duration::from_secs(3);

/// Why a server is not attached. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The agent refused it.
    #[error("the agent refused a server of {service:?}: {reason}")]
    Refused {
        /// The service.
        service: String,
        /// What the agent says, and what may help.
        reason: String,
        /// Whether the same may be taken later.
        retry_helps: bool,
    },
    /// A name that no service has.
    #[error("{0:?} is no name of a service: it has 1 to {MOST_NAME} bytes")]
    Name(String),
    /// The system refused a thread or a descriptor.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// A server of a service, attached to the agent of its machine. It has left, and its sessions are over, when it, its listener
/// and all of its sessions were dropped; one that ends in any other way has died, and its sessions are kept for the next.
#[derive(Debug)]
pub struct Service {
    link: Option<Arc<Link>>,
}

impl Service {
    /// Attaches this process as the server of a service to the agent whose socket the variable `BACKDOORS_SERVICES` names;
    /// without that variable it serves [alone](Service::alone).
    ///
    /// # Errors
    /// [`AttachError`]. That there is no agent is no error: the server is attached as soon as there is one, and the sessions
    /// that it accepts until then are unprotected.
    pub fn attach(service: &str) -> Result<Service, AttachError> {
        match std::env::var_os(VARIABLE) {
            Some(path) => Service::attach_at(PathBuf::from(path), service),
            None => Ok(Service::alone()),
        }
    }

    /// The same, with the path of the agent's socket.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach_at(path: impl AsRef<Path>, service: &str) -> Result<Service, AttachError> {
        if service.is_empty() || service.len() > MOST_NAME {
            return Err(AttachError::Name(service.into()));
        }
        let (link, mut failure) = Link::open(path.as_ref().into(), service.into())?;
        let deadline = Instant::now() + SUCCESSION;
        while let Some(Failure::Refused(refusal)) = failure {
            if !refusal.retry_helps || Instant::now() > deadline {
                let (reason, retry_helps) = (refusal.reason, refusal.retry_helps);
                return Err(AttachError::Refused { service: service.into(), reason, retry_helps });
            }
            std::thread::sleep(Duration::from_millis(20));
            failure = link.attach().err();
        }
        if let Some(Failure::NoAgent(error)) = failure {
            let path = path.as_ref().display();
            tracing::warn!(%path, %error, "no agent: sessions are unprotected until one comes");
        }
        link.keep_up()?;
        Ok(Service { link: Some(Arc::new(link)) })
    }

    /// A server without an agent: all sessions are plain connections.
    #[must_use]
    pub fn alone() -> Service {
        Service { link: None }
    }

    /// Accepts the connections of `listener` as sessions of this service.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self, listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        Ok(Listener { listener, link: self.link, is_nonblocking: AtomicBool::new(false) })
    }
}

/// Where sessions come from.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    link: Option<Arc<Link>>,
    is_nonblocking: AtomicBool,
}

impl Listener {
    /// The next session: one that was [recovered](Session::recovered), or a new connection. Waits for it, unless
    /// [`Listener::set_nonblocking`] says otherwise. The session's socket is in blocking mode.
    ///
    /// # Errors
    /// As [`TcpListener::accept`].
    pub fn accept(&self) -> io::Result<Session> {
        loop {
            while let Some((link, arrived)) =
                self.link.as_ref().and_then(|link| Some((link, link.next_arrived()?)))
            {
                if let Some(session) = Session::go_on(link, arrived)? {
                    return Ok(session);
                }
            }
            match self.listener.accept() {
                Ok((stream, _)) => return Session::new(self.link.as_ref(), stream),
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && !self.is_nonblocking.load(Ordering::Relaxed) =>
                {
                    self.wait()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut events: Vec<PollFd<'_>> = self
            .descriptors()
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut events, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether [`Listener::accept`] fails with `WouldBlock` rather than waits.
    pub fn set_nonblocking(&self, is_nonblocking: bool) {
        self.is_nonblocking.store(is_nonblocking, Ordering::Relaxed);
    }

    /// What is readable when there is something to be accepted: the listening socket, and what tells of recovered sessions.
    #[must_use]
    pub fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [Some(self.listener.as_fd()), self.link.as_ref().map(|link| link.bell())]
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
