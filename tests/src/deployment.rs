//! Backdoors installed on two machines: owner of memory and agent on the target, daemon on the monitor.

use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use backdoors_rdma::handshake::Identity;
use serde_json::Value;
use std::time::Duration;

const FOLDER: &str = "/run/backdoors";
const TARGET: &str = "target";
const MONITOR: &str = "monitor";
/// How long a program may take to come up on a slow, emulated machine.
const UP: Duration = Duration::from_secs(30);

/// What differs between deployments.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `emulated` or `verbs`.
    pub provider: &'static str,
    /// Lines of the agent's configuration besides names and paths.
    pub agent: String,
    /// Lines of the target's table in the monitor's configuration.
    pub watch: String,
    /// The healers' tables in the monitor's configuration.
    pub healers: String,
    /// Prefix of the daemon's command: it stands for a machine of its own, which a bomb elsewhere cannot slow down.
    pub monitor_prefix: &'static str,
}

/// A deployment. Its processes end with their machines.
#[derive(Debug)]
pub struct Deployment<'lab, M> {
    /// The machine looked after.
    pub target: &'lab M,
    /// The machine that looks.
    pub monitor: &'lab M,
    plan: Plan,
    /// Process id of the owner of registered memory.
    pub owner: u32,
    /// Process id of the agent.
    pub agent: u32,
    /// Process id of the daemon.
    pub daemon: u32,
}

impl<'lab, M: Machine> Deployment<'lab, M> {
    /// Makes keys and configurations and starts owner and agent; the monitor's daemon is started apart.
    ///
    /// # Errors
    /// If one of them does not come up; the message has what it printed.
    pub fn install(target: &'lab M, monitor: &'lab M, plan: Plan) -> Result<Deployment<'lab, M>> {
        let mut deployment = Deployment { target, monitor, plan, owner: 0, agent: 0, daemon: 0 };
        deployment.configure()?;
        deployment.start_owner()?;
        deployment.start_agent()?;
        Ok(deployment)
    }

    fn configure(&self) -> Result<()> {
        let keys = tempfile::tempdir().context("making a folder for keys")?;
        for (machine, own, other) in [(self.target, TARGET, MONITOR), (self.monitor, MONITOR, TARGET)] {
            machine.shell(&format!("mkdir -p -m 0700 {FOLDER}"))?;
            for name in [own, other] {
                if !keys.path().join(format!("{name}.key")).exists() {
                    Identity::generate(name)?.save(keys.path())?;
                }
            }
            let read = |file: String| std::fs::read_to_string(keys.path().join(file));
            for name in [own, other] {
                machine.write(&format!("{FOLDER}/{name}.crt"), &read(format!("{name}.crt"))?)?;
            }
            machine.write(&format!("{FOLDER}/{own}.key"), &read(format!("{own}.key"))?)?;
            machine.shell(&format!("chmod 600 {FOLDER}/{own}.key"))?;
        }
        let Plan { provider, agent, watch, healers, .. } = &self.plan;
        let agent = format!(
            "name = \"{TARGET}\"\nlisten = \"0.0.0.0:7801\"\nidentity = \"{FOLDER}\"\nowner = \"{FOLDER}/nic.sock\"\n\
             pins = \"/sys/fs/bpf/backdoors\"\n{agent}\n\
             [[monitor]]\nname = \"{MONITOR}\"\ncertificate = \"{FOLDER}/{MONITOR}.crt\"\nslot = 0\n"
        );
        self.target.write(&format!("{FOLDER}/agent.toml"), &agent)?;
        let address = self.target.address();
        let daemon = format!(
            "name = \"{MONITOR}\"\nidentity = \"{FOLDER}\"\nsocket = \"{FOLDER}/monitor.sock\"\njournal = \"{FOLDER}/journal.jsonl\"\n\
             [[target]]\nname = \"{TARGET}\"\naddress = \"{address}:7801\"\ncertificate = \"{FOLDER}/{TARGET}.crt\"\n\
             provider = \"{provider}\"\n{watch}\n{healers}\n"
        );
        self.monitor.write(&format!("{FOLDER}/monitor.toml"), &daemon)
    }

    /// Starts the owner of registered memory.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_owner(&mut self) -> Result<()> {
        let program = self.target.program("backdoors-nic")?;
        let options = match self.plan.provider {
            "emulated" => "--listen 0.0.0.0:7802",
            _ => "",
        };
        let provider = self.plan.provider;
        let command = format!("{program} --provider {provider} {options} --socket {FOLDER}/nic.sock");
        self.owner = self.start_and_wait(self.target, &command, "nic.log", "ready")?;
        Ok(())
    }

    /// Starts the agent, or starts it again.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_agent(&mut self) -> Result<()> {
        let program = self.target.program("backdoors-agent")?;
        let command = format!("{program} run --config {FOLDER}/agent.toml");
        self.agent = self.start_and_wait(self.target, &command, "agent.log", "ready")?;
        Ok(())
    }

    /// Stops the agent with SIGSTOP, and waits until it stands still.
    ///
    /// # Errors
    /// If there is no agent.
    pub fn freeze_agent(&self) -> Result<()> {
        self.target.signal("STOP", self.agent)?;
        self.target
            .wait_for("the agent to stand still", UP, || Ok(self.stands_still(self.agent)?.then_some(())))
    }

    /// Whether a process of the target is stopped.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn stands_still(&self, pid: u32) -> Result<bool> {
        let state = self.target.shell(&format!("awk '/^State:/ {{ print $2 }}' /proc/{pid}/status"))?;
        Ok(state.trim() == "T")
    }

    /// Ends a process of the target with a signal, and waits until it is gone.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(&self, signal: &str, pid: u32) -> Result<()> {
        self.target.signal(signal, pid)?;
        self.target.wait_for("a process to end", UP, || {
            Ok(self.target.shell(&format!("test -d /proc/{pid}")).is_err().then_some(()))
        })
    }

    /// Starts the monitor's daemon, or starts it again, and waits until it has connected.
    ///
    /// # Errors
    /// If it does not come up or does not connect.
    pub fn start_daemon(&mut self) -> Result<()> {
        let before = self.journal().map(|journal| journal.len()).unwrap_or(0);
        let program = self.monitor.program("backdoors")?;
        let prefix = self.plan.monitor_prefix;
        let command = format!("{prefix} {program} monitor --config {FOLDER}/monitor.toml");
        self.daemon = self.monitor.start(&command, &format!("{FOLDER}/daemon.log"))?;
        self.wait_for_entry("connected", before, UP).map(drop)
    }

    fn start_and_wait(&self, machine: &M, command: &str, log: &str, word: &str) -> Result<u32> {
        let log = format!("{FOLDER}/{log}");
        let pid = machine.start(command, &log)?;
        machine.wait_for(command, UP, || {
            let text = machine.shell(&format!("cat {log}"))?;
            if text.contains(word) {
                return Ok(Some(pid));
            }
            if machine.shell(&format!("test -d /proc/{pid}")).is_err() {
                bail!("`{command}` ended: {text}");
            }
            Ok(None)
        })
    }

    /// The monitor's journal so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal(&self) -> Result<Vec<Value>> {
        let text = self.monitor.shell(&format!("cat {FOLDER}/journal.jsonl"))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Waits for an entry of this kind behind the first `from` ones.
    ///
    /// # Errors
    /// If none comes until the deadline; the message has the journal.
    pub fn wait_for_entry(&self, kind: &str, from: usize, deadline: Duration) -> Result<Value> {
        self.monitor
            .wait_for(kind, deadline, || {
                let journal = self.journal().unwrap_or_default();
                Ok(journal.into_iter().skip(from).find(|entry| entry["kind"] == kind))
            })
            .with_context(|| self.logs())
    }

    /// Runs the command line on the monitor.
    ///
    /// # Errors
    /// If it exits with another status than 0.
    pub fn backdoors(&self, arguments: &str) -> Result<String> {
        let program = self.monitor.program("backdoors")?;
        self.monitor.shell(&format!("{program} --socket {FOLDER}/monitor.sock {arguments}"))
    }

    /// Runs the command line on the monitor, whatever comes of it. Returns its exit code, and all that it printed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_backdoors(&self, arguments: &str) -> Result<(i32, String)> {
        let program = self.monitor.program("backdoors")?;
        let socket = format!("{FOLDER}/monitor.sock");
        self.try_monitor(&format!("{program} --socket {socket} {arguments}"))
    }

    /// Runs a command on the monitor, whatever comes of it. Returns its exit code, and all that it printed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_monitor(&self, command: &str) -> Result<(i32, String)> {
        let text = self.monitor.shell(&format!("{{ {command}; }} 2>&1; code=$?; echo; echo $code"))?;
        let (printed, code) = text.trim_end().rsplit_once('\n').context("no exit code")?;
        Ok((code.parse().context("an exit code")?, printed.trim_end().to_owned()))
    }

    /// The command line's answer as JSON; `--json` is added.
    ///
    /// # Errors
    /// If it exits with another status than 0 or prints something else.
    pub fn json(&self, arguments: &str) -> Result<Value> {
        let text = self.backdoors(&format!("{arguments} --json"))?;
        serde_json::from_str(&text).with_context(|| format!("`{arguments}` printed `{text}`"))
    }

    /// What everybody printed, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let of = |machine: &M, files: &str| {
            machine
                .shell(&format!("cd {FOLDER}; tail -n 40 {files} 2>&1 || true"))
                .unwrap_or_else(|error| error.to_string())
        };
        format!("{}\n{}", of(self.target, "nic.log agent.log"), of(self.monitor, "daemon.log journal.jsonl"))
    }
}
