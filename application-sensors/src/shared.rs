//! What an application shares with the threads of the library.

use crate::agent::{self, Attached, Connection, Failure};
use crate::application::WithoutAgent;
use crate::hooks::{Arrived, Hooks};
use backdoors_rdma::SharedMemory;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::application::{ApplicationRegion, HookSpec, Request, SensorSpec};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// What the application shares with its threads.
pub struct Shared {
    pub path: PathBuf,
    pub name: String,
    pub sensors: Vec<OwnedSpec>,
    pub announced: Vec<OwnedHook>,
    pub hooks: Hooks,
    pub region: ApplicationRegion<Words>,
    pub process: u32,
    pub without_agent: WithoutAgent,
    /// Held while attaching or leaving, before `link`: who leaves must not be attached behind its own back.
    pub busy: Mutex<()>,
    pub link: Mutex<Link>,
}

pub struct OwnedSpec {
    pub name: String,
    pub spec: SensorSpec<'static>,
}

pub struct OwnedHook {
    pub name: String,
    pub least: u64,
    pub most: u64,
}

pub enum Link {
    /// Not attached; it was in the region of this generation, or in none (0).
    Alone(u64),
    /// Attached.
    Attached(Arc<Connection>, u64),
    /// Detached for good.
    Left,
}

impl Shared {
    /// Whether it is attached, locked.
    pub fn link(&self) -> MutexGuard<'_, Link> {
        // It is always one of its states, whole.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> MutexGuard<'_, ()> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to watch, if attached.
    pub fn connection(&self) -> Option<OwnedFd> {
        match &*self.link() {
            Link::Attached(connection, _) => rustix::io::dup(&**connection).ok(),
            Link::Alone(_) | Link::Left => None,
        }
    }

    /// The next call of a hook that has arrived. Nobody else takes anything off the connection while it is locked, and
    /// who leaves takes it away first.
    ///
    /// # Errors
    /// If what arrived makes no sense.
    pub fn next_call(&self) -> io::Result<Option<Arrived>> {
        match &*self.link() {
            Link::Attached(connection, _) => {
                let Some(call) = connection.next_call()? else { return Ok(None) };
                Ok(Some(Arrived { call, connection: Arc::downgrade(connection) }))
            }
            Link::Alone(_) | Link::Left => Ok(None),
        }
    }

    /// Whether it has hooks.
    pub fn has_hooks(&self) -> bool {
        !self.announced.is_empty()
    }

    /// Takes note that the connection ended.
    pub fn lose(&self) {
        let mut link = self.link();
        if let Link::Attached(_, generation) = *link {
            *link = Link::Alone(generation);
        }
    }

    /// Attaches anew. `Err` says why not; `Ok(false)`: never again.
    pub fn attach_anew(&self) -> Result<bool, Failure> {
        let _busy = self.busy();
        let held = match *self.link() {
            Link::Alone(held) => held,
            Link::Attached(..) => return Ok(true),
            Link::Left => return Ok(false),
        };
        let sensors =
            self.sensors.iter().map(|OwnedSpec { name, spec }| SensorSpec { name, ..*spec }).collect();
        let announced = self.announced.iter();
        let hooks =
            announced.map(|OwnedHook { name, least, most }| HookSpec { name, least: *least, most: *most });
        let (hooks, values) = (hooks.collect(), self.region.values());
        let request = Request { name: &self.name, held, sensors, hooks, values };
        let Attached { connection, generation, memory } = agent::attach(&self.path, &request)?;
        if let Some(memory) = memory {
            // What was added since the values were taken is lost, which no sensor minds.
            self.region.words().0.replace(memory).map_err(Failure::NoAgent)?;
        }
        *self.link() = Link::Attached(Arc::new(connection), generation);
        Ok(true)
    }

    /// Leaves for good; tells whether the agent took note.
    pub fn leave(&self, caller: Option<ThreadId>) -> bool {
        if std::process::id() != self.process {
            return false;
        }
        let _busy = self.busy();
        let link = std::mem::replace(&mut *self.link(), Link::Left);
        self.region.leave();
        // A hook that detaches would wait for itself; nothing arrives after it.
        if caller != Some(std::thread::current().id()) {
            self.hooks.close();
        }
        match link {
            Link::Attached(connection, _) => connection.leave(),
            Link::Alone(_) | Link::Left => false,
        }
    }
}

/// Memory that is shared with the NIC.
#[derive(Clone, Debug)]
pub struct Words(pub Arc<SharedMemory>);

impl SharedWords for Words {
    fn len(&self) -> usize {
        self.0.words()
    }
    fn load(&self, index: usize) -> u64 {
        self.0.load(index)
    }
    fn store(&self, index: usize, value: u64) {
        self.0.store(index, value);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange(index, current, new)
    }
}
