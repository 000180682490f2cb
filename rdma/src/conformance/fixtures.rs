//! Providers to examine.

use crate::conformance::{Failure, Fixture};
use crate::dial::Dialer;
use crate::emulated::{self, Nic};
use crate::owner::{Client, MemoryOwner};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
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
