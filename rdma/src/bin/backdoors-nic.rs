//! The owner of a target's registered memory. It is handed memory over a unix socket, keeps it reachable for
//! monitors, and does nothing else, so that it still works when nothing else on its machine does.
//!
//! With `--ram` it is the NIC of a virtual machine, outside of it; then another one, with `--provider attached`, runs
//! inside and programs it.

use anyhow::Context;
use backdoors_manual::{Completions, Man};
use backdoors_rdma::emulated::{Nic, ram};
use backdoors_rdma::owner::{self, Listener, MemoryOwner};
use backdoors_rdma::realtime;
use backdoors_rdma::supervisor;
use backdoors_rdma::verbs::{Device, VerbsOwner};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{IsTerminal, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Above ordinary real-time work, below the kernel's own watchdogs and migration threads.
const PRIORITY: i32 = 50;

/// Owns the memory that monitors may reach; outlives the agent that hands it over.
#[derive(Debug, Parser)]
#[command(
    name = "backdoors-nic",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
struct Arguments {
    #[command(subcommand)]
    manual: Option<Manual>,
    /// How monitors reach the memory.
    #[arg(long, value_enum, required_unless_present = "ram")]
    provider: Option<Provider>,
    /// Be the NIC of a virtual machine whose RAM is this file, the `mem-path` of QEMU's `memory-backend-file` with
    /// `share=on`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["provider", "socket"], requires_all = ["device", "listen"])]
    ram: Option<PathBuf>,
    /// Where the emulated NIC listens for monitors.
    #[arg(long, value_name = "ADDRESS:PORT", required_if_eq("provider", "emulated"))]
    listen: Option<SocketAddr>,
    /// Where monitors are told to come to, if not where it listens. Port 0 means the port listened on; an unspecified
    /// address means the one the monitor found the agent at.
    #[arg(long, value_name = "ADDRESS:PORT")]
    advertise: Option<SocketAddr>,
    /// The RDMA device, as `rdma link` shows it; the first one if none is given. With `--ram`, the unix socket at which
    /// QEMU listens for who is behind the virtio-serial port.
    #[arg(long, value_name = "NAME|PATH")]
    device: Option<String>,
    /// With `--ram`, the unix socket of QEMU's machine protocol (QMP), for this alone: then what a machine registered ends
    /// the moment it is reset, not only when it has booted.
    #[arg(long, value_name = "PATH", requires = "ram")]
    qmp: Option<PathBuf>,
    /// In a virtual machine, the virtio-serial port behind which its NIC is: a device or a port's name.
    #[arg(long, value_name = "PORT", required_if_eq("provider", "attached"))]
    port: Option<PathBuf>,
    /// In a virtual machine, a folder in the BPF file system that keeps registered maps, for this alone.
    #[arg(long, value_name = "PATH", default_value = "/sys/fs/bpf/backdoors-nic")]
    pins: PathBuf,
    /// Where agents hand memory over: path of the unix socket to be made.
    #[arg(long, value_name = "PATH", required_unless_present = "ram")]
    socket: Option<PathBuf>,
    /// Lock memory, and run before ordinary processes, as far as that is permitted.
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    realtime: bool,
    /// Least weight of what is logged: error, warn, info, debug or trace.
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log: tracing::Level,
}

#[derive(Debug, Subcommand)]
enum Manual {
    /// Print what a shell needs to complete this program's command lines.
    Completions(Completions),
    /// Write manual pages into a folder: one for the program, and one for each of its subcommands.
    #[command(hide = true)]
    Man(Man),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    /// A NIC in software, over TCP.
    Emulated,
    /// An RDMA NIC, or soft-RoCE.
    Verbs,
    /// The NIC outside this virtual machine, started there with `--ram`.
    Attached,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(manual) = &arguments.manual {
        return match manual {
            Manual::Completions(completions) => completions.print::<Arguments>().context("printing"),
            Manual::Man(man) => man.write::<Arguments>().context("cannot write manual pages"),
        };
    }
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_max_level(arguments.log).with_writer(std::io::stderr);
    log.with_ansi(colours).init();

    // Before any thread starts, since threads inherit both.
    if arguments.realtime {
        prepare();
    }
    allow_connections();
    let stop = stop_pipe().context("no signal can be waited for")?;
    match (&arguments.ram, &arguments.socket) {
        (Some(ram), _) => serve_machine(&arguments, ram, stop.as_fd()),
        (None, Some(socket)) => serve_agents(&arguments, socket, stop.as_fd()),
        (None, None) => anyhow::bail!("--socket is missing"),
    }?;
    supervisor::stopping();
    tracing::info!("told to stop");
    Ok(())
}

/// Owns this machine's memory.
fn serve_agents(arguments: &Arguments, socket: &Path, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
    let listener =
        Listener::bind(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let (mut owner, place) = owner(arguments)?;
    ready(&format!("{place}, socket {}", socket.display()));
    owner::serve(&listener, owner.as_mut(), stop).context("cannot wait for agents")
}

/// Owns a virtual machine's memory.
fn serve_machine(arguments: &Arguments, ram: &Path, stop: BorrowedFd<'_>) -> anyhow::Result<()> {
    let device = arguments.device.as_ref().context("--device is missing")?;
    let nic = emulated(arguments)?;
    let advertised = nic.advertised();
    if advertised.ip().is_unspecified() {
        anyhow::bail!(
            "monitors would look for the NIC in the virtual machine: give this machine's --advertise"
        );
    }
    // The threads that serve monitors keep their turn; a guest that asks and asks has to wait like anybody.
    if arguments.realtime
        && let Err(error) = realtime::schedule_ordinarily()
    {
        tracing::warn!(%error, "a guest that never stops asking may slow this machine down");
    }
    ready(&format!("emulated NIC at {advertised}, RAM {}, port {device}", ram.display()));
    let sockets = ram::Sockets { port: Path::new(device), monitor: arguments.qmp.as_deref() };
    ram::serve(&mut ram::Device::new(nic), ram, sockets, stop).context("cannot wait for the machine")
}

fn ready(place: &str) {
    // Somebody may wait for this line, and nobody may: then it is no reason to end.
    if let Err(error) = std::io::stdout().write_all(format!("ready: {place}\n").as_bytes()) {
        tracing::warn!(%error, "nobody hears that this is ready");
    }
    supervisor::ready(place);
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
    match arguments.provider {
        Some(Provider::Verbs) => {
            let device = Device::open(arguments.device.as_deref())?;
            let place = format!("RDMA device {} with GID {}", device.name(), Ipv6Addr::from(device.gid()));
            Ok((Box::new(VerbsOwner::new(Arc::new(device))), place))
        }
        Some(Provider::Attached) => {
            let port = arguments.port.as_ref().context("--port is missing")?;
            let attached = ram::Attached::open(port, &arguments.pins)
                .context("start backdoors-nic with --ram outside this machine first")?;
            Ok((Box::new(attached), format!("attached to the NIC behind {}", port.display())))
        }
        Some(Provider::Emulated) | None => {
            let nic = emulated(arguments)?;
            let place = format!("emulated NIC at {}", nic.advertised());
            Ok((Box::new(nic), place))
        }
    }
}

fn emulated(arguments: &Arguments) -> anyhow::Result<Nic> {
    let listen = arguments.listen.context("an emulated NIC needs --listen")?;
    Nic::new(listen, arguments.advertise).with_context(|| format!("cannot listen for monitors at {listen}"))
}
