//! The daemon: a sampler for every target, the journal, and the API.

mod reload;
mod stop;
mod watch;

use crate::api::{ListenError, Remote, RemoteError, Server, TargetHandle};
use crate::clock::SystemClock;
use crate::config::{Config, ConfigError};
use crate::journal::{Journal, OpenError};
use crate::knowledge::Statuses;
use crate::link::{Connector, LinkError, SessionLinker};
use crate::peers::{Peers, PeersError};
use crate::recorder::{self, Recorder};
use crate::rounds;
use crate::sampler::Sampler;
use backdoors_continuation_box::descriptors::make_room as make_room_for_descriptors;
use backdoors_rdma::handshake::{Identity, IdentityError};
use backdoors_rdma::realtime::lock_used_memory;
use backdoors_rdma::supervisor::{self, Pulse};
use reload::{Hangups, Reloader};
use std::path::Path;
use std::sync::Arc;

/// Handshakes that may be under way at once.
const CONNECTING_AT_ONCE: usize = 16;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The identity cannot be used.
    #[error("identity: {0}; `backdoors keys new` makes one")]
    Identity(#[from] IdentityError),
    /// A target's certificate cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// There is no recording.
    #[error(transparent)]
    Recorder(#[from] recorder::OpenError),
    /// Peers cannot be asked and answered.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// There is no API.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Nobody of another machine can ask.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The system failed.
    #[error("the system gives no thread or no connection: {0}; `backdoors doctor` shows the limits")]
    System(#[from] std::io::Error),
}

/// Runs the daemon until a signal ends it: on SIGTERM or SIGINT it gives its leases up first. On SIGHUP it reads `path`
/// again, which is where `config` is from.
///
/// # Errors
/// See [`DaemonError`]. Before [`DaemonError::System`] nothing was begun.
pub fn run(config: Config, path: &Path) -> Result<std::convert::Infallible, DaemonError> {
    let hangups = Hangups::watch()?;
    if let Err(error) = lock_used_memory() {
        tracing::warn!(%error, "the monitor's memory is not locked: it may be late when memory is short here");
    }
    let identity = Identity::load(&config.identity, &config.name)?;
    let journal = Journal::open(&config.journal, config.journal_bytes)?;
    let connector = Connector::start(CONNECTING_AT_ONCE)?;
    if config.targets.iter().any(|target| !target.services.is_empty()) {
        make_room();
    }
    let (mut targets, mut samplers) = (Vec::new(), Vec::new());
    for target in config.targets {
        let linker = SessionLinker::new(&target, identity.clone(), connector.clone())?;
        let to_journal = journal.clone();
        let tell = Box::new(move |entry| to_journal.add(entry));
        let mut sampler = Sampler::new(target.clone(), Box::new(linker), Box::new(SystemClock), tell)?;
        if let Some(folder) = &config.recorder {
            sampler = sampler.recorded_by(Recorder::open(folder, &target.name, config.recorder_bytes)?);
        }
        targets.push(target);
        samplers.push(sampler);
    }
    let server = Server::bind(&config.socket)?;
    let remote = config.api.as_ref().map(|api| Remote::bind(&identity, api)).transpose()?;
    let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
    let statuses = Statuses::new(names.iter().cloned().zip(samplers.iter().map(Sampler::status)));
    let peers = Peers::start(&identity, config.listen, &config.peers, &names, Arc::new(statuses))?;
    let consulting = |sampler: Sampler| sampler.consulting(Box::new(peers.opinions()));
    let (round, askers) = (Pulse::default(), Pulse::default());
    let attendants = rounds::start(samplers.into_iter().map(consulting).collect(), round.clone())?;
    watch::start(attendants.clone(), round, askers.clone())?;
    stop::on_signals(attendants.clone(), journal.clone(), config.socket.clone())?;
    let named = names.into_iter().zip(attendants.iter().cloned()).collect();
    let admission = remote.as_ref().map(Remote::admission);
    let reloader =
        Arc::new(Reloader::new(path.to_owned(), config.written, named, admission, journal.clone()));
    hangups.reload(Arc::clone(&reloader))?;
    let server = server.answering(remote).reloading(Box::new(move || Ok(reloader.reload()?))).beating(askers);
    let targets: Vec<TargetHandle> = targets
        .into_iter()
        .zip(attendants)
        .map(|(target, attendant)| TargetHandle::new(target, attendant))
        .collect();
    tracing::info!("looking after {} targets, listening on {}", targets.len(), config.socket.display());
    supervisor::ready(&format!("looking after {} targets", targets.len()));
    Ok(server.serve(targets, peers.opinions(), journal)?)
}

/// Room for the sessions of a target that is recovered.
fn make_room() {
    /// More of them cost a pause each time their number doubles.
    const SESSIONS: u64 = 4096;
    match make_room_for_descriptors(SESSIONS, std::io::stdin()) {
        Ok(None) => {}
        Ok(Some(most)) => tracing::warn!(
            most,
            "no more sessions than that can be recovered at once: raise the monitor's limit of open files (LimitNOFILE)"
        ),
        Err(error) => {
            tracing::warn!(%error, "there may be no room for the descriptors of many recovered sessions")
        }
    }
}
