//! Sensors and hooks of applications: who is attached, the memory each of them shows, and calls of their hooks.
//!
//! Applications attach over a unix socket, see [`listen`]. Each gets memory of its own, which the owner registers for
//! every monitor to read, and then needs nothing of the agent. Where a kernel half runs that memory is pinned beside
//! it, so that the next agent takes it up as it is; elsewhere it lasts as long as whoever maps it, and applications,
//! which attach anew by themselves, get new memory from the next agent.
//!
//! An application that says goodbye takes its region along. One that dies leaves it, to be looked at, until an
//! application of its name attaches.

mod calls;
mod entry;
pub mod listen;

pub use calls::{CallError, Caller, HookCall, Inbox};
pub(crate) use entry::exists;
use entry::{Entry, Holder, Hook};

use crate::keep::{Keep, KeepError};
use crate::memory::Region;
use backdoors_rdma::owner::{RegionRequest, Rights};
use backdoors_sensor_box::ApplicationState;
use backdoors_sensor_box::application::{
    Answer, Attachment, HookCalls, HookResult, Outcome, Request, region_bytes,
};
use backdoors_sensor_box::layout::RegionKind;
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
            let Some(found) = applications.keep.open(&kept(index)) else { continue };
            let entry = found.map_err(|error| error.to_string()).and_then(|memory| Entry::over(memory, now));
            match entry {
                Ok(entry) if applications.find(&entry.name).is_none() => {
                    tracing::info!(name = entry.name, "took up an application's region");
                    applications.entries[index] = Some(entry);
                }
                Ok(entry) => {
                    tracing::warn!(name = entry.name, "dropped a second region of an application");
                    applications.keep.discard(&kept(index));
                }
                Err(error) => {
                    tracing::info!(error, "dropped an application's region");
                    applications.keep.discard(&kept(index));
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
                self.keep.discard(&kept(index));
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
                entry.announce(request);
                let attachment = Attachment { generation: entry.generation, pid, at: monotonic() };
                entry.region.attach(&attachment);
                return Ok(Attached { generation: entry.generation, memory: None });
            }
        }
        let index = found.or_else(|| self.entries.iter().position(Option::is_none));
        let index = index.ok_or_else(|| self.full())?;
        let memory =
            self.keep.make(&kept(index), region_bytes(request.sensors.len(), request.hooks.len()))?;
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
            self.keep.discard(&kept(index));
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

    /// The connection over which a hook can be called.
    ///
    /// # Errors
    /// [`CallError::NotAttached`], [`CallError::NoSuchHook`], [`CallError::OutOfRange`].
    pub fn callee(&self, call: &HookCall) -> Result<ConnectionId, CallError> {
        let entry = self.entries.get(call.application as usize).and_then(Option::as_ref);
        let entry =
            entry.filter(|entry| entry.generation == call.generation).ok_or(CallError::NotAttached)?;
        let Holder::Connection(connection) = entry.holder else { return Err(CallError::NotAttached) };
        let hook = entry.hooks.get(call.hook as usize);
        let Hook { least, most, .. } = *hook.ok_or(CallError::NoSuchHook { hooks: entry.hooks.len() })?;
        if (least..=most).contains(&call.word) {
            Ok(connection)
        } else {
            Err(CallError::OutOfRange { word: call.word, least, most })
        }
    }

    /// Shows that a hook is called with this word.
    pub fn called(&mut self, connection: ConnectionId, hook: u32, word: u64) {
        self.note(connection, hook, |calls| calls.and_one(word, monotonic()));
    }

    /// Shows what became of its last call.
    pub fn answered(&mut self, connection: ConnectionId, hook: u32, result: HookResult) {
        self.note(connection, hook, |calls| calls.answered(result, monotonic()));
    }

    fn note(&mut self, connection: ConnectionId, hook: u32, change: impl FnOnce(HookCalls) -> HookCalls) {
        let Some(entry) = self.of(connection).and_then(|index| self.entries[index].as_mut()) else { return };
        let Entry { hooks, region, .. } = entry;
        if let Some(Hook { calls, .. }) = hooks.get_mut(hook as usize) {
            *calls = change(*calls);
            region.set_calls(hook as usize, calls);
        }
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

/// The name under which an application's memory is kept.
fn kept(index: usize) -> String {
    format!("application_{index}")
}

/// Nanoseconds of the monotonic clock, which the sensor box's clock is, too.
pub(crate) fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests;
