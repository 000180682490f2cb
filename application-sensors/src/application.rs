//! An application, its sensors and its hooks.

use crate::agent::{self, Attached, Connection, Failure};
use crate::hooks::{Arrived, Hook, Hooks};
use crate::upkeep;
use backdoors_rdma::SharedMemory;
use backdoors_sensor_box::SharedWords;
use backdoors_sensor_box::application::{
    ApplicationRegion, Attachment, HookSpec, Request, SensorSpec, SpecError, check, region_bytes,
};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// What to do when there is no agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutAgent {
    /// Say so on standard error, once, and attach as soon as one comes.
    #[default]
    Warn,
    /// Attach as soon as one comes.
    Ignore,
    /// Do not go on: [`AttachError::NoAgent`].
    Refuse,
}

/// Why an application is not attached. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its names or limits are against the rules. A retry with the same cannot help.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The agent refused it.
    #[error("the agent refused {name:?}: {reason}")]
    Refused {
        /// The application.
        name: String,
        /// What the agent says, and what may help.
        reason: String,
        /// Whether the same may be taken later.
        retry_helps: bool,
    },
    /// There is no agent, and there was to be one. A retry helps once it runs.
    #[error(
        "no agent at {path}: {source}; start backdoors-agent with `applications` set to that path, and see that this \
         process may open it"
    )]
    NoAgent {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system refused memory or a thread.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// An application with sensors. When it is dropped, or its process ends, it counts as failed, unless it was
/// [detached](Application::detach).
#[must_use = "an application that is dropped counts as failed"]
pub struct Application {
    shared: Arc<Shared>,
    /// Closing it ends the threads.
    _ended: OwnedFd,
    /// The thread that runs hooks.
    caller: Option<ThreadId>,
}

/// What the application shares with its threads.
pub(crate) struct Shared {
    pub path: PathBuf,
    name: String,
    sensors: Vec<OwnedSpec>,
    announced: Vec<OwnedHook>,
    pub hooks: Hooks,
    region: ApplicationRegion<Words>,
    process: u32,
    pub without_agent: WithoutAgent,
    /// Held while attaching or leaving, before `link`: who leaves must not be attached behind its own back.
    busy: Mutex<()>,
    link: Mutex<Link>,
}

struct OwnedSpec {
    name: String,
    spec: SensorSpec<'static>,
}

struct OwnedHook {
    name: String,
    least: u64,
    most: u64,
}

enum Link {
    /// Not attached; it was in the region of this generation, or in none (0).
    Alone(u64),
    /// Attached.
    Attached(Arc<Connection>, u64),
    /// Detached for good.
    Left,
}

/// One sensor. Clones set the same one; it outlives its [`Application`], and then nobody sees it.
#[derive(Clone)]
pub struct Sensor {
    memory: Arc<SharedMemory>,
    word: usize,
}

impl Application {
    /// Attaches this process, under this name, to the agent that listens at `path`; if there is none, as soon as
    /// there is one. Waits for the agent three seconds at most. The values of sensors start in order: at 0, those of
    /// floors at their limit.
    ///
    /// # Errors
    /// See [`AttachError`]; not [`AttachError::NoAgent`].
    pub fn attach(
        path: impl AsRef<Path>,
        name: &str,
        sensors: &[SensorSpec<'_>],
    ) -> Result<Application, AttachError> {
        Application::attach_with(path, name, sensors, WithoutAgent::default())
    }

    /// The same, with a choice of what to do when there is no agent.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach_with(
        path: impl AsRef<Path>,
        name: &str,
        sensors: &[SensorSpec<'_>],
        without_agent: WithoutAgent,
    ) -> Result<Application, AttachError> {
        Application::attach_with_hooks(path, name, sensors, Vec::new(), without_agent)
    }

    /// The same, with hooks that monitors may call, each of which takes the room of two sensors. Sensors may be none
    /// then.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn attach_with_hooks(
        path: impl AsRef<Path>,
        name: &str,
        sensors: &[SensorSpec<'_>],
        hooks: Vec<Hook>,
        without_agent: WithoutAgent,
    ) -> Result<Application, AttachError> {
        let path = path.as_ref();
        let specs: Vec<HookSpec<'_>> = hooks.iter().map(Hook::spec).collect();
        check(name, sensors, &specs)?;
        let values = sensors.iter().map(SensorSpec::first_value).collect();
        let request = Request { name, held: 0, sensors: sensors.to_vec(), hooks: specs, values };
        let (link, memory) = match agent::attach(path, &request) {
            Ok(Attached { connection, generation, memory: Some(memory) }) => {
                (Link::Attached(Arc::new(connection), generation), memory)
            }
            Ok(_) => (Link::Alone(0), of_its_own(&request)?),
            Err(Failure::Refused { reason, retry_helps }) => {
                return Err(AttachError::Refused { name: name.into(), reason, retry_helps });
            }
            Err(Failure::NoAgent(source)) if without_agent == WithoutAgent::Refuse => {
                return Err(AttachError::NoAgent { path: path.into(), source });
            }
            Err(Failure::NoAgent(source)) => {
                if without_agent == WithoutAgent::Warn {
                    warn(&format!(
                        "{name}: no agent at {} ({source}): nobody sees its sensors yet",
                        path.display()
                    ));
                }
                (Link::Alone(0), of_its_own(&request)?)
            }
        };
        let region = ApplicationRegion::over(Words(Arc::new(memory)), sensors.len(), hooks.len())
            .map_err(io::Error::other)?;
        let owned = |spec: &SensorSpec<'_>| OwnedSpec {
            name: spec.name.into(),
            spec: SensorSpec { name: "", class: spec.class, unit: spec.unit, limit: spec.limit },
        };
        let announce =
            |spec: HookSpec<'_>| OwnedHook { name: spec.name.into(), least: spec.least, most: spec.most };
        let announced: Vec<OwnedHook> = hooks.iter().map(Hook::spec).map(announce).collect();
        let shared = Arc::new(Shared {
            path: path.into(),
            name: name.into(),
            sensors: sensors.iter().map(owned).collect(),
            announced,
            hooks: Hooks::new(hooks),
            region,
            process: std::process::id(),
            without_agent,
            busy: Mutex::new(()),
            link: Mutex::new(link),
        });
        let (ended, caller) = upkeep::start(&shared)?;
        Ok(Application { shared, _ended: ended, caller })
    }

    /// The sensor with this name.
    ///
    /// # Panics
    /// If the application attached without one of this name. [`Application::get`] does not.
    #[must_use]
    pub fn sensor(&self, name: &str) -> Sensor {
        match self.get(name) {
            Some(sensor) => sensor,
            None => panic!("application {:?} has no sensor {name:?}", self.shared.name),
        }
    }

    /// The sensor with this name, if the application has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Sensor> {
        let index = self.shared.sensors.iter().position(|sensor| sensor.name == name)?;
        let word = self.shared.region.value_word(index)?;
        Some(Sensor { memory: Arc::clone(&self.shared.region.words().0), word })
    }

    /// Whether it is attached just now.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        matches!(*self.shared.link(), Link::Attached(..))
    }

    /// Says goodbye: the application ends on purpose, and its sensors with it. Waits for the agent three seconds at most;
    /// tells whether it took note. If it did not, monitors are told by the sensors' memory, and the next agent, too.
    ///
    /// No hook runs any more when this returns, and none will: it waits for one that runs, unless it is called by it.
    pub fn detach(self) -> bool {
        self.shared.leave(self.caller)
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Application").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sensor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sensor").field("value", &self.value()).finish_non_exhaustive()
    }
}

impl Sensor {
    /// Adds to the value, wrapping around: one atomic addition.
    pub fn add(&self, value: u64) {
        self.memory.fetch_add(self.word, value);
    }

    /// Sets the value: one atomic store.
    pub fn set(&self, value: u64) {
        self.memory.store(self.word, value);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.memory.load(self.word)
    }
}

/// Memory that nobody else sees, until there is an agent.
fn of_its_own(request: &Request<'_>) -> io::Result<SharedMemory> {
    let (memory, _) = SharedMemory::create(
        "backdoors-application",
        region_bytes(request.sensors.len(), request.hooks.len()),
    )?;
    let words = Words(Arc::new(memory));
    let region = ApplicationRegion::lay_out(words.clone(), request, &Attachment::default());
    region.map_err(io::Error::other)?;
    let Words(memory) = words;
    Arc::into_inner(memory).ok_or_else(|| io::Error::other("memory that is still in use"))
}

pub(crate) fn warn(what: &str) {
    use std::io::Write;
    // Nobody is left to be told if standard error is closed.
    let _ = writeln!(io::stderr(), "backdoors: {what}");
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
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

    fn leave(&self, caller: Option<ThreadId>) -> bool {
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
struct Words(Arc<SharedMemory>);

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
