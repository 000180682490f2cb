//! Providers to examine.

use crate::conformance::{ABSENT_NIC, Failure, Fixture, LOST_OWNER, MakeMemory};
use crate::dial::Dialer;
use crate::emulated::{self, Nic, ram};
use crate::memory::{Protection, SharedMemory};
use crate::owner::{Client, MemoryOwner};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn failed<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// The emulated NIC, in this process.
#[derive(Debug, Default)]
pub struct InProcess;

impl Fixture for InProcess {
    fn name(&self) -> String {
        "emulated, in process".into()
    }

    fn start(&mut self) -> Result<Box<dyn MemoryOwner>, Failure> {
        let nic = Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).map_err(failed("no NIC"))?;
        Ok(Box::new(nic))
    }

    fn dialer(&mut self, deadline: Duration) -> Result<Box<dyn Dialer>, Failure> {
        Ok(Box::new(emulated::Dialer::new(deadline, None)))
    }

    fn lose(&mut self, owner: Box<dyn MemoryOwner>) {
        drop(owner);
    }
}

/// Makes dialers for a provider.
pub type Dialers = Box<dyn FnMut(Duration) -> Result<Box<dyn Dialer>, Failure>>;

/// A `backdoors-nic` in a process of its own, killed when it is lost.
pub struct Process {
    program: PathBuf,
    arguments: Vec<String>,
    socket: PathBuf,
    dialers: Dialers,
    child: Option<Child>,
}

impl Process {
    /// Runs `program` with these arguments and `--socket` with this path.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>, socket: PathBuf, dialers: Dialers) -> Process {
        Process { program, arguments, socket, dialers, child: None }
    }

    /// An emulated NIC on the loopback interface.
    #[must_use]
    pub fn emulated(program: PathBuf, socket: PathBuf) -> Process {
        let arguments =
            ["--provider", "emulated", "--listen", "127.0.0.1:0", "--log", "error"].map(String::from).into();
        let dialers = |deadline| Ok(Box::new(emulated::Dialer::new(deadline, None)) as Box<dyn Dialer>);
        Process::new(program, arguments, socket, Box::new(dialers))
    }

    /// The process, while there is one.
    pub fn child(&mut self) -> Option<&mut Child> {
        self.child.as_mut()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either fails only if the process has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Fixture for Process {
    fn name(&self) -> String {
        format!("{} {}", self.program.display(), self.arguments.join(" "))
    }

    fn start(&mut self) -> Result<Box<dyn MemoryOwner>, Failure> {
        self.end();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg("--socket")
            .arg(&self.socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed("it does not start"))?;
        let stdout = child.stdout.take();
        self.child = Some(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line).map_err(failed("it says nothing"))?;
        }
        if !line.starts_with("ready") {
            return Err(Failure(format!("it is not ready; it said {line:?}")));
        }
        let client = Client::connect(&self.socket).map_err(failed("its socket"))?;
        Ok(Box::new(client))
    }

    fn dialer(&mut self, deadline: Duration) -> Result<Box<dyn Dialer>, Failure> {
        (self.dialers)(deadline)
    }

    fn lose(&mut self, owner: Box<dyn MemoryOwner>) {
        self.end();
        drop(owner);
    }
}

/// In a virtual machine, a `backdoors-nic` that programs the NIC outside.
pub struct Attached(Process);

impl Attached {
    /// Runs `program` for the NIC behind the port of this name.
    #[must_use]
    pub fn new(program: PathBuf, port: &str, socket: PathBuf) -> Attached {
        let arguments = ["--provider", "attached", "--port", port, "--log", "error"].map(String::from).into();
        let dialers = |deadline| Ok(Box::new(emulated::Dialer::new(deadline, None)) as Box<dyn Dialer>);
        Attached(Process::new(program, arguments, socket, Box::new(dialers)))
    }
}

impl Fixture for Attached {
    fn name(&self) -> String {
        self.0.name()
    }

    /// The NIC itself outlives its owner's process, so what an earlier one registered is retired.
    fn start(&mut self) -> Result<Box<dyn MemoryOwner>, Failure> {
        let mut owner = self.0.start()?;
        for (region, _) in owner.regions().map_err(failed("what an earlier one left"))? {
            owner.retire(region).map_err(failed("what an earlier one left"))?;
        }
        Ok(owner)
    }

    fn dialer(&mut self, deadline: Duration) -> Result<Box<dyn Dialer>, Failure> {
        self.0.dialer(deadline)
    }

    fn lose(&mut self, owner: Box<dyn MemoryOwner>) {
        self.0.lose(owner);
    }

    fn memory(&self) -> MakeMemory {
        |length| {
            let map = ram::bpf::mappable_array(length)?;
            Ok((SharedMemory::map(map.as_fd(), 0, length, Protection::ReadWrite)?, map))
        }
    }

    /// Its process may end and the NIC serves on: that is what it is for.
    fn must(&self, check: &str) -> bool {
        ![LOST_OWNER, ABSENT_NIC].contains(&check)
    }
}
