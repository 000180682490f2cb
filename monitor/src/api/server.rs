//! The daemon's side. Whatever comes over the socket, the samplers go on.

use super::audit::AuditAnswer;
use super::events::{Wish, events};
use super::healing::HealAnswer;
use super::offering::OffersAnswer;
use super::ordering::Asked;
use super::peers::PeerSummary;
use super::protocol::{Answer, ErrorKind, Failure, HealersAnswer, MOST_REQUEST_BYTES, Query, ReloadAnswer};
use super::views::TargetHandle;
use crate::clock::{Clock, SystemClock};
use crate::config::LONGEST_GRACE;
use crate::journal::Journal;
use crate::peers::Opinions;
use crate::recovery::{Report, Terms};
use crate::sampler::{Enlisted, Offers, Order, RecoverOrder, Rejection, Request, Wanted};
use backdoors_healers::Repair;
use backdoors_sensor_box::ProcessView;
use rustix::fs::Mode;
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Askers served at once.
const MOST_CONNECTIONS: usize = 32;
/// Longest wait for a request to arrive, and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a sampler's answer besides what it needs for the work itself.
const SAMPLER_PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for the end of a recovery.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(120);
/// Most lines of the past in one answer.
const MOST_LINES: usize = 100_000;

/// The daemon's API.
pub struct Server {
    listener: UnixListener,
    reload: Option<Reload>,
}

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<ReloadAnswer, Failure> + Send + Sync>;

struct Shared {
    targets: Vec<TargetHandle>,
    opinions: Opinions,
    journal: Journal,
    connections: AtomicUsize,
    reload: Option<Reload>,
}

/// Why the API is not offered.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another monitor already listens on {0}: stop it, or give this one another `socket`")]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{0} exists and is no socket: remove it, or give another `socket`")]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot listen on {path}: {source}")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Server {
    /// Listens on `path`, for this user alone. A socket that a dead daemon left behind is replaced. Call it before
    /// other threads create files: the mask for new files is changed for a moment.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Server, ListenError> {
        Ok(Server { listener: bind(path)?, reload: None })
    }

    /// Has the configuration read again by this when somebody asks for it.
    #[must_use]
    pub fn reloading(mut self, reload: Reload) -> Server {
        self.reload = Some(reload);
        self
    }

    /// Serves for ever, each asker in a thread of its own.
    pub fn serve(self, targets: Vec<TargetHandle>, opinions: Opinions, journal: Journal) -> ! {
        let Server { listener, reload } = self;
        let shared = Shared { targets, opinions, journal, connections: AtomicUsize::new(0), reload };
        let shared = Arc::new(shared);
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                // The asker hung up, or file descriptors are short for the moment.
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let shared = Arc::clone(&shared);
            if shared.connections.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                shared.connections.fetch_sub(1, Ordering::Relaxed);
                let busy = Failure {
                    kind: ErrorKind::Busy,
                    message: format!("the monitor already serves {MOST_CONNECTIONS} askers; try again later"),
                };
                drop(stream.set_write_timeout(Some(Duration::from_millis(100))));
                drop(send(&mut &stream, &Answer::<()>::Error(busy)));
                continue;
            }
            let serving = Arc::clone(&shared);
            let spawned = std::thread::Builder::new().name("api".into()).spawn(move || {
                if let Err(error) = converse(&serving, &stream) {
                    tracing::debug!("an asker was lost: {error}");
                }
                serving.connections.fetch_sub(1, Ordering::Relaxed);
            });
            if let Err(error) = spawned {
                shared.connections.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!("no thread for an asker: {error}");
            }
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

fn bind(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Failed { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // The socket must never be open to others, not even between its creation and a chmod.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener.map_err(failed)
}

fn send<T: Serialize>(stream: &mut impl Write, answer: &Answer<T>) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Answers one request after the other, until the asker hangs up or errs.
fn converse(shared: &Shared, stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(MOST_REQUEST_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.len() > MOST_REQUEST_BYTES {
            let message = format!("a request has at most {MOST_REQUEST_BYTES} bytes");
            return send(&mut &*stream, &Answer::<()>::Error(bad_request(message)));
        }
        match serde_json::from_slice(&line) {
            Ok(query) => answer(shared, stream, query)?,
            Err(error) => {
                let message = format!("not a request: {error}");
                send(&mut &*stream, &Answer::<()>::Error(bad_request(message)))?;
            }
        }
    }
}

fn bad_request(message: String) -> Failure {
    Failure { kind: ErrorKind::BadRequest, message }
}

fn reply<T: Serialize>(mut stream: &UnixStream, result: Result<T, Failure>) -> io::Result<()> {
    match result {
        Ok(answer) => send(&mut stream, &Answer::Ok(answer)),
        Err(failure) => send(&mut stream, &Answer::<T>::Error(failure)),
    }
}

fn answer(shared: &Shared, stream: &UnixStream, query: Query) -> io::Result<()> {
    let now = SystemClock.monotonic();
    match query {
        Query::Targets => {
            let summaries: Vec<_> = shared.targets.iter().map(|target| target.summary(now)).collect();
            reply(stream, Ok(summaries))
        }
        Query::Peers => {
            let standings = shared.opinions.standings().into_iter();
            let peers: Vec<_> = standings.map(|standing| PeerSummary::of(standing, now)).collect();
            reply(stream, Ok(peers))
        }
        Query::Sensors { target } => reply(stream, shared.target(&target).map(|target| target.sensors(now))),
        Query::Verdicts { target: Some(target) } => {
            reply(stream, shared.target(&target).map(|target| vec![target.verdicts(now)]))
        }
        Query::Verdicts { target: None } => {
            let all: Vec<_> = shared.targets.iter().map(|target| target.verdicts(now)).collect();
            reply(stream, Ok(all))
        }
        Query::Healers { target: Some(target) } => {
            reply(stream, shared.target(&target).map(|target| vec![target.healers()]))
        }
        Query::Healers { target: None } => {
            let built_in = HealersAnswer { target: None, healers: Enlisted::built_in() };
            let all: Vec<_> =
                std::iter::once(built_in).chain(shared.targets.iter().map(TargetHandle::healers)).collect();
            reply(stream, Ok(all))
        }
        Query::Reload => {
            let cannot = || bad_request("this monitor was started without a configuration file".to_owned());
            reply(stream, shared.reload.as_ref().ok_or_else(cannot).and_then(|reload| reload()))
        }
        Query::Processes { target } => reply(stream, shared.processes(&target)),
        Query::Offers { target } => {
            let told = shared
                .target(&target)
                .and_then(|target| Ok(OffersAnswer::new(&target.config.name, offers(target)?)));
            reply(stream, told)
        }
        Query::Audit { target, last } => reply(stream, shared.audit(&target, last)),
        Query::Heal { target, subject, deed, grace_ns, dry_run, most_victims } => {
            let healed = shared.target(&target).and_then(|target| {
                let asked =
                    Asked { subject: &subject, deed: &deed, has_grace: grace_ns > 0, dry_run, most_victims };
                let command = target.command(&asked, || fresh_processes(target), || offers(target))?;
                let grace = Duration::from_nanos(grace_ns).min(LONGEST_GRACE);
                order(target, Wanted::Command { command, grace }, asker(stream))
            });
            reply(stream, healed)
        }
        Query::Sessions { target } => {
            let sessions = shared.target(&target).and_then(|target| read_now(target, Request::Sessions));
            reply(stream, sessions)
        }
        Query::Recover { target, dry_run, without_fence, after_another } => {
            let terms = Terms { dry_run, without_fence, after_another };
            reply(stream, shared.target(&target).and_then(|target| recover(target, terms, asker(stream))))
        }
        Query::Proposals { target: Some(target) } => {
            reply(stream, shared.target(&target).map(|target| target.proposals(now)))
        }
        Query::Proposals { target: None } => {
            let all: Vec<_> = shared.targets.iter().flat_map(|target| target.proposals(now)).collect();
            reply(stream, Ok(all))
        }
        Query::Approve { target, id, dry_run } => {
            let approved = shared
                .target(&target)
                .and_then(|target| order(target, Wanted::Proposal { id, dry_run }, asker(stream)));
            reply(stream, approved)
        }
        Query::Reject { target, id } => {
            let rejected = shared.target(&target).and_then(|target| {
                let (sender, receiver) = sync_channel(1);
                let rejection = Rejection { id, by: asker(stream), reply: sender };
                hand_over(target, Request::Reject(rejection))?;
                receiver.recv_timeout(SAMPLER_PATIENCE).map_err(|_| no_answer(target))?.map_err(Failure::from)
            });
            reply(stream, rejected)
        }
        Query::Events { target, lines, follow, audit } => {
            if let Some(name) = &target
                && let Err(failure) = shared.target(name)
            {
                return reply::<()>(stream, Err(failure));
            }
            let wish = Wish::new(target.as_deref(), audit);
            events(&shared.journal, stream, &wish, lines.min(MOST_LINES), follow)
        }
    }
}

impl Shared {
    fn target(&self, name: &str) -> Result<&TargetHandle, Failure> {
        self.targets.iter().find(|target| target.config.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.targets.iter().map(|target| target.config.name.as_str()).collect();
            let message = format!("no target is called `{name}`; there are: {}", names.join(", "));
            Failure { kind: ErrorKind::UnknownTarget, message }
        })
    }

    fn processes(&self, name: &str) -> Result<super::ProcessesAnswer, Failure> {
        let target = self.target(name)?;
        Ok(target.processes(&read_now(target, Request::Processes)?))
    }

    fn audit(&self, name: &str, last: Option<usize>) -> Result<AuditAnswer, Failure> {
        let target = self.target(name)?;
        Ok(AuditAnswer::of(name, &read_now(target, Request::Audit)?, last))
    }
}

/// Has something of a target read, and waits for it.
fn read_now<T>(
    target: &TargetHandle,
    request: impl FnOnce(SyncSender<Result<T, String>>) -> Request,
) -> Result<T, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, request(sender))?;
    let read = receiver.recv_timeout(SAMPLER_PATIENCE).map_err(|_| no_answer(target))?;
    read.map_err(|message| Failure { kind: ErrorKind::Unreachable, message })
}

fn fresh_processes(target: &TargetHandle) -> Result<ProcessView, Failure> {
    read_now(target, Request::Processes)
}

fn offers(target: &TargetHandle) -> Result<Offers, Failure> {
    read_now(target, Request::Offers)
}

/// Hands an order over and waits for its end.
fn order(target: &TargetHandle, wanted: Wanted, by: String) -> Result<HealAnswer, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, Request::Order(Order { wanted, by, reply: sender }))?;
    // Another treatment may be under way, and either may be of several commands, with as many notices, and others for who
    // lost its parent.
    let commands = u32::try_from(3 * Repair::MOST).unwrap_or(u32::MAX);
    let patience = target.config.patience.saturating_mul(2 * commands) + 2 * LONGEST_GRACE + SAMPLER_PATIENCE;
    let reply = receiver.recv_timeout(patience).map_err(|_| no_answer(target))??;
    target.healed(&reply).ok_or_else(|| no_answer(target))
}

/// Has sessions recovered, and waits for the end.
fn recover(target: &TargetHandle, terms: Terms, by: String) -> Result<Report, Failure> {
    let (sender, receiver) = sync_channel(1);
    hand_over(target, Request::Recover(RecoverOrder { terms, by, reply: Some(sender) }))?;
    Ok(receiver.recv_timeout(RECOVERY_PATIENCE).map_err(|_| no_answer(target))??)
}

/// Who asks, as the kernel says.
fn asker(stream: &UnixStream) -> String {
    match rustix::net::sockopt::socket_peercred(stream) {
        Ok(credentials) => format!("user {} with the command line", credentials.uid.as_raw()),
        Err(_) => "somebody with the command line".to_owned(),
    }
}

fn hand_over(target: &TargetHandle, request: Request) -> Result<(), Failure> {
    if target.attendant.request(request) {
        return Ok(());
    }
    let message = format!("too many requests wait for target `{}`; try again later", target.config.name);
    Err(Failure { kind: ErrorKind::Busy, message })
}

fn no_answer(target: &TargetHandle) -> Failure {
    let message =
        format!("no answer about target `{}` in time; `backdoors events` may tell more", target.config.name);
    Failure { kind: ErrorKind::Unreachable, message }
}
