//! The owner of a target's registered memory. It is handed memory over a unix socket, keeps it reachable for
//! monitors, and does nothing else, so that it still works when nothing else on its machine does.

use anyhow::Context;
use backdoors_rdma::emulated::Nic;
use backdoors_rdma::owner::{self, Listener, MemoryOwner};
use backdoors_rdma::realtime;
use backdoors_rdma::verbs::{Device, VerbsOwner};
use clap::{ArgAction, Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{IsTerminal, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Above ordinary real-time work, below the kernel's own watchdogs and migration threads.
const PRIORITY: i32 = 50;

/// Owns the memory that monitors may reach; outlives the agent that hands it over.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How monitors reach the memory.
    #[arg(long, value_enum)]
    provider: Provider,
    /// Where the emulated NIC listens for monitors.
    #[arg(long, value_name = "ADDRESS:PORT", required_if_eq("provider", "emulated"))]
    listen: Option<SocketAddr>,
    /// Where monitors are told to come to, if not where it listens. Port 0 means the port listened on; an unspecified
    /// address means the one the monitor found the agent at.
    #[arg(long, value_name = "ADDRESS:PORT")]
    advertise: Option<SocketAddr>,
    /// The RDMA device, as `rdma link` shows it; the first one if none is given.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Where agents hand memory over: path of the unix socket to be made.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Lock memory, and run before ordinary processes, as far as that is permitted.
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    realtime: bool,
    /// Least weight of what is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: tracing::Level,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    /// A NIC in software, over TCP.
    Emulated,
    /// An RDMA NIC, or soft-RoCE.
    Verbs,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(arguments.log).with_writer(std::io::stderr);
    log.with_ansi(colours).init();

    // Before any thread starts, since threads inherit both.
    if arguments.realtime {
        prepare();
    }
    allow_connections();
    let stop = stop_pipe().context("no signal can be waited for")?;
    let listener = Listener::bind(&arguments.socket)
        .with_context(|| format!("cannot listen at {}", arguments.socket.display()))?;
    let (mut owner, place) = owner(&arguments)?;

    // Somebody may wait for this line, and nobody may: then it is no reason to end.
    let ready = format!("ready: {place}, socket {}\n", arguments.socket.display());
    if let Err(error) = std::io::stdout().write_all(ready.as_bytes()) {
        tracing::warn!(%error, "nobody hears that this is ready");
    }
    owner::serve(&listener, owner.as_mut(), stop.as_fd()).context("cannot wait for agents")?;
    tracing::info!("told to stop");
    Ok(())
}

/// What a machine in trouble must not take away. Softly: where it is not permitted the owner works, just less surely.
fn prepare() {
    if let Err(error) = realtime::lock_memory() {
        tracing::warn!(%error, "memory is not locked: access may stall when the machine is out of memory");
    }
    match realtime::schedule_first(PRIORITY) {
        Ok(()) => tracing::info!(priority = PRIORITY, "scheduled before ordinary processes"),
        Err(error) => tracing::warn!(%error, "not real-time: access may stall when the machine is busy"),
    }
}

/// Each connection takes a file descriptor.
fn allow_connections() {
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
    {
        tracing::warn!(%error, "the number of connections is limited as it was");
    }
}

/// A socket that becomes readable when this process is told to stop.
fn stop_pipe() -> std::io::Result<UnixStream> {
    let (stop, sender) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    Ok(stop)
}

/// Makes the owner; tells what to show of it.
fn owner(arguments: &Arguments) -> anyhow::Result<(Box<dyn MemoryOwner>, String)> {
    match (arguments.provider, arguments.listen) {
        (Provider::Emulated, Some(listen)) => {
            let nic = Nic::new(listen, arguments.advertise)
                .with_context(|| format!("cannot listen for monitors at {listen}"))?;
            let place = format!("emulated NIC at {}", nic.advertised());
            Ok((Box::new(nic), place))
        }
        (Provider::Emulated, None) => anyhow::bail!("an emulated NIC needs --listen"),
        (Provider::Verbs, _) => {
            let device = Device::open(arguments.device.as_deref())?;
            let place = format!("RDMA device {} with GID {}", device.name(), Ipv6Addr::from(device.gid()));
            Ok((Box::new(VerbsOwner::new(Arc::new(device))), place))
        }
    }
}
