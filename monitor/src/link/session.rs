//! Links over an RDMA session.

use super::{Link, LinkError, Linker, Region};
use crate::config::{ProviderName, TargetConfig};
use backdoors_rdma::directory::FetchDirectoryError;
use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::{AccessError, Operation, Provider, Session, SessionConfig};
use std::net::ToSocketAddrs;

/// A session as a link.
#[derive(Debug)]
pub struct SessionLink {
    session: Session,
    /// The connection in use failed; the next request takes a spare.
    failed: bool,
}

impl SessionLink {
    /// Wraps an open session.
    #[must_use]
    pub fn new(session: Session) -> SessionLink {
        SessionLink { session, failed: false }
    }

    fn followed<E>(&mut self, result: Result<(), E>, ends_connection: impl Fn(&E) -> bool) -> Result<(), E> {
        self.failed = result.as_ref().is_err_and(ends_connection);
        result
    }
}

fn ends_connection(error: &AccessError) -> bool {
    !matches!(error, AccessError::Invalid(_))
}

impl Link for SessionLink {
    fn slot(&self) -> u32 {
        self.session.slot()
    }

    fn connections(&self) -> usize {
        self.session.spares() + usize::from(!self.failed)
    }

    fn region(&self, kind: u32) -> Option<Region> {
        let region = self.session.region(kind)?;
        Some(Region { range: region.range, generation: region.generation })
    }

    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        let result = self.session.submit(batch);
        self.followed(result, ends_connection)
    }

    fn refresh(&mut self) -> Result<(), LinkError> {
        let result = self.session.refresh_directory();
        let result = self.followed(
            result,
            |error| matches!(error, FetchDirectoryError::Access(error) if ends_connection(error)),
        );
        result.map_err(|error| LinkError(error.to_string()))
    }
}

/// Opens sessions with one target.
#[derive(Debug)]
pub struct SessionLinker {
    address: String,
    config: SessionConfigParts,
}

#[derive(Debug)]
struct SessionConfigParts {
    target_certificate: Certificate,
    identity: Identity,
    provider: Provider,
    connections: usize,
    deadline: std::time::Duration,
}

impl SessionLinker {
    /// A linker for the target of `config`, as `identity`.
    ///
    /// # Errors
    /// If the target's certificate cannot be read; the configuration must be corrected.
    pub fn new(config: &TargetConfig, identity: Identity) -> Result<SessionLinker, LinkError> {
        let target_certificate = Certificate::load(&config.certificate)
            .map_err(|error| LinkError(format!("target `{}`: {error}", config.name)))?;
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
        })
    }
}

impl Linker for SessionLinker {
    fn open(&mut self) -> Result<Box<dyn Link>, LinkError> {
        let failed = |error: std::io::Error| LinkError(format!("cannot resolve {}: {error}", self.address));
        let address = self
            .address
            .to_socket_addrs()
            .map_err(failed)?
            .next()
            .ok_or_else(|| LinkError(format!("{} has no address", self.address)))?;
        let SessionConfigParts { target_certificate, identity, provider, connections, deadline } =
            &self.config;
        let config = SessionConfig {
            address,
            target_certificate: target_certificate.clone(),
            identity: identity.clone(),
            provider: provider.clone(),
            connections: *connections,
            deadline: *deadline,
        };
        match Session::open(&config) {
            Ok(session) => Ok(Box::new(SessionLink::new(session))),
            Err(error) => Err(LinkError(error.to_string())),
        }
    }
}
