//! The programs that a bench measures: the monitor's daemon, and an owner of memory that stands for a target's NIC.

use anyhow::{Context, Result, bail};
use backdoors_rdma::owner::Client;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Below that of the NIC.
const PRIORITY: &str = "40";
/// How long a program may take to come up.
const UP: Duration = Duration::from_secs(30);

/// A program of ours, ended when dropped.
pub struct Running(Child);

impl Running {
    /// Starts `command`.
    pub fn start(mut command: Command) -> Result<Running> {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Running(child.with_context(|| format!("starting {}", program.display()))?))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// CPU time used so far by its threads called `name`, or by all.
    pub fn cpu_time(&self, name: Option<&str>) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let task = task?.path();
            // A thread may end between the listing and the reading.
            let Ok(called) = fs::read_to_string(task.join("comm")) else { continue };
            if name.is_none_or(|name| called.trim() == name) {
                total += schedstat(&task.join("schedstat"))?;
            }
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nanoseconds of CPU time.
pub fn schedstat(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    Ok(text.split_whitespace().next().context("no schedstat")?.parse()?)
}

/// A program of the workspace, beside this one.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// An emulated NIC in a process of its own, in `folder`, and the way to register memory with it.
pub fn nic(folder: &Path) -> Result<(Running, Client)> {
    let socket = folder.join("nic.sock");
    let mut command = Command::new(program("backdoors-nic")?);
    command.args(["--provider", "emulated", "--listen", "127.0.0.1:0", "--socket"]).arg(&socket);
    let nic = Running::start(command)?;
    let client = until("the NIC does not come up", || Ok(Client::connect(&socket).ok()))?;
    Ok((nic, client))
}

/// A daemon that looks after targets, in `folder`.
pub struct Daemon {
    pub running: Running,
    folder: PathBuf,
}

impl Daemon {
    /// Starts it by these lines of configuration, behind those that every daemon needs. The folder has its identity,
    /// `monitor`. If it is to be `prompt`, it runs before ordinary programs, as on a machine that has nothing else to
    /// do.
    pub fn start(folder: &Path, lines: &str, prompt: bool) -> Result<Daemon> {
        let file = folder.join("monitor.toml");
        let first =
            "name = \"monitor\"\nidentity = \".\"\nsocket = \"monitor.sock\"\njournal = \"journal.jsonl\"\n";
        fs::write(&file, format!("{first}{lines}"))?;
        let program = program("backdoors")?;
        let mut command = if prompt { Command::new("chrt") } else { Command::new(&program) };
        if prompt {
            command.args(["--fifo", PRIORITY]).arg(&program);
        }
        command.args(["monitor", "--config"]).arg(&file);
        Ok(Daemon { running: Running::start(command)?, folder: folder.to_owned() })
    }

    /// What `backdoors targets` says; nothing if it does not answer.
    pub fn targets(&self) -> Result<Vec<Value>> {
        self.ask("targets")
    }

    /// Whether it was late itself not long ago, and so widens the deadlines of any target.
    pub fn widens_deadlines(&self) -> Result<bool> {
        let widens = |target: &Value| target["lateness"]["multiplier"].as_f64().is_some_and(|by| by > 1.0);
        Ok(self.ask("verdicts")?.iter().any(widens))
    }

    /// Where it is asked.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("monitor.sock")
    }

    fn ask(&self, command: &str) -> Result<Vec<Value>> {
        let mut ask = Command::new(program("backdoors")?);
        let output = ask.args([command, "--json", "--socket"]).arg(self.socket()).output()?;
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Waits until it reads all of its `count` targets.
    pub fn wait_for(&self, count: usize) -> Result<()> {
        until("the daemon does not reach its targets", || {
            let reached = |target: &&Value| target["reach"] == "reachable";
            Ok((self.targets()?.iter().filter(reached).count() == count).then_some(()))
        })
    }

    /// The journal from the byte `from` on, as far as lines are whole; `from` moves behind it.
    pub fn journal(&self, from: &mut usize) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("journal.jsonl"))?;
        let new = text.get(*from..).unwrap_or_default();
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        *from += whole;
        new[..whole].lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Asks again and again until there is an answer.
pub fn until<T>(complaint: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begun.elapsed() > UP {
            bail!("{complaint}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
