//! Sensors of applications: who is attached, and the memory each of them shows.
//!
//! Applications attach over a unix socket, see [`listen`]. Each gets memory of its own, which the owner registers for
//! every monitor to read, and then needs nothing of the agent. Where a kernel half runs that memory is pinned beside
//! it, so that the next agent takes it up as it is; elsewhere it lasts as long as whoever maps it, and applications,
//! which attach anew by themselves, get new memory from the next agent.
//!
//! An application that says goodbye takes its region along. One that dies leaves it, to be looked at, until an
//! application of its name attaches.

mod keep;
pub mod listen;

pub use keep::{Keep, KeepError};

use crate::memory::{Region, new_generation};
use crate::words::Words;
use backdoors_rdma::owner::{RegionRequest, Rights};
use backdoors_sensor_box::ApplicationState;
use backdoors_sensor_box::application::{
    Answer, ApplicationRegion, Attachment, Outcome, Request, region_bytes,
};
use backdoors_sensor_box::layout::RegionKind;
use rustix::process::{Pid, test_kill_process};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long an application that was attached to an earlier agent may take to attach to this one before another one
/// can have its name. Its library tries about twice a second.
const AWAITED: Duration = Duration::from_secs(5);

/// Tells connections apart; never used twice.
pub type ConnectionId = u64;

/// All applications, attached and dead.
#[derive(Debug)]
pub struct Applications {
    /// By region kind.
    entries: Vec<Option<Entry>>,
    keep: Keep,
}

#[derive(Debug)]
struct Entry {
    name: String,
    generation: u64,
    memory: Region,
    region: ApplicationRegion<Words>,
    holder: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Attached.
    Connection(ConnectionId),
    /// Attached to an earlier agent; expected back since then.
    Awaited(Instant),
    /// Dead.
    Nobody,
}

/// Why an application is not attached. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// One of its name is attached.
    #[error(
        "an application named {name:?} is attached already, as process {pid}: end it, or use another name"
    )]
    Taken {
        /// The name.
        name: String,
        /// The process that says it is attached.
        pid: u32,
    },
    /// One of its name was attached to an earlier agent, and may attach again.
    #[error(
        "process {pid}, which had the name {name:?} before the agent was restarted, still runs: retry in {AWAITED:?}"
    )]
    Awaited {
        /// The name.
        name: String,
        /// The process.
        pid: u32,
    },
    /// All regions are in use.
    #[error(
        "no room for one more application: {attached} are attached, and {dead} died and left their regions, which an \
         application of the same name frees by saying goodbye, and a restart of the agent by SIGTERM"
    )]
    Full {
        /// How many are attached.
        attached: usize,
        /// How many are dead.
        dead: usize,
    },
    /// There is no memory for it.
    #[error("no memory for the application: {0}")]
    Memory(#[from] KeepError),
}

impl AttachError {
    /// The answer that says so.
    #[must_use]
    pub fn answer(&self) -> Answer {
        Answer { outcome: Outcome::NotNow, generation: 0, reason: self.to_string() }
    }
}

/// What an application is attached with.
#[derive(Debug)]
pub struct Attached {
    /// The region's generation.
    pub generation: u64,
    /// The region's memory, if it is new; else the application holds it already.
    pub memory: Option<OwnedFd>,
}

impl Attached {
    /// The answer that says so.
    #[must_use]
    pub fn answer(&self) -> Answer {
        let outcome = if self.memory.is_some() { Outcome::New } else { Outcome::Kept };
        Answer { outcome, generation: self.generation, reason: String::new() }
    }
}

impl Applications {
    /// Takes up what an earlier agent kept.
    #[must_use]
    pub fn take_up(keep: Keep, now: Instant) -> Applications {
        let mut applications = Applications { entries: Vec::new(), keep };
        applications.entries.resize_with(RegionKind::APPLICATIONS as usize, || None);
        for index in 0..applications.entries.len() {
            let Some(found) = applications.keep.open(index) else { continue };
            let entry = found.map_err(|error| error.to_string()).and_then(|memory| Entry::over(memory, now));
            match entry {
                Ok(entry) if applications.find(&entry.name).is_none() => {
                    tracing::info!(name = entry.name, "took up an application's region");
                    applications.entries[index] = Some(entry);
                }
                Ok(entry) => {
                    tracing::warn!(name = entry.name, "dropped a second region of an application");
                    applications.keep.discard(index);
                }
                Err(error) => {
                    tracing::info!(error, "dropped an application's region");
                    applications.keep.discard(index);
                }
            }
        }
        applications
    }

    /// What the owner is to have registered.
    #[must_use]
    pub fn wanted(&self) -> Vec<(RegionRequest, &Region)> {
        let entries = (RegionKind::APPLICATION_FIRST..).zip(&self.entries);
        let wanted = entries.filter_map(|(kind, entry)| {
            let entry = entry.as_ref()?;
            let request = RegionRequest {
                kind,
                generation: entry.generation,
                offset: 0,
                length: entry.memory.len() as u64,
                rights: Rights::ReadOnly,
                slot: None,
            };
            Some((request, &entry.memory))
        });
        wanted.collect()
    }

    /// Forgets all of them, for an agent that serves none. What they leave is not shown any more.
    pub fn clear(&mut self) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.take().is_some() {
                self.keep.discard(index);
            }
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.name == name))
    }

    /// Attaches the application that process `pid` asks for over a connection. `request` was checked when it was
    /// decoded. If it is new, the owner's regions must be brought in line with [`Applications::wanted`].
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach(
        &mut self,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
        now: Instant,
    ) -> Result<Attached, AttachError> {
        let found = self.find(request.name);
        if let Some(entry) = found.and_then(|index| self.entries[index].as_mut()) {
            entry.refuse_another(request, pid, now)?;
            if entry.is_held_by(request, pid) {
                entry.holder = Holder::Connection(connection);
                let attachment = Attachment { generation: entry.generation, pid, at: monotonic() };
                entry.region.attach(&attachment);
                return Ok(Attached { generation: entry.generation, memory: None });
            }
        }
        let index = found.or_else(|| self.entries.iter().position(Option::is_none));
        let index = index.ok_or_else(|| self.full())?;
        let memory = self.keep.make(index, region_bytes(request.sensors.len()))?;
        let copy = memory.descriptor.as_fd().try_clone_to_owned().map_err(KeepError::System)?;
        let entry = Entry::new(memory, request, pid, connection).map_err(KeepError::System)?;
        let generation = entry.generation;
        self.entries[index] = Some(entry);
        Ok(Attached { generation, memory: Some(copy) })
    }

    fn full(&self) -> AttachError {
        let dead = self.entries.iter().flatten().filter(|entry| entry.holder == Holder::Nobody).count();
        AttachError::Full { attached: self.entries.len() - dead, dead }
    }

    fn of(&self, connection: ConnectionId) -> Option<usize> {
        let holder = Holder::Connection(connection);
        self.entries.iter().position(|entry| entry.as_ref().is_some_and(|entry| entry.holder == holder))
    }

    /// Forgets the application of a connection, which left. The owner's regions must be brought in line after it.
    pub fn leave(&mut self, connection: ConnectionId) {
        if let Some(index) = self.of(connection) {
            self.entries[index] = None;
            self.keep.discard(index);
        }
    }

    /// Takes note that a connection ended. Returns whether the owner's regions must be brought in line: the
    /// application had said in its memory that it leaves.
    pub fn lose(&mut self, connection: ConnectionId) -> bool {
        let Some(index) = self.of(connection) else { return false };
        let Some(entry) = self.entries[index].as_mut() else { return false };
        if entry.region.state() == Some(ApplicationState::Left) {
            self.leave(connection);
            return true;
        }
        tracing::warn!(name = entry.name, pid = entry.region.pid(), "an application ended without a goodbye");
        entry.die();
        false
    }

    /// Takes note of applications that died while there was no agent.
    pub fn look_after(&mut self, now: Instant) {
        for entry in self.entries.iter_mut().flatten() {
            if let Holder::Awaited(since) = entry.holder
                && now.duration_since(since) >= AWAITED
                && !exists(entry.region.pid())
            {
                tracing::warn!(name = entry.name, "an application died while there was no agent");
                entry.die();
            }
        }
    }
}

impl Entry {
    fn new(memory: Region, request: &Request<'_>, pid: u32, connection: ConnectionId) -> io::Result<Entry> {
        let generation = new_generation()?;
        let attachment = Attachment { generation, pid, at: monotonic() };
        let words = memory.words.clone();
        let region =
            ApplicationRegion::lay_out(words, request.name, &request.sensors, &request.values, &attachment)
                .map_err(io::Error::other)?;
        Ok(Entry {
            name: request.name.into(),
            generation,
            memory,
            region,
            holder: Holder::Connection(connection),
        })
    }

    /// Memory that an application could write all of: everything in it is checked.
    fn over(memory: Region, now: Instant) -> Result<Entry, String> {
        let bytes = read(&memory);
        let laid_out = Request::decode(&bytes).map_err(|error| error.to_string())?;
        let words = memory.words.clone();
        let region =
            ApplicationRegion::over(words, laid_out.sensors.len()).map_err(|error| error.to_string())?;
        let holder = match region.state() {
            Some(ApplicationState::Attached) => Holder::Awaited(now),
            Some(ApplicationState::Died) => Holder::Nobody,
            Some(ApplicationState::Left) => return Err(format!("{:?} left", laid_out.name)),
            None => return Err(format!("{:?} is in no state there is", laid_out.name)),
        };
        let (name, generation) = (laid_out.name.into(), laid_out.held);
        Ok(Entry { name, generation, memory, region, holder })
    }

    fn refuse_another(&self, request: &Request<'_>, pid: u32, now: Instant) -> Result<(), AttachError> {
        let name = || String::from(request.name);
        let holder = self.region.pid();
        match self.holder {
            Holder::Connection(_) => Err(AttachError::Taken { name: name(), pid: holder }),
            Holder::Awaited(since)
                if holder != pid && now.duration_since(since) < AWAITED && exists(holder) =>
            {
                Err(AttachError::Awaited { name: name(), pid: holder })
            }
            Holder::Awaited(_) | Holder::Nobody => Ok(()),
        }
    }

    /// Whether the process that asks has this memory already, and it still is what it asks for.
    fn is_held_by(&self, request: &Request<'_>, pid: u32) -> bool {
        let bytes = read(&self.memory);
        let Ok(laid_out) = Request::decode(&bytes) else { return false };
        pid == self.region.pid()
            && request.held == self.generation
            && (laid_out.held, laid_out.name) == (request.held, request.name)
            && laid_out.sensors == request.sensors
    }

    fn die(&mut self) {
        self.holder = Holder::Nobody;
        self.region.die(monotonic());
    }
}

fn read(memory: &Region) -> Vec<u8> {
    let mut bytes = vec![0; memory.len()];
    let whole = memory.words.memory().read_bytes(0, &mut bytes);
    debug_assert!(whole.is_ok(), "a region has as many bytes as it says");
    bytes
}

fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Nanoseconds of the monotonic clock, which the sensor box's clock is, too.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests;
