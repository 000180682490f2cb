//! An application, its sensors and its hooks.

use crate::agent::{self, Attached, Failure};
use crate::hooks::{Hook, Hooks};
use crate::shared::{Link, OwnedHook, OwnedSpec, Shared, Words};
use crate::upkeep;
use backdoors_rdma::SharedMemory;
use backdoors_sensor_box::application::{
    ApplicationRegion, Attachment, HookSpec, Request, SensorSpec, SpecError, check, region_bytes,
};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
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
