//! The way to the simulated machine: keys, rights, connections, and their failures.

use super::Machine;
use backdoors_monitor::judge::Failure;
use backdoors_monitor::link::{Link, LinkError, Linker, SessionLink};
use backdoors_rdma::directory::{DirectoryWriter, Region};
use backdoors_rdma::handshake::{Secret, Welcome};
use backdoors_rdma::owner::{Admission, Endpoint, Rights};
use backdoors_rdma::{
    AccessError, Connection, DialError, Dialer, Limits, Operation, RemoteRange, Request, Session,
};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{LocalWords, SharedWords};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

const DIRECTORY_KEY: u32 = 7;
const BASE: u64 = 0x1000;

/// What happens to the next batch that contains a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
    /// It is lost, and the connection breaks.
    RequestLost,
}

/// The NIC of the machine.
#[derive(Clone)]
pub struct Path(Arc<Mutex<Nic>>);

struct Nic {
    memory: BTreeMap<u32, Memory>,
    /// What a handshake grants anew.
    revoked: BTreeMap<u32, Memory>,
    directory: DirectoryWriter,
    next_key: u32,
    /// Connections of an earlier epoch are dead.
    epoch: u64,
    agent_answers: bool,
    /// Whether what was read comes back.
    answers: bool,
    dials: usize,
    on_write: Option<Fault>,
    /// The machine's, which each handshake changes.
    key: Arc<Mutex<[u8; 16]>>,
}

struct Memory {
    words: Arc<LocalWords>,
    offset: usize,
    length: usize,
    writable: bool,
}

impl Path {
    pub fn new(machine: &Machine) -> Path {
        let (directory, _) = DirectoryWriter::create().unwrap();
        let nic = Nic {
            memory: BTreeMap::new(),
            revoked: BTreeMap::new(),
            directory,
            next_key: 100,
            epoch: 0,
            agent_answers: true,
            answers: true,
            dials: 0,
            on_write: None,
            key: Arc::clone(&machine.key),
        };
        let path = Path(Arc::new(Mutex::new(nic)));
        path.serve(machine);
        path
    }

    /// Registers the regions of a machine in place of all others; the old keys die.
    pub fn serve(&self, machine: &Machine) {
        self.serve_kinds(machine, &machine.kinds());
    }

    /// As [`Path::serve`], for some regions only.
    pub fn serve_kinds(&self, machine: &Machine, kinds: &[u32]) {
        let mut nic = self.0.lock().unwrap();
        nic.memory.clear();
        let mut regions = Vec::new();
        for &kind in kinds {
            let key = nic.next_key;
            nic.next_key += 1;
            let (words, offset, length) = machine.region(kind);
            let writable = matches!(kind, RegionKind::COMMAND | RegionKind::LEASE);
            nic.memory.insert(key, Memory { words, offset, length, writable });
            regions.push(Region {
                kind,
                range: RemoteRange { address: BASE, length: length as u64, key },
                generation: machine.generation(),
                rights: if writable { Rights::Writable } else { Rights::ReadOnly },
            });
        }
        nic.directory.publish(&regions);
    }

    /// The keys die, and no directory tells new ones until the next handshake.
    pub fn revoke_keys(&self) {
        let mut nic = self.0.lock().unwrap();
        nic.revoked = std::mem::take(&mut nic.memory);
    }

    /// Breaks all connections that there are.
    pub fn break_connections(&self) {
        self.0.lock().unwrap().epoch += 1;
    }

    /// Whether the agent answers handshakes.
    pub fn set_agent_answers(&self, answers: bool) {
        self.0.lock().unwrap().agent_answers = answers;
    }

    /// Whether what was read comes back, or is under way for ever.
    pub fn set_answers(&self, answers: bool) {
        self.0.lock().unwrap().answers = answers;
    }

    /// What the next write suffers.
    pub fn on_next_write(&self, fault: Fault) {
        self.0.lock().unwrap().on_write = Some(fault);
    }

    /// Handshakes so far.
    pub fn dials(&self) -> usize {
        self.0.lock().unwrap().dials
    }

    pub fn linker(&self, connections: usize) -> SimulatedLinker {
        SimulatedLinker { path: self.clone(), connections, begun: false }
    }
}

pub struct SimulatedLinker {
    path: Path,
    connections: usize,
    begun: bool,
}

impl Linker for SimulatedLinker {
    fn begin(&mut self) {
        self.begun = true;
    }

    fn finished(&mut self) -> Option<Result<Box<dyn Link>, LinkError>> {
        std::mem::take(&mut self.begun).then(|| self.open())
    }
}

impl SimulatedLinker {
    fn open(&mut self) -> Result<Box<dyn Link>, LinkError> {
        {
            let mut nic = self.path.0.lock().unwrap();
            nic.dials += 1;
            let revoked = std::mem::take(&mut nic.revoked);
            nic.memory.extend(revoked);
            if !nic.agent_answers {
                return Err(LinkError {
                    reason: "the agent does not answer".into(),
                    failure: Failure::Silent,
                });
            }
        }
        let key = Arc::clone(&self.path.0.lock().unwrap().key);
        let admit = |endpoints| {
            let length = backdoors_rdma::directory::BYTES as u64;
            let directory = RemoteRange { address: BASE, length, key: DIRECTORY_KEY };
            let admission = Admission { slot: Machine::SLOT, endpoints, directory };
            let mut key = key.lock().unwrap();
            key[0] = key[0].wrapping_add(1);
            Ok(Welcome { target: "web1".into(), admission, secret: Secret::from_bytes(*key) })
        };
        Session::open_with(&mut SimulatedDialer(self.path.clone()), self.connections, admit)
            .map(|session| Box::new(SessionLink::new(session)) as Box<dyn Link>)
            .map_err(|error| LinkError { reason: error.to_string(), failure: Failure::Silent })
    }
}

struct SimulatedDialer(Path);

impl Dialer for SimulatedDialer {
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError> {
        Ok((0..count).map(|_| Endpoint::Emulated { address: None, token: [0; 16] }).collect())
    }

    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
        let epoch = self.0.0.lock().unwrap().epoch;
        let connect = |_| {
            Box::new(SimulatedConnection {
                path: self.0.clone(),
                epoch,
                dead: false,
                started: None,
                nothing: nothing(),
            }) as Box<dyn Connection>
        };
        Ok(remote.iter().map(connect).collect())
    }
}

struct SimulatedConnection {
    path: Path,
    epoch: u64,
    dead: bool,
    /// What became of the request under way.
    started: Option<Result<Vec<u8>, AccessError>>,
    nothing: OwnedFd,
}

/// A descriptor that never becomes readable.
fn nothing() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
}

impl Connection for SimulatedConnection {
    fn start(&mut self, request: Request<'_>, _deadline: Duration) -> Result<(), AccessError> {
        if self.dead {
            return Err(AccessError::Poisoned);
        }
        assert!(self.started.is_none(), "one request at a time");
        let ranges = match request {
            Request::Read(ranges) => ranges,
            Request::Probe => &[],
        };
        let mut bytes: Vec<Vec<u8>> = ranges.iter().map(|range| vec![0; range.length as usize]).collect();
        let mut batch: Vec<Operation<'_>> =
            ranges.iter().zip(&mut bytes).map(|(from, into)| Operation::Read { from: *from, into }).collect();
        let result = self.path.0.lock().unwrap().execute(self.epoch, &mut batch);
        self.started = Some(result.map(|()| bytes.concat()));
        Ok(())
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Poll<Result<(), AccessError>> {
        if !self.path.0.lock().unwrap().answers {
            return Poll::Pending;
        }
        let result = self.started.take().ok_or(AccessError::Invalid("nothing was started"));
        let result = result.and_then(|result| result).map(|read| *bytes = read);
        self.dead |= result.is_err();
        Poll::Ready(result)
    }

    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), AccessError> {
        match self.poll(bytes) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.dead = true;
                Err(AccessError::Unreachable { after: Duration::from_millis(500) })
            }
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.nothing.as_fd()
    }

    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        if self.dead {
            return Err(AccessError::Poisoned);
        }
        let mut nic = self.path.0.lock().unwrap();
        let result = nic.execute(self.epoch, batch);
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

impl Nic {
    fn execute(&mut self, epoch: u64, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        let unreachable = || AccessError::Unreachable { after: Duration::from_millis(500) };
        if epoch != self.epoch {
            return Err(unreachable());
        }
        let writes = batch.iter().any(|operation| matches!(operation, Operation::Write { .. }));
        let fault = if writes { self.on_write.take() } else { None };
        if fault == Some(Fault::RequestLost) {
            return Err(unreachable());
        }
        for operation in batch {
            match operation {
                Operation::Read { from, into } if from.key == DIRECTORY_KEY => {
                    let offset = from.address.checked_sub(BASE).ok_or(AccessError::Denied)?;
                    let read = self.directory.memory().read_bytes(offset as usize, into);
                    read.map_err(|_| AccessError::Denied)?;
                }
                Operation::Read { from, into } => {
                    let (words, at) = self.translate(from, false)?;
                    assert!(at % 8 == 0 && into.len() % 8 == 0, "regions are read in whole words");
                    for (index, bytes) in into.chunks_exact_mut(8).enumerate() {
                        bytes.copy_from_slice(&words.load(at / 8 + index).to_le_bytes());
                    }
                }
                Operation::Write { to, from } => {
                    let (words, at) = self.translate(to, true)?;
                    assert!(at % 8 == 0 && from.len() % 8 == 0, "commands are written in whole words");
                    for (index, word) in from.chunks_exact(8).enumerate() {
                        words.store(at / 8 + index, u64::from_le_bytes(word.try_into().unwrap()));
                    }
                }
                Operation::CompareAndSwap { at, expected, new, found } => {
                    let (words, at) = self.translate(at, true)?;
                    let swapped = words.compare_exchange(at / 8, *expected, *new);
                    **found = swapped.unwrap_or_else(|other| other);
                }
            }
        }
        if fault == Some(Fault::AnswerLost) { Err(unreachable()) } else { Ok(()) }
    }

    fn translate(&self, range: &RemoteRange, write: bool) -> Result<(Arc<LocalWords>, usize), AccessError> {
        let memory = self.memory.get(&range.key).ok_or(AccessError::Denied)?;
        let offset = range.address.checked_sub(BASE).ok_or(AccessError::Denied)? as usize;
        if offset + range.length as usize > memory.length || (write && !memory.writable) {
            return Err(AccessError::Denied);
        }
        Ok((Arc::clone(&memory.words), memory.offset + offset))
    }
}
