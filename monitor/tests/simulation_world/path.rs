//! The way from one monitor to one target: latency, loss, cuts, and requests that arrive when nobody expects them any more.

use super::chance::Chance;
use super::target::Target;
use super::target::key_of;
use super::time::{MICROSECOND, MILLISECOND, MonitorClock, SECOND};
use backdoors_monitor::judge::Failure;
use backdoors_monitor::link::{Link, LinkError, Linker, SessionLink};
use backdoors_rdma::directory::{DirectoryWriter, Region};
use backdoors_rdma::handshake::{Secret, Welcome};
use backdoors_rdma::owner::{Admission, Endpoint, Rights};
use backdoors_rdma::{
    AccessError, Connection, DialError, Dialer, Limits, Operation, RemoteRange, Request, Session,
};
use backdoors_sensor_box::layout::{CommandSlot, RegionKind};
use backdoors_sensor_box::{LocalWords, SharedWords};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

const DIRECTORY_KEY: u32 = 7;
const BASE: u64 = 0x1000;

/// How a path is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weather {
    /// Requests do not arrive.
    pub requests_cut: bool,
    /// Answers do not arrive; what was asked for is done.
    pub answers_cut: bool,
    /// Readings are answered after their deadline, probes at once.
    pub slow: bool,
    /// Share of requests that come to nothing in time.
    pub loss: f64,
    /// Share of writes that arrive up to half a minute later, when their connection has long been given up.
    pub stray: f64,
}

impl Weather {
    pub const FINE: Weather =
        Weather { requests_cut: false, answers_cut: false, slow: false, loss: 0.0, stray: 0.0 };

    pub fn is_cut(&self) -> bool {
        self.requests_cut || self.answers_cut || self.slow
    }
}

/// A write on its way.
pub struct Stray {
    pub arrives: u64,
    pub writes: Vec<(RemoteRange, Written)>,
}

pub enum Written {
    Bytes(Vec<u8>),
    Swap { expected: u64, new: u64 },
}

/// What happened on a path, for the world to deal with.
#[derive(Default)]
pub struct Happenings {
    /// When answers arrive.
    pub answers: Vec<u64>,
    pub strays: Vec<Stray>,
    /// The kernel half has something to look at.
    pub wrote: bool,
}

/// One monitor's way to one target.
pub struct Path {
    pub target: Arc<Mutex<Target>>,
    pub weather: Weather,
    pub happenings: Happenings,
    slot: usize,
    directory: DirectoryWriter,
    chance: Chance,
    /// Grows when the target's memory was made anew: keys of before are dead.
    epoch: u32,
    generation: u64,
}

#[derive(Clone)]
pub struct SharedPath(Arc<Mutex<Path>>);

/// What becomes of a request.
enum Fate {
    /// It arrives, and its answer after so long.
    Answered(u64),
    /// It may arrive, but no answer comes.
    Lost { arrives: bool },
}

impl SharedPath {
    pub fn new(target: &Arc<Mutex<Target>>, slot: usize, chance: Chance) -> SharedPath {
        let (directory, _) = DirectoryWriter::create().unwrap();
        let mut path = Path {
            target: Arc::clone(target),
            weather: Weather::FINE,
            happenings: Happenings::default(),
            slot,
            directory,
            chance,
            epoch: 0,
            generation: 0,
        };
        path.serve();
        SharedPath(Arc::new(Mutex::new(path)))
    }

    pub fn lock(&self) -> MutexGuard<'_, Path> {
        self.0.lock().unwrap()
    }

    pub fn linker(&self, clock: &MonitorClock, connections: usize, nothing: &Arc<OwnedFd>) -> PathLinker {
        PathLinker {
            path: self.clone(),
            clock: clock.clone(),
            connections,
            nothing: Arc::clone(nothing),
            ready_at: None,
        }
    }
}

impl Path {
    /// Lists the target's regions as they are now.
    pub fn serve(&mut self) {
        let target = self.target.lock().unwrap();
        if self.generation == target.generation {
            return;
        }
        self.generation = target.generation;
        self.epoch += 1;
        let regions: Vec<Region> = target
            .regions
            .iter()
            .map(|(&kind, words)| {
                let writable = matches!(kind, RegionKind::COMMAND | RegionKind::LEASE);
                let length = if kind == RegionKind::COMMAND {
                    size_of::<CommandSlot>() as u64
                } else {
                    words.bytes().len() as u64
                };
                let key = self.epoch * 1000 + kind;
                Region {
                    kind,
                    range: RemoteRange { address: BASE, length, key },
                    generation: target.generation,
                    rights: if writable { Rights::Writable } else { Rights::ReadOnly },
                }
            })
            .collect();
        drop(target);
        self.directory.publish(&regions);
    }

    fn fate(&mut self, is_probe: bool, deadline: u64) -> Fate {
        let weather = self.weather;
        let latency = self.chance.between(50 * MICROSECOND, 400 * MICROSECOND);
        if self.target.lock().unwrap().is_gone() || weather.requests_cut {
            return Fate::Lost { arrives: false };
        }
        if weather.answers_cut {
            return Fate::Lost { arrives: true };
        }
        if weather.slow && !is_probe {
            return Fate::Lost { arrives: true };
        }
        if !self.chance.happens(weather.loss) {
            return Fate::Answered(latency);
        }
        // Most losses are made up for by the transport, too late; some break the connection.
        match self.chance.below(10) {
            0 => Fate::Lost { arrives: false },
            1 => Fate::Lost { arrives: true },
            _ => Fate::Answered(deadline / 2 + self.chance.below(deadline / 3)),
        }
    }

    fn execute(&mut self, now: u64, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        self.target.lock().unwrap().bring_up_to(now);
        batch.iter_mut().try_for_each(|operation| self.one(operation))
    }

    fn one(&mut self, operation: &mut Operation<'_>) -> Result<(), AccessError> {
        match operation {
            Operation::Read { from, into } if from.key == DIRECTORY_KEY => {
                let offset = from.address.checked_sub(BASE).ok_or(AccessError::Denied)?;
                let read = self.directory.memory().read_bytes(offset as usize, into);
                read.map_err(|_| AccessError::Denied)
            }
            Operation::Read { from, into } => {
                let (words, at) = self.translate(from, false)?;
                for (index, bytes) in into.chunks_exact_mut(8).enumerate() {
                    bytes.copy_from_slice(&words.load(at / 8 + index).to_le_bytes());
                }
                Ok(())
            }
            Operation::Write { to, from } => self.write(to, from),
            Operation::CompareAndSwap { at, expected, new, found } => {
                let (words, at) = self.translate(at, true)?;
                **found = words.compare_exchange(at / 8, *expected, *new).unwrap_or_else(|other| other);
                self.happenings.wrote = true;
                Ok(())
            }
        }
    }

    fn write(&mut self, to: &RemoteRange, from: &[u8]) -> Result<(), AccessError> {
        let (words, at) = self.translate(to, true)?;
        for (index, word) in from.chunks_exact(8).enumerate() {
            words.store(at / 8 + index, u64::from_le_bytes(word.try_into().unwrap()));
        }
        self.happenings.wrote = true;
        Ok(())
    }

    /// A stray write arrives. The NIC knows nothing of deadlines: if the key still opens the memory, it is carried out.
    pub fn arrive(&mut self, stray: &Stray) {
        for (range, written) in &stray.writes {
            match written {
                Written::Bytes(bytes) => drop(self.write(range, bytes)),
                Written::Swap { expected, new } => {
                    let mut found = 0;
                    let (expected, new) = (*expected, *new);
                    let mut swap = Operation::CompareAndSwap { at: *range, expected, new, found: &mut found };
                    drop(self.one(&mut swap));
                }
            }
        }
    }

    /// Lets the writes of a batch arrive some time later.
    fn lead_astray(&mut self, now: u64, batch: &[Operation<'_>]) {
        let writes = batch
            .iter()
            .filter_map(|operation| match operation {
                Operation::Read { .. } => None,
                Operation::Write { to, from } => Some((*to, Written::Bytes(from.to_vec()))),
                Operation::CompareAndSwap { at, expected, new, .. } => {
                    Some((*at, Written::Swap { expected: *expected, new: *new }))
                }
            })
            .collect();
        let arrives = now + self.chance.between(MILLISECOND, 30 * SECOND);
        self.happenings.strays.push(Stray { arrives, writes });
    }

    fn translate(&self, range: &RemoteRange, write: bool) -> Result<(Arc<LocalWords>, usize), AccessError> {
        let kind = range.key.checked_sub(self.epoch * 1000).ok_or(AccessError::Denied)?;
        let target = self.target.lock().unwrap();
        let words = target.regions.get(&kind).ok_or(AccessError::Denied)?;
        let (start, length) = match kind {
            RegionKind::COMMAND => (self.slot * size_of::<CommandSlot>(), size_of::<CommandSlot>()),
            _ => (0, words.bytes().len()),
        };
        let writable = matches!(kind, RegionKind::COMMAND | RegionKind::LEASE);
        let offset = range.address.checked_sub(BASE).ok_or(AccessError::Denied)? as usize;
        if offset + range.length as usize > length || (write && !writable) {
            return Err(AccessError::Denied);
        }
        Ok((Arc::clone(words), start + offset))
    }
}

pub struct PathLinker {
    path: SharedPath,
    clock: MonitorClock,
    connections: usize,
    nothing: Arc<OwnedFd>,
    ready_at: Option<(u64, bool)>,
}

impl Linker for PathLinker {
    fn begin(&mut self) {
        let mut path = self.path.lock();
        let now = self.clock.world();
        let answers = !path.weather.is_cut() && path.target.lock().unwrap().agent_answers();
        let takes = if answers { path.chance.between(MILLISECOND, 20 * MILLISECOND) } else { SECOND };
        path.happenings.answers.push(now + takes);
        self.ready_at = Some((now + takes, answers));
    }

    fn finished(&mut self) -> Option<Result<Box<dyn Link>, LinkError>> {
        let (ready_at, answers) = self.ready_at?;
        if self.clock.world() < ready_at {
            return None;
        }
        self.ready_at = None;
        Some(if answers { self.open() } else { Err(silent("no answer to the handshake")) })
    }
}

fn silent(reason: &str) -> LinkError {
    LinkError { reason: reason.to_owned(), failure: Failure::Silent }
}

impl PathLinker {
    fn open(&mut self) -> Result<Box<dyn Link>, LinkError> {
        let slot = self.path.lock().slot as u32;
        let admit = |endpoints| {
            let length = backdoors_rdma::directory::BYTES as u64;
            let directory = RemoteRange { address: BASE, length, key: DIRECTORY_KEY };
            let admission = Admission { slot, endpoints, directory };
            Ok(Welcome { target: "target".into(), admission, secret: Secret::from_bytes(key_of(slot)) })
        };
        let mut dialer = PathDialer {
            path: self.path.clone(),
            clock: self.clock.clone(),
            nothing: Arc::clone(&self.nothing),
        };
        Session::open_with(&mut dialer, self.connections, admit)
            .map(|session| Box::new(SessionLink::new(session)) as Box<dyn Link>)
            .map_err(|error| silent(&error.to_string()))
    }
}

struct PathDialer {
    path: SharedPath,
    clock: MonitorClock,
    nothing: Arc<OwnedFd>,
}

impl Dialer for PathDialer {
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError> {
        Ok((0..count).map(|_| Endpoint::Emulated { address: None, token: [0; 16] }).collect())
    }

    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
        let connect = |_| {
            Box::new(PathConnection {
                path: self.path.clone(),
                clock: self.clock.clone(),
                nothing: Arc::clone(&self.nothing),
                dead: false,
                started: None,
            }) as Box<dyn Connection>
        };
        Ok(remote.iter().map(connect).collect())
    }
}

struct PathConnection {
    path: SharedPath,
    clock: MonitorClock,
    nothing: Arc<OwnedFd>,
    dead: bool,
    /// When the request under way ends, and how.
    started: Option<(u64, Result<Vec<u8>, AccessError>)>,
}

/// Longest wait of requests that block: the `deadline` that every climate configures.
pub const BLOCKING_DEADLINE: u64 = 100 * MILLISECOND;

impl PathConnection {
    fn unreachable(after: u64) -> AccessError {
        AccessError::Unreachable { after: Duration::from_nanos(after) }
    }
}

impl Connection for PathConnection {
    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<(), AccessError> {
        if self.dead {
            return Err(AccessError::Poisoned);
        }
        assert!(self.started.is_none(), "one request at a time");
        let (now, deadline) = (self.clock.world(), deadline.as_nanos() as u64);
        let ranges = match request {
            Request::Read(ranges) => ranges,
            Request::Probe => &[],
        };
        let mut path = self.path.lock();
        let (ends, result) = match path.fate(ranges.is_empty(), deadline) {
            Fate::Lost { .. } => (now + deadline, Err(Self::unreachable(deadline))),
            Fate::Answered(after) => {
                let mut bytes = vec![0; ranges.iter().map(|range| range.length as usize).sum()];
                let mut rest = bytes.as_mut_slice();
                let mut result = Ok(());
                for from in ranges {
                    let (into, behind) = rest.split_at_mut(from.length as usize);
                    rest = behind;
                    result =
                        result.and_then(|()| path.execute(now, &mut [Operation::Read { from: *from, into }]));
                }
                (now + after, result.map(|()| bytes))
            }
        };
        path.happenings.answers.push(ends);
        self.started = Some((ends, result));
        Ok(())
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Poll<Result<(), AccessError>> {
        match self.started.take() {
            Some((ends, result)) if self.clock.world() < ends => {
                self.started = Some((ends, result));
                Poll::Pending
            }
            Some((_, result)) => {
                self.dead |= result.is_err();
                Poll::Ready(result.map(|read| *bytes = read))
            }
            None => Poll::Ready(Err(AccessError::Invalid("nothing was started"))),
        }
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), AccessError> {
        let Some((ends, result)) = self.started.take() else {
            return Err(AccessError::Invalid("nothing was started"));
        };
        self.clock.wait(ends.saturating_sub(self.clock.world()));
        self.dead |= result.is_err();
        result.map(|read| *bytes = read)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }

    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        if self.dead {
            return Err(AccessError::Poisoned);
        }
        let now = self.clock.world();
        let mut path = self.path.lock();
        // What this thread does after it waited for long would come too early in the world: it fails instead.
        let too_early = self.clock.waited() > 50 * MILLISECOND;
        let writes = batch.iter().any(|operation| !matches!(operation, Operation::Read { .. }));
        let stray = path.weather.stray;
        let result = if too_early {
            Err(Self::unreachable(BLOCKING_DEADLINE))
        } else if writes && path.chance.happens(stray) {
            path.lead_astray(now, batch);
            Err(Self::unreachable(BLOCKING_DEADLINE))
        } else {
            match path.fate(false, BLOCKING_DEADLINE) {
                Fate::Answered(after) => {
                    self.clock.wait(after);
                    path.execute(now, batch)
                }
                Fate::Lost { arrives } => {
                    if arrives {
                        drop(path.execute(now, batch));
                    }
                    Err(Self::unreachable(BLOCKING_DEADLINE))
                }
            }
        };
        if matches!(result, Err(AccessError::Unreachable { .. })) {
            self.clock.wait(BLOCKING_DEADLINE);
        }
        self.dead = result.is_err();
        result
    }

    fn is_poisoned(&self) -> bool {
        self.dead
    }

    fn limits(&self) -> Limits {
        Limits { operations: 16, bytes: 1 << 20 }
    }
}
