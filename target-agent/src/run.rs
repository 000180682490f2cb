//! `backdoors-agent run`: brings everything up, then has nothing left to do but the heartbeat.

mod calls;
mod monitors;
mod reception;
mod sessions;

pub use monitors::KnownError;

use crate::applications::{Applications, Caller};
use crate::config::{Config, ConfigError};
use crate::errand::Watched;
use crate::kernel::Pins;
use crate::pressure::PressureWatch;
use crate::seat::Seat;
use crate::services::{BoxesError, ServiceBoxes};
use crate::source::{Source, SourceError};
use crate::{offer, owner_process};
use backdoors_rdma::handshake::{
    AcceptError, Acceptor, Certificate, Hello, Identity, IdentityError, Secret, Welcome, serve,
};
use backdoors_rdma::owner::{Client, MemoryOwner, OwnerError};
use backdoors_rdma::realtime;
use backdoors_rdma::supervisor::{self, Pulse, Watchdog};
use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::writer::{Sensor, SensorBox};
use monitors::Known;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::words::Words;

const HEARTBEAT: Duration = Duration::from_millis(100);
/// Time between looks whether owner and helper are still there.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Why the agent does not run. Whatever it had brought up is taken up again by the next start, or removed by
/// `backdoors-agent detach`.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing fills the sensor box.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The monitors cannot be known.
    #[error(transparent)]
    Known(#[from] KnownError),
    /// The agent's own key or certificate cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The handshake cannot be served.
    #[error(transparent)]
    Accept(#[from] AcceptError),
    /// The owner of registered memory cannot be reached.
    #[error(
        "no owner of registered memory at {path} ({source}): start backdoors-nic first, or correct `owner`"
    )]
    NoOwner {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The owner of registered memory does not take the regions.
    #[error("the owner of registered memory did not take the regions: {0}")]
    Owner(#[from] OwnerError),
    /// The handshake's address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Applications cannot attach.
    #[error("cannot listen for applications at {path}: {source}; correct `applications`, or make its folder")]
    Applications {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Servers of services cannot attach.
    #[error(
        "cannot listen for servers of services at {path}: {source}; correct `service_socket`, or make its folder"
    )]
    Services {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Sessions have no boxes.
    #[error("no memory for the boxes of services' sessions: {0}")]
    Boxes(#[from] BoxesError),
    /// The sensor box cannot be used.
    #[error("the sensor box cannot be used: {0}")]
    Box(String),
    /// The system refused something any process may do.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
}

/// Runs the agent until it is told to stop (SIGTERM, SIGINT): then it takes everything back that it handed over, and
/// unloads the kernel half. If it is killed instead, all of that stays and works on, for the next agent to take up.
///
/// # Errors
/// See [`RunError`].
pub fn run(path: &Path) -> Result<(), RunError> {
    let config = &Config::load(path).map_err(KnownError::from)?;
    let mut stop = stop_socket()?;
    let listener = TcpListener::bind(config.listen)
        .map_err(|source| RunError::Listen { address: config.listen, source })?;
    let known = Known::load(config)?;
    let identity = Identity::load(&config.identity, &config.name)?;
    let acceptor = Arc::new(Acceptor::new(&identity, known.by_certificate())?);
    if let Err(error) = realtime::lock_memory() {
        tracing::warn!(%error, "the agent's memory is not locked: its heartbeat may stall when memory is short");
    }
    let owner = connect(config)?;
    let source = Source::bring_up(config, &protected(config))?;
    let sensors = SensorBox::adopt(source.memory().sensors.words.clone());
    let sensors = sensors.map_err(|error| RunError::Box(error.to_string()))?;
    let heartbeat = sensors.find(SensorKind::AGENT_HEARTBEAT, 0);
    let heartbeat = heartbeat.ok_or_else(|| RunError::Box("it has no heartbeat".into()))?;
    let applications = reception::take_up(config, &source);
    let services = Arc::new(sessions::take_up(config, &source)?);
    let variables = source.memory().variables.words.clone();
    let variables =
        Watched::offer(variables, config.variables().map_err(ConfigError::from).map_err(KnownError::from)?);
    let mut agent = Agent {
        config: config.clone(),
        variables,
        known,
        source,
        applications,
        services: Arc::clone(&services),
        reception: None,
        session_reception: None,
        owner: Some(owner),
        stopped: false,
    };
    agent.hand_over()?;
    let agent = Arc::new(Mutex::new(agent));
    if let Some(path) = &config.applications {
        let (caller, inbox) = Caller::new()?;
        let reception = reception::serve(path, Arc::clone(&agent), inbox)?;
        lock(&agent).reception = Some(reception);
        if matches!(lock(&agent).source, Source::Kernel(_)) {
            calls::serve(&Pins::new(&config.pins), caller)?;
        }
    }
    if let Some(path) = &config.service_socket {
        let memory = Arc::clone(lock(&agent).source.memory());
        let reception = sessions::serve(path, services, memory)?;
        lock(&agent).session_reception = Some(reception);
    }
    monitors::reload_when_told(path.into(), Arc::clone(&acceptor), Arc::clone(&agent))?;
    serve_handshakes(listener, acceptor, Arc::clone(&agent))?;
    let looks = Pulse::default();
    look_after(Arc::clone(&agent), looks.clone())?;
    let generation = sensors.header().map(|header| header.generation).unwrap_or_default();
    writeln!(
        io::stdout(),
        "ready: {} serves handshakes at {}, generation {generation:x}",
        config.name,
        config.listen
    )?;
    supervisor::ready(&format!("serves handshakes at {}", config.listen));
    beat(&sensors, heartbeat, PressureWatch::over(&sensors), Watchdog::wanted(vec![looks]), &mut stop)?;
    supervisor::stopping();
    tracing::info!("stopping: monitors lose access, and what fills the sensor box ends");
    lock(&agent).take_down()
}

struct Agent {
    config: Config,
    known: Known,
    source: Source,
    applications: Applications,
    /// The boxes of services, if servers can attach.
    services: Arc<Vec<ServiceBoxes>>,
    /// `None` if there is no room for any.
    variables: Option<Watched>,
    /// Closing it ends the thread that serves applications.
    reception: Option<UnixStream>,
    /// The same for servers of services.
    session_reception: Option<UnixStream>,
    /// `None` while there is none.
    owner: Option<Client>,
    /// Nothing may be brought up any more.
    stopped: bool,
}

fn lock(agent: &Mutex<Agent>) -> MutexGuard<'_, Agent> {
    // Nothing in there is left half changed by a panic that the next look would not put right.
    agent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    fn hand_over(&mut self) -> Result<(), OwnerError> {
        // Without an owner, too, nobody is obeyed who is not known.
        let seated =
            self.known.seat(&mut self.source).map_err(|error| OwnerError::Device(error.to_string()))?;
        let owner = self.owner.as_mut().ok_or_else(|| OwnerError::Lost("it is gone".into()))?;
        monitors::cut_off(owner, &seated)?;
        offer::hand_over(owner, self.source.memory(), &self.known.slots(), &self.applications, &self.services)
            .map(drop)
    }

    fn look_after(&mut self) {
        if self.stopped {
            return;
        }
        self.source.look_after(&self.config, &protected(&self.config));
        self.applications.look_after(Instant::now());
        self.variables.iter().for_each(Watched::look);
        let slots = self.known.slots();
        let memory = self.source.memory();
        let (applications, services) = (&self.applications, &self.services);
        let look = |owner| offer::is_handed_over(owner, memory, &slots, applications, services);
        match self.owner.as_mut().map(look) {
            Some(Ok(true)) => return,
            Some(Err(error)) => tracing::warn!(%error, "asking the owner"),
            Some(Ok(false)) | None => {}
        }
        self.owner = Client::connect(&self.config.owner).ok();
        if self.owner.is_some() {
            match self.hand_over() {
                Ok(()) => tracing::warn!("handed the memory over anew: monitors must shake hands again"),
                Err(error) => tracing::warn!(%error, "the owner does not take the memory"),
            }
        }
    }

    fn admit(&mut self, monitor: &str, certificate: &Certificate, hello: &Hello) -> Result<Welcome, String> {
        if self.stopped {
            return Err("the target's agent is stopping".into());
        }
        // It may have been removed while it proved who it is.
        let known = self.known.holder(monitor, certificate).ok_or("it is not known any more")?;
        let (slot, may) = (known.slot, known.may);
        let owner = self.owner.as_mut().ok_or("the owner of the target's memory is gone; try later")?;
        let admission = owner.admit(monitor, slot, &hello.endpoints).map_err(|error| error.to_string())?;
        // Whatever it wrote by the key of an earlier handshake is nobody's from here on.
        let secret = Secret::generate().map_err(|error| error.to_string())?;
        self.source
            .change_seat(slot, |_| {
                Seat::new(secret.bytes(), certificate.fingerprint().number(), may.commands)
                    .that_may_fence(may.fence)
            })
            .map_err(|error| format!("its key cannot be kept: {error}"))?;
        Ok(Welcome { target: self.config.name.clone(), admission, secret })
    }

    fn take_down(&mut self) -> Result<(), RunError> {
        self.stopped = true;
        self.reception = None;
        self.session_reception = None;
        if let Some(owner) = self.owner.as_mut() {
            for (region, _) in owner.regions()? {
                owner.retire(region)?;
            }
            for monitor in owner.monitors()? {
                match owner.dismiss(&monitor) {
                    Ok(()) | Err(OwnerError::UnknownMonitor(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(self.source.take_down()?)
    }
}

/// Besides the helper: this process, and the owner of the memory if it is in the same pid namespace.
fn protected(config: &Config) -> Vec<u32> {
    let owner = owner_process::pid(&config.owner);
    if let Err(error) = &owner {
        tracing::debug!(%error, "the owner's process id is not known");
    }
    [Some(std::process::id()), owner.ok()].into_iter().flatten().collect()
}

fn connect(config: &Config) -> Result<Client, RunError> {
    Client::connect(&config.owner).map_err(|source| RunError::NoOwner { path: config.owner.clone(), source })
}

fn serve_handshakes(
    listener: TcpListener,
    acceptor: Arc<Acceptor>,
    agent: Arc<Mutex<Agent>>,
) -> io::Result<()> {
    thread::Builder::new().name("handshakes".into()).spawn(move || {
        serve(&listener, &acceptor, move |monitor, certificate, hello| {
            lock(&agent).admit(monitor, certificate, hello)
        });
    })?;
    Ok(())
}

fn look_after(agent: Arc<Mutex<Agent>>, looks: Pulse) -> io::Result<()> {
    lock(&agent).look_after();
    looks.beat();
    thread::Builder::new().name("look-after".into()).spawn(move || {
        loop {
            thread::sleep(LOOK_AFTER);
            lock(&agent).look_after();
            looks.beat();
        }
    })?;
    Ok(())
}

/// A socket that becomes readable when this process is told to stop.
fn stop_socket() -> io::Result<UnixStream> {
    let (stop, sender) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    stop.set_read_timeout(Some(HEARTBEAT))?;
    Ok(stop)
}

/// Beats until told to stop, and looks at the machine's memory meanwhile if nobody else does. That this goes on is what the
/// watchdog is told.
fn beat(
    sensors: &SensorBox<Words>,
    heartbeat: Sensor,
    mut pressure: Option<PressureWatch>,
    mut watchdog: Option<Watchdog>,
    stop: &mut UnixStream,
) -> io::Result<()> {
    let start = Instant::now();
    loop {
        sensors.set(heartbeat, sensors.value(heartbeat).wrapping_add(1));
        if let Some(pressure) = &mut pressure {
            pressure.look(start.elapsed(), sensors);
        }
        watchdog.iter_mut().for_each(Watchdog::look);
        match stop.read(&mut [0]) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}
