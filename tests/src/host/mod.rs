//! Hosts on one machine: each has its own network, process ids, mounts and name, and a bound on what its users run.
//!
//! Everything in a host dies with its first process, the first process dies with the lab, and the lab dies with
//! the test, however the test ends: there is nothing to clean up. Names, addresses and pids live in namespaces,
//! so any number of labs run side by side.

mod cgroup;
mod network;

pub use network::{Network, Port};

use anyhow::{Context, Result, bail};
use cgroup::Cgroup;
use rustix::thread::LinkNameSpaceType;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What the users of a host may have at most, so that a bomb in it harms nobody else.
#[derive(Clone, Copy, Debug)]
pub struct HostLimits {
    /// Processes and threads.
    pub processes: u64,
    /// Memory, bytes.
    pub memory: u64,
}

impl Default for HostLimits {
    fn default() -> Self {
        HostLimits { processes: 1000, memory: 2 << 30 }
    }
}

/// A host. Dropping it ends every process in it.
#[derive(Debug)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
    port: Port,
    first: FirstProcess,
    cgroup: Cgroup,
}

impl Host {
    /// Boots a host and plugs it into `network`.
    ///
    /// # Errors
    /// If not root, or if the kernel lacks namespaces or the pids controller; nothing is left behind.
    pub fn boot(network: &Network, name: &str, address: Ipv4Addr, limits: HostLimits) -> Result<Host> {
        let cgroup = Cgroup::create(limits)?;
        // A private /run gives each host its own sockets, a private bpffs its own pins.
        let first = FirstProcess::start(&format!(
            "mount -t tmpfs tmpfs /run && mkdir /run/backdoors && mount -t bpf bpf /sys/fs/bpf && \
             hostname {name} && ip link set lo up"
        ))?;
        let port = network.plug(first.pid, "eth0", address)?;
        Ok(Host { name: name.to_owned(), address, port, first, cgroup })
    }

    /// The host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Where it is plugged into the network that it was booted in.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Where a file of the host is, seen from outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.first.pid))
    }

    /// Plugs the host into one more network.
    ///
    /// # Errors
    /// If it has an interface of that name, or has ended.
    pub fn plug_in(&self, network: &Network, interface: &str, address: Ipv4Addr) -> Result<Port> {
        network.plug(self.first.pid, interface, address)
    }

    /// Moves the calling thread, and the threads and programs that it starts from now on, into the host's network;
    /// sockets stay in the network that they were made in.
    ///
    /// # Errors
    /// If not root, or if the host has ended.
    pub fn enter_network(&self) -> Result<()> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.first.pid))?;
        rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering the network of {}", self.name))
    }

    /// A command that will run in the host, as root and without bounds.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.pid.to_string(), "--net", "--pid", "--mount", "--uts", "--"]);
        command.arg(program.as_ref());
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell script in the host and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be run or exits with another status than 0.
    pub fn shell(&self, script: &str) -> Result<String> {
        let output = self.command("sh").args(["-c", script]).output().context("running a shell in a host")?;
        text(script, &output)
    }

    /// Runs a shell script as another user of the host, within its limits, in the background, until it or the
    /// host ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn shell_as(&self, user: u32, script: &str) -> Result<()> {
        // The shell that starts it goes at once, and the host's first process inherits and reaps it.
        let start = format!("({}exec \"$@\") > /dev/null 2>&1 &", self.cgroup.enter_script());
        let output = self.starting_as(user, script, &start).output();
        text(script, &output.context("starting a shell as another user")?).map(drop)
    }

    /// A shell script that will run as another user of the host, within its limits.
    #[must_use]
    pub fn script_as(&self, user: u32, script: &str) -> Command {
        self.starting_as(user, script, &format!("{}exec \"$@\"", self.cgroup.enter_script()))
    }

    fn starting_as(&self, user: u32, script: &str, start: &str) -> Command {
        let id = user.to_string();
        let mut command = self.command("sh");
        command
            .args(["-c", start, "sh", "setsid", "setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
            .args(["--", "bash", "-c", script]);
        command
    }
}

fn text(script: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!("`{script}` failed: {} {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first process of a set of namespaces. It reaps what it inherits and does nothing else.
#[derive(Debug)]
pub(crate) struct FirstProcess {
    unshare: Child,
    pid: u32,
}

impl FirstProcess {
    fn start(setup: &str) -> Result<FirstProcess> {
        let script = format!("{setup} && echo up && while :; do sleep 3600 & wait $!; done");
        // Killed with the thread that made it; its child, process 1 of the namespace, is killed with it.
        let mut unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount", "--uts", "--fork"])
            .args(["--kill-child", "--mount-proc", "bash", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("starting unshare; labs need root and util-linux")?;
        let mut line = String::new();
        if let Some(stdout) = unshare.stdout.as_mut() {
            use std::io::{BufRead, BufReader};
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let pid = fs::read_to_string(children).ok().and_then(|text| text.trim().parse().ok());
        let mut first = FirstProcess { unshare, pid: pid.unwrap_or(0) };
        if line.trim() != "up" || first.pid == 0 {
            first.end();
            bail!("a host did not boot; labs need root");
        }
        Ok(first)
    }

    fn end(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Drop for FirstProcess {
    fn drop(&mut self) {
        self.end();
        // The namespace is empty once its first process is dead: then the cgroup can be removed. Whoever inherits
        // it may take a second to reap it, so a zombie is dead enough.
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.pid != 0 && alive(self.pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z')))
}
