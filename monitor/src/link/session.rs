//! Links over an RDMA session.

use super::connector::Connector;
use super::{Link, LinkError, Linker, Region, failure};
use crate::config::{ProviderName, TargetConfig};
use crate::judge::Failure;
use backdoors_rdma::directory::FetchDirectoryError;
use backdoors_rdma::handshake::{Certificate, HandshakeError, Identity};
use backdoors_rdma::{
    AccessError, DialError, OpenError, Operation, Provider, RemoteRange, Request, Session, SessionConfig,
    Ticket,
};
use backdoors_sensor_box::CommandKey;
use std::net::ToSocketAddrs;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

/// A session as a link.
#[derive(Debug)]
pub struct SessionLink(Session);

impl SessionLink {
    /// Wraps an open session.
    #[must_use]
    pub fn new(session: Session) -> SessionLink {
        SessionLink(session)
    }
}

impl Link for SessionLink {
    fn slot(&self) -> u32 {
        self.0.slot()
    }

    fn command_key(&self) -> CommandKey {
        CommandKey::from_bytes(self.0.secret().bytes())
    }

    fn connections(&self) -> usize {
        self.0.healthy()
    }

    fn region(&self, kind: u32) -> Option<Region> {
        let region = self.0.region(kind)?;
        Some(Region { range: region.range, generation: region.generation })
    }

    fn kinds(&self) -> Vec<u32> {
        self.0.directory().regions().iter().map(|region| region.kind).collect()
    }

    fn directory_sequence(&self) -> Option<(RemoteRange, u64)> {
        Some((self.0.directory_sequence()?, self.0.directory().sequence()))
    }

    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<Ticket, AccessError> {
        self.0.start(request, deadline)
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Option<(Ticket, Result<(), AccessError>)> {
        self.0.poll(bytes)
    }

    fn watch(&self, each: &mut dyn FnMut(BorrowedFd<'_>)) {
        self.0.readiness().for_each(each);
    }

    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        self.0.submit(batch)
    }

    fn submit_all(&mut self, batches: Vec<Vec<Operation<'_>>>) -> Result<(), AccessError> {
        self.0.submit_all(batches)
    }

    fn refresh(&mut self) -> Result<(), LinkError> {
        self.0
            .refresh_directory()
            .map_err(|error| LinkError { reason: error.to_string(), failure: directory_failure(&error) })
    }
}

/// Opens sessions with one target.
#[derive(Debug)]
pub struct SessionLinker {
    address: String,
    config: SessionConfigParts,
    connector: Connector,
    opening: Option<Receiver<Result<Session, LinkError>>>,
}

#[derive(Clone, Debug)]
struct SessionConfigParts {
    target_certificate: Certificate,
    identity: Identity,
    provider: Provider,
    connections: usize,
    deadline: Duration,
}

impl SessionLinker {
    /// A linker for the target of `config`, as `identity`, whose handshakes wait on the threads of `connector`.
    ///
    /// # Errors
    /// If the target's certificate cannot be read; the configuration must be corrected.
    pub fn new(
        config: &TargetConfig,
        identity: Identity,
        connector: Connector,
    ) -> Result<SessionLinker, LinkError> {
        let target_certificate = Certificate::load(&config.certificate)
            .map_err(|error| wrong(format!("target `{}`: {error}", config.name)))?;
        let provider = match config.provider {
            ProviderName::Emulated => Provider::Emulated,
            ProviderName::Verbs => Provider::Verbs { device: config.device.clone() },
        };
        Ok(SessionLinker {
            address: config.address.clone(),
            config: SessionConfigParts {
                target_certificate,
                identity,
                provider,
                connections: config.connections,
                deadline: config.deadline,
            },
            connector,
            opening: None,
        })
    }
}

impl Linker for SessionLinker {
    fn begin(&mut self) {
        let (sender, receiver) = sync_channel(1);
        let (address, parts) = (self.address.clone(), self.config.clone());
        self.opening = Some(receiver);
        self.connector.run(Box::new(move || drop(sender.send(open(&address, parts)))));
    }

    fn finished(&mut self) -> Option<Result<Box<dyn Link>, LinkError>> {
        let finished = match self.opening.as_ref()?.try_recv() {
            Ok(Ok(session)) => Ok(Box::new(SessionLink::new(session)) as Box<dyn Link>),
            Ok(Err(error)) => Err(error),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(wrong("the thread that connects is gone".to_owned())),
        };
        self.opening = None;
        Some(finished)
    }
}

fn open(address: &str, parts: SessionConfigParts) -> Result<Session, LinkError> {
    let failed = |error: std::io::Error| wrong(format!("cannot resolve {address}: {error}"));
    let socket_address = address
        .to_socket_addrs()
        .map_err(failed)?
        .next()
        .ok_or_else(|| wrong(format!("{address} has no address")))?;
    let SessionConfigParts { target_certificate, identity, provider, connections, deadline } = parts;
    let config = SessionConfig {
        address: socket_address,
        target_certificate,
        identity,
        provider,
        connections,
        deadline,
    };
    Session::open(&config)
        .map_err(|error| LinkError { reason: error.to_string(), failure: open_failure(&error) })
}

/// Something on this machine, which says nothing of the target.
fn wrong(reason: String) -> LinkError {
    LinkError { reason, failure: Failure::NotAsked }
}

fn open_failure(error: &OpenError) -> Failure {
    match error {
        OpenError::Handshake(HandshakeError::Unreachable(error)) => silent_or_closed(error),
        OpenError::Handshake(HandshakeError::Identity(_)) => Failure::NotAsked,
        OpenError::Handshake(HandshakeError::Protocol(_)) => Failure::Damaged,
        OpenError::Handshake(_) | OpenError::Owner(_) => Failure::Refused,
        OpenError::Dial(DialError::Unreachable(error)) => silent_or_closed(error),
        OpenError::Dial(DialError::Device(_) | DialError::Mismatch(_)) => Failure::NotAsked,
        OpenError::Dial(DialError::Refused) => Failure::Refused,
        OpenError::Directory(error) => directory_failure(error),
    }
}

fn silent_or_closed(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => Failure::Closed,
        _ => Failure::Silent,
    }
}

fn directory_failure(error: &FetchDirectoryError) -> Failure {
    match error {
        FetchDirectoryError::Access(error) => failure(error),
        FetchDirectoryError::Directory(_) => Failure::Damaged,
    }
}
