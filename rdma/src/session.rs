//! A monitor's session with a target: the handshake, the connections it was given, and the directory.

use crate::access::{AccessError, Operation, RemoteRange, Request};
use crate::dial::{DialError, Dialer};
use crate::directory::{Directory, FetchDirectoryError, Region};
use crate::emulated;
use crate::handshake::{self, Certificate, HandshakeError, Hello, Identity, ProviderKind, Secret, Welcome};
use crate::owner::Admission;
use crate::pool::{Pool, Ticket};
use crate::verbs::VerbsDialer;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Longest time to reach the target, and again to be admitted by it. It is healthy then, or there is no session.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// How a monitor reaches memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Over TCP, from the target's emulated NIC.
    Emulated,
    /// Over an RDMA NIC.
    Verbs {
        /// The device's name, as `rdma link` shows it; the first one if none is given.
        device: Option<String>,
    },
}

/// What a session needs to know beforehand.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where the target's agent shakes hands.
    pub address: SocketAddr,
    /// The certificate the target must show.
    pub target_certificate: Certificate,
    /// Who this monitor is.
    pub identity: Identity,
    /// How to reach memory.
    pub provider: Provider,
    /// Connections to set up: each carries one request at a time, and each failure takes one. 3 is a good number.
    pub connections: usize,
    /// Longest time for one batch. Take it from the detection deadline: a target is called unreachable after it, so
    /// shorter detects sooner and lets a slow network look like a dead host.
    pub deadline: Duration,
}

/// An open session. After the handshake it needs nothing of the target but its NIC.
///
/// Its connections are made in advance. A failure ends the connection it happened on; the next request takes another.
/// Requests that are started go over different connections, so one that is lost holds up no other.
pub struct Session {
    target: String,
    admission: Admission,
    secret: Secret,
    pool: Pool,
    directory: Directory,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("target", &self.target)
            .field("slot", &self.slot())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Shakes hands with the target, connects to its memory and reads its directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: &SessionConfig) -> Result<Session, OpenError> {
        let (mut dialer, provider): (Box<dyn Dialer>, ProviderKind) = match &config.provider {
            Provider::Emulated => {
                let dialer = emulated::Dialer::new(config.deadline, Some(config.address.ip()));
                (Box::new(dialer), ProviderKind::Emulated)
            }
            Provider::Verbs { device } => {
                let dialer =
                    VerbsDialer::open(device.as_deref(), config.deadline).map_err(DialError::Device)?;
                (Box::new(dialer), ProviderKind::Verbs)
            }
        };
        Session::open_with(dialer.as_mut(), config.connections, |endpoints| {
            let hello = Hello { version: handshake::VERSION, provider, endpoints };
            let certificate = &config.target_certificate;
            Ok(handshake::request(config.address, &config.identity, certificate, &hello, HANDSHAKE_TIME)?)
        })
    }

    /// Opens a session over any provider, admitted in any way: `admit` hands the endpoints to the target.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        dialer: &mut dyn Dialer,
        connections: usize,
        admit: impl FnOnce(Vec<crate::owner::Endpoint>) -> Result<Welcome, OpenError>,
    ) -> Result<Session, OpenError> {
        let endpoints = dialer.prepare(connections)?;
        let Welcome { target, admission, secret } = admit(endpoints)?;
        let connections = dialer.connect(&admission.endpoints)?;
        if connections.is_empty() {
            return Err(DialError::Mismatch("there are none").into());
        }
        let pool = Pool::new(connections);
        let mut session = Session { target, admission, secret, pool, directory: Directory::default() };
        session.refresh_directory()?;
        Ok(session)
    }

    /// Opens the session anew, with fresh connections; for when the old ones are used up or the target restarted.
    ///
    /// # Errors
    /// See [`OpenError`]; then the old connections are kept, but the target may have ended them.
    pub fn reopen(&mut self, config: &SessionConfig) -> Result<(), OpenError> {
        *self = Session::open(config)?;
        Ok(())
    }

    /// The target's name for itself.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// This monitor's slot on the target.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.admission.slot
    }

    /// What the target gave this session, and nobody else.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Connections that no failure ended.
    #[must_use]
    pub fn healthy(&self) -> usize {
        self.pool.healthy()
    }

    /// The region of this kind, as the directory said when it was last read.
    #[must_use]
    pub fn region(&self, kind: u32) -> Option<Region> {
        self.directory.region(kind)
    }

    /// All regions, as the directory said when it was last read.
    pub fn regions(&self) -> impl Iterator<Item = Region> {
        self.directory.regions().iter().copied()
    }

    /// The directory as it was last read.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Where the directory's sequence is; see [`Directory::sequence`].
    #[must_use]
    pub fn directory_sequence(&self) -> Option<RemoteRange> {
        Directory::sequence_in(self.admission.directory)
    }

    /// Checks that the region of this kind is still the one of `generation`, as the directory said when it was last
    /// read.
    ///
    /// # Errors
    /// [`AccessError::Gone`] if it is another (found 0: there is none any more).
    pub fn expect(&self, kind: u32, generation: u64) -> Result<Region, AccessError> {
        match self.region(kind) {
            Some(region) if region.generation == generation => Ok(region),
            other => Err(AccessError::Gone {
                expected: generation,
                found: other.map_or(0, |region| region.generation),
            }),
        }
    }

    /// Executes a batch and waits for its end, over a connection that carries nothing; if all carry a request, after
    /// one has ended, which is at its deadline at the latest. A failure ends the connection; the next call uses another.
    ///
    /// # Errors
    /// See [`AccessError`]; `Poisoned` means that no connection is left: [`Session::reopen`].
    pub fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        self.pool.connection()?.submit(batch)
    }

    /// Executes batches of which none waits for another, in no order, over all connections that carry nothing, and waits
    /// for the end of all.
    ///
    /// # Errors
    /// As [`Session::submit`], of the first one that failed; those that were not begun by then are not.
    pub fn submit_all(&mut self, batches: Vec<Vec<Operation<'_>>>) -> Result<(), AccessError> {
        self.pool.submit_all(batches)
    }

    /// Starts a request over a connection that carries nothing, and returns at once. [`Session::poll`] tells what became
    /// of it, within about `deadline`.
    ///
    /// # Errors
    /// As [`Session::submit`]; then there is nothing to poll for. `Busy` means that all connections that are left carry
    /// a request.
    pub fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<Ticket, AccessError> {
        self.pool.start(request, deadline)
    }

    /// A request that ended, and how; `None` if none has. Ended well, `bytes` is what was read, in place of what it held
    /// before. Call it until there is none, when a deadline passes too: only this notices that.
    ///
    /// # Errors
    /// As [`crate::Connection::poll`].
    pub fn poll(&mut self, bytes: &mut Vec<u8>) -> Option<(Ticket, Result<(), AccessError>)> {
        self.pool.poll(bytes)
    }

    /// What becomes readable when [`Session::poll`] may have news: one for each connection, the same as long as the
    /// session is open. See [`crate::Connection::readiness`].
    pub fn readiness(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pool.readiness()
    }

    /// Reads `into.len()` bytes.
    ///
    /// # Errors
    /// As [`Session::submit`].
    pub fn read(&mut self, from: RemoteRange, into: &mut [u8]) -> Result<(), AccessError> {
        self.pool.connection()?.read(from, into)
    }

    /// Reads the directory again.
    ///
    /// # Errors
    /// See [`FetchDirectoryError`]; then the one read before stays.
    pub fn refresh_directory(&mut self) -> Result<(), FetchDirectoryError> {
        let range = self.admission.directory;
        self.directory = Directory::fetch(self.pool.connection()?, range)?;
        Ok(())
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The target did not admit this monitor.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The target's NIC cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The target's directory cannot be read.
    #[error("the target's directory cannot be read: {0}")]
    Directory(#[from] FetchDirectoryError),
    /// The owner did not admit this monitor.
    #[error(transparent)]
    Owner(#[from] crate::owner::OwnerError),
}
