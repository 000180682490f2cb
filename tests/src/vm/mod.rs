//! Virtual machines with Debian's kernels and soft-RoCE.
//!
//! A guest is a QEMU process under emulation, so it needs no privilege and no hardware. It is killed when its [`Vm`] is
//! dropped, when a test panics and when the test itself is killed; several tests can run side by side.
//!
//! ```no_run
//! use backdoors_tests::vm::{GuestCommand, Kernel, Vm, VmConfig, Wire};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), backdoors_tests::vm::VmError> {
//! let wire = Wire::new()?;
//! // The target is 10.77.0.1 and the monitor 10.77.0.2; both have the soft-RoCE device rxe0.
//! let [target, monitor] = Vm::boot_all([
//!     VmConfig { name: "target", network: Some(&wire), programs: vec!["backdoors-agent".into()], ..VmConfig::default() },
//!     VmConfig { name: "monitor", kernel: Kernel::Stable61, network: Some(&wire), ..VmConfig::default() },
//! ])?;
//! let agent = target.spawn("backdoors-agent run --config /etc/agent.toml")?;
//! target.spawn(GuestCommand::new("ulimit -u 300; bomb() { bomb | bomb & }; bomb").user(1001))?;
//! let links = monitor.shell("rdma link")?; // fails unless the command succeeds
//! let output = target.run("pgrep -c -u mallory")?; // any exit status, within a minute
//! target.pause()?; // its CPUs stop; `resume`, `cut_network`, `mend_network` likewise
//! # Ok(()) }
//! ```
//!
//! A guest can have a link to this machine and a NIC outside of it ([`VmConfig::outside_nic`]), which serves its memory
//! also when its kernel is broken, and [`break_kernel`] breaks it.
//!
//! Every guest has busybox, bash, iproute2 (`ip`, `tc`, `ss`, `rdma`), `stress-ng`, `tcpdump`, perftest's `ib_*_lat`,
//! `ibv_devinfo`, `chrt`, `setpriv` and `prlimit`; the users root, alice (1000), mallory (1001) and shop (1002); and BTF,
//! bpffs, tracefs and cgroup v2 in their usual places. With [`VmConfig::systemd`] it has systemd, `systemd-oomd`,
//! `earlyoom` and `dpkg`, too. Programs of this workspace come from the target directory of the running test.
//!
//! When a test panics, the end of each guest's console is printed and the whole of it kept in `target/vm-logs`.

mod archive;
pub mod break_kernel;
mod channel;
mod command;
mod error;
mod initramfs;
mod kept;
mod outside_nic;
mod programs;
pub mod protocol;
mod qemu;
mod qmp;
mod scratch;
mod switch;
mod uplink;
mod wire;

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

pub use backdoors_guest_kernels::Kernel;
use serde_json::json;

use self::{
    channel::{Answers, Channel},
    command::ANSWER_DEADLINE,
    protocol::{Action, Event},
    qemu::{BOOT_DEADLINE, NETWORK, Qemu, kept_logs},
    qmp::Monitor,
};
pub use self::{
    command::{GuestCommand, Output, Priority, Running},
    error::VmError,
    initramfs::GuestFile,
    outside_nic::{NIC_PORT, SeenFrom},
    uplink::Uplink,
    wire::Wire,
};

/// How long [`Vm::run`] and [`Vm::shell`] wait for a command.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// The disk that a guest with swap space swaps to.
pub const SWAP_DISK: &str = "/dev/vda";

/// What a guest is to be like.
#[derive(Clone, Debug)]
pub struct VmConfig<'a> {
    /// Its host name, also in messages.
    pub name: &'a str,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its memory in MiB. It bounds the processes: with 512 MiB about 3000, half of them for any user but root.
    pub memory_mib: u32,
    /// Its swap space in MiB, on a disk of its own that is a sparse file here; none with 0. In the guest the disk is
    /// [`SWAP_DISK`], in use from the start; `swapoff` and `swapon` take it away and bring it back.
    pub swap_mib: u32,
    /// Its processors.
    pub cpus: u8,
    /// Its network; without one it has no soft-RoCE device either.
    pub network: Option<&'a Wire>,
    /// Whether it has a link to this machine, beside its network: it reaches this machine's loopback interface at
    /// 10.0.2.2, and this machine its port 7801 at [`Vm::handshakes`].
    pub host_link: bool,
    /// Whether it has a NIC outside, which serves its memory whatever its kernel does, and from where monitors come to
    /// that. In the guest it is behind the port named [`NIC_PORT`].
    pub outside_nic: Option<SeenFrom>,
    /// Whether it boots again after a reset, rather than end.
    pub reboots: bool,
    /// Whether systemd is its first process, with Debian's `systemd-oomd` and `earlyoom` as services that nobody has
    /// started yet, and `dpkg`, which knows of no package.
    pub systemd: bool,
    /// Programs of this workspace to put into `/usr/bin`, with their libraries.
    pub programs: Vec<String>,
    /// Programs of this workspace whose libraries it has; they themselves come there in another way.
    pub libraries_of: Vec<String>,
    /// Files to copy into it, as they are.
    pub files: Vec<GuestFile>,
    /// How long it may take until it answers.
    pub boot_deadline: Duration,
}

impl Default for VmConfig<'_> {
    fn default() -> Self {
        VmConfig {
            name: "guest",
            kernel: Kernel::Newest,
            memory_mib: 512,
            swap_mib: 0,
            cpus: 1,
            network: None,
            host_link: false,
            outside_nic: None,
            reboots: false,
            systemd: false,
            programs: Vec::new(),
            libraries_of: Vec::new(),
            files: Vec::new(),
            boot_deadline: BOOT_DEADLINE,
        }
    }
}

/// A running guest.
#[derive(Debug)]
pub struct Vm {
    name: String,
    address: Option<Ipv4Addr>,
    release: String,
    cpus: u8,
    boot_deadline: Duration,
    channel: Channel,
    monitor: Monitor,
    qemu: Mutex<Qemu>,
}

impl Vm {
    /// Boots a guest and waits until it is up.
    ///
    /// # Errors
    /// When something is missing on this machine, or the guest is not up in time.
    pub fn boot(config: VmConfig<'_>) -> Result<Vm, VmError> {
        Starting::start(&config)?.up()
    }

    /// Boots several guests at the same time. They take the ends of a wire in their order here.
    ///
    /// # Errors
    /// As [`Vm::boot`]; then none of them is left running.
    pub fn boot_all<const N: usize>(configs: [VmConfig<'_>; N]) -> Result<[Vm; N], VmError> {
        let starting = configs.iter().map(Starting::start).collect::<Result<Vec<_>, _>>()?;
        let up = starting.into_iter().map(Starting::up).collect::<Result<Vec<_>, _>>()?;
        match up.try_into() {
            Ok(guests) => Ok(guests),
            Err(_) => unreachable!("as many guests as configurations"),
        }
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the wire, when it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.address
    }

    /// Its kernel, as `uname -r` prints it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// How many processors it has.
    pub fn cpus(&self) -> u8 {
        self.cpus
    }

    /// Runs a command to its end, within [`COMMAND_DEADLINE`]; any exit status will do.
    ///
    /// # Errors
    /// As [`Vm::run_within`].
    pub fn run(&self, command: impl Into<GuestCommand>) -> Result<Output, VmError> {
        self.run_within(COMMAND_DEADLINE, command)
    }

    /// Runs a command to its end; any exit status will do.
    ///
    /// # Errors
    /// [`VmError::Late`] when it does not end in time, after trying to kill it; or when the guest does not answer.
    pub fn run_within(
        &self,
        deadline: Duration,
        command: impl Into<GuestCommand>,
    ) -> Result<Output, VmError> {
        Running::start(&self.channel, &command.into(), Priority::Favoured)?.wait(deadline)
    }

    /// Runs a command that must succeed, and returns what it printed without the last line's end.
    ///
    /// # Errors
    /// [`VmError::Failed`] when it does not; or as [`Vm::run_within`].
    pub fn shell(&self, command: impl Into<GuestCommand>) -> Result<String, VmError> {
        let command = command.into();
        let output = self.run(command.clone())?;
        if !output.succeeded() {
            return Err(VmError::Failed { command: command.script().to_owned(), output });
        }
        Ok(output.stdout.trim_end_matches('\n').to_owned())
    }

    /// Repeats a command in the guest until it succeeds, and returns what it printed then.
    ///
    /// # Errors
    /// [`VmError::Late`] when it never does within the deadline.
    pub fn wait_until(&self, deadline: Duration, command: &str) -> Result<String, VmError> {
        let script = format!("until out=$( {command}\n ); do sleep 0.05; done; printf '%s' \"$out\"");
        self.run_within(deadline, script).map(|output| output.stdout)
    }

    /// Starts a command and returns while it runs.
    ///
    /// # Errors
    /// When it cannot be started, or the guest does not answer.
    pub fn spawn(&self, command: impl Into<GuestCommand>) -> Result<Running<'_>, VmError> {
        Running::start(&self.channel, &command.into(), Priority::Normal)
    }

    /// Stores a file, and the directories above it.
    ///
    /// # Errors
    /// When it cannot be written, or the guest does not answer.
    pub fn write_file(&self, path: &str, permissions: u32, content: impl AsRef<[u8]>) -> Result<(), VmError> {
        let action = Action::WriteFile { path: path.to_owned(), permissions };
        self.channel.ask(action, content.as_ref(), ANSWER_DEADLINE).map(drop)
    }

    /// Stops its processors; its memory stays. To its peers it looks like a hung machine.
    ///
    /// # Errors
    /// When QEMU does not obey.
    pub fn pause(&self) -> Result<(), VmError> {
        self.monitor.execute("stop", json!({}))
    }

    /// Undoes [`Vm::pause`].
    ///
    /// # Errors
    /// When QEMU does not obey.
    pub fn resume(&self) -> Result<(), VmError> {
        self.monitor.execute("cont", json!({}))
    }

    /// Pulls its cable.
    ///
    /// # Errors
    /// When QEMU does not obey, for instance because there is no cable.
    pub fn cut_network(&self) -> Result<(), VmError> {
        self.monitor.execute("set_link", json!({ "name": NETWORK, "up": false }))
    }

    /// Undoes [`Vm::cut_network`].
    ///
    /// # Errors
    /// When QEMU does not obey, for instance because there is no cable.
    pub fn mend_network(&self) -> Result<(), VmError> {
        self.monitor.execute("set_link", json!({ "name": NETWORK, "up": true }))
    }

    /// Presses its reset button. It boots again if it was made to, else it ends.
    ///
    /// # Errors
    /// When QEMU does not obey.
    pub fn reset(&self) -> Result<(), VmError> {
        self.monitor.execute("system_reset", json!({}))
    }

    /// Presses its reset button and waits until it is up again, which it must have been made for. Nothing of before is
    /// left, and what was under way in it is never answered.
    ///
    /// # Errors
    /// When QEMU does not obey, or the guest is not up in time.
    pub fn reboot(&self) -> Result<(), VmError> {
        let ready = self.channel.ready()?;
        self.reset()?;
        self.up(&ready).map(drop)
    }

    /// Waits until it says that it is; returns its kernel's name.
    fn up(&self, ready: &Answers) -> Result<String, VmError> {
        let answer = ready.next(self.boot_deadline);
        self.channel.forget(ready);
        match answer {
            Ok(Some((Event::Ready { release }, _))) => Ok(release),
            Ok(_) | Err(VmError::Gone) => Err(VmError::NotUp {
                name: self.name.clone(),
                deadline: self.boot_deadline,
                console: tail(&self.console()),
            }),
            Err(error) => Err(error),
        }
    }

    /// Ends it at once, as if its plug were pulled. Its end of the wire stays taken.
    pub fn pull_plug(&self) {
        self.qemu().kill();
    }

    /// Everything it has printed on its console.
    pub fn console(&self) -> String {
        self.qemu().console()
    }

    /// The QEMU process on this machine.
    pub fn qemu_pid(&self) -> u32 {
        self.qemu().pid()
    }

    fn qemu(&self) -> std::sync::MutexGuard<'_, Qemu> {
        self.qemu.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        let console = self.console();
        let logs = kept_logs();
        let log = logs.join(format!("{}-{}.log", self.name, self.qemu_pid()));
        eprintln!("--- console of guest {}, its end ---\n{}", self.name, tail(&console));
        if self.outside_nic().is_some() {
            eprintln!("--- its NIC ---\n{}", tail(&self.outside_nic_log()));
        }
        match fs::create_dir_all(&logs).and_then(|()| fs::write(&log, &console)) {
            Ok(()) => eprintln!("--- all of it: {} ---", log.display()),
            Err(error) => eprintln!("--- it could not be kept: {error} ---"),
        }
    }
}

/// A guest that has power but does not answer yet.
struct Starting {
    vm: Vm,
    ready: Answers,
}

impl Starting {
    fn start(config: &VmConfig<'_>) -> Result<Starting, VmError> {
        let (qemu, address, monitor, control) = Qemu::start(config)?;
        let monitor = Monitor::greet(monitor)?;
        let (channel, ready) = Channel::open(control)?;
        let vm = Vm {
            name: config.name.to_owned(),
            address,
            release: String::new(),
            cpus: config.cpus,
            boot_deadline: config.boot_deadline,
            channel,
            monitor,
            qemu: Mutex::new(qemu),
        };
        Ok(Starting { vm, ready })
    }

    fn up(self) -> Result<Vm, VmError> {
        let Starting { mut vm, ready } = self;
        vm.release = vm.up(&ready)?;
        Ok(vm)
    }
}

fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
