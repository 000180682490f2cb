//! Backdoors installed on machines of a lab: owner of memory and agent on the target, a daemon on each monitor.

mod watcher;

use crate::machine::Machine;
use crate::vm::NIC_PORT;
use anyhow::{Context, Result, bail};
use backdoors_rdma::handshake::Identity;
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;
pub use watcher::Watcher;

/// The folder that everything is in, on every machine.
pub const FOLDER: &str = "/run/backdoors";
const TARGET: &str = "target";
/// Names of the monitors; the first has slot 0, the second slot 1.
const MONITORS: [&str; 2] = ["monitor", "monitor2"];
/// Where monitors answer each other.
const PEERS_PORT: u16 = 7803;
/// How long a program may take to come up on a slow, emulated machine: the newest kernel checks the kernel half for half
/// a minute there if others keep this machine busy.
const UP: Duration = Duration::from_secs(120);

/// What differs between deployments.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// `emulated`, `verbs`, or, for a guest that has its NIC outside, `attached`.
    pub provider: &'static str,
    /// Lines of the agent's configuration besides names and paths.
    pub agent: String,
    /// Lines of each monitor's configuration that stand before its tables.
    pub monitor: String,
    /// Lines of the target's table in each monitor's configuration.
    pub watch: String,
    /// The healers' tables in each monitor's configuration.
    pub healers: String,
    /// Whether the monitors know each other, and ask each other what they see.
    pub acquainted: bool,
    /// Prefix of the daemons' commands: it stands for machines of their own, which a bomb elsewhere cannot slow down.
    pub monitor_prefix: &'static str,
}

/// A deployment. Its processes end with their machines.
#[derive(Debug)]
pub struct Deployment<'lab, M> {
    /// The machine looked after.
    pub target: &'lab M,
    /// The machine of the first monitor.
    pub monitor: &'lab M,
    /// The monitors, in the order of their slots.
    pub watchers: Vec<Watcher<'lab, M>>,
    keys: TempDir,
    plan: Plan,
    /// Process id of the owner of registered memory.
    pub owner: u32,
    /// Process id of the agent.
    pub agent: u32,
}

impl<'lab, M: Machine> Deployment<'lab, M> {
    /// Makes keys and configurations and starts owner and agent; the monitor's daemon is started apart.
    ///
    /// # Errors
    /// If one of them does not come up; the message has what it printed.
    pub fn install(target: &'lab M, monitor: &'lab M, plan: Plan) -> Result<Deployment<'lab, M>> {
        Self::install_with(target, &[monitor], plan)
    }

    /// The same with one or two monitors, each on a machine of its own.
    ///
    /// # Errors
    /// As [`Deployment::install`].
    pub fn install_with(target: &'lab M, monitors: &[&'lab M], plan: Plan) -> Result<Deployment<'lab, M>> {
        let Some(first) = monitors.first() else { bail!("no machine for a monitor") };
        if monitors.len() > MONITORS.len() {
            bail!("{} monitors, and names for {}", monitors.len(), MONITORS.len());
        }
        let watchers = MONITORS
            .into_iter()
            .zip(0..)
            .zip(monitors.iter().copied())
            .map(|((name, slot), machine)| Watcher {
                name,
                slot,
                machine,
                daemon: 0,
                prefix: plan.monitor_prefix,
            })
            .collect();
        let keys = tempfile::tempdir().context("making a folder for keys")?;
        let mut deployment = Deployment { target, monitor: first, watchers, keys, plan, owner: 0, agent: 0 };
        for name in deployment.everybody() {
            Identity::generate(name)?.save(deployment.keys.path())?;
        }
        for watcher in &deployment.watchers {
            deployment.configure(watcher.machine, watcher.name)?;
            watcher
                .machine
                .write(&format!("{FOLDER}/monitor.toml"), &deployment.configuration_of(watcher))?;
        }
        deployment.install_on_target()?;
        Ok(deployment)
    }

    /// Installs owner and agent, with the keys of before, on a target that has lost everything, and starts them.
    ///
    /// # Errors
    /// As [`Deployment::install`].
    pub fn install_on_target(&mut self) -> Result<()> {
        self.configure(self.target, TARGET)?;
        self.target.write(&format!("{FOLDER}/agent.toml"), &self.agent_configuration())?;
        self.start_owner()?;
        self.start_agent()
    }

    fn everybody(&self) -> Vec<&'static str> {
        std::iter::once(TARGET).chain(self.watchers.iter().map(|watcher| watcher.name)).collect()
    }

    /// Gives a machine everybody's certificate and its own key.
    fn configure(&self, machine: &M, own: &str) -> Result<()> {
        let read = |file: &str| std::fs::read_to_string(self.keys.path().join(file));
        machine.shell(&format!("mkdir -p -m 0700 {FOLDER}"))?;
        for name in self.everybody() {
            let file = format!("{name}.crt");
            machine.write(&format!("{FOLDER}/{file}"), &read(&file)?)?;
        }
        let file = format!("{own}.key");
        machine.write(&format!("{FOLDER}/{file}"), &read(&file)?)?;
        machine.shell(&format!("chmod 600 {FOLDER}/{file}")).map(drop)
    }

    fn agent_configuration(&self) -> String {
        let mut text = format!(
            "name = \"{TARGET}\"\nlisten = \"0.0.0.0:7801\"\nidentity = \"{FOLDER}\"\nowner = \"{FOLDER}/nic.sock\"\n\
             pins = \"/sys/fs/bpf/backdoors\"\n{}\n",
            self.plan.agent
        );
        for Watcher { name, slot, .. } in &self.watchers {
            text.push_str(&format!(
                "[[monitor]]\nname = \"{name}\"\ncertificate = \"{FOLDER}/{name}.crt\"\nslot = {slot}\n"
            ));
        }
        text
    }

    fn configuration_of(&self, watcher: &Watcher<'_, M>) -> String {
        let Plan { provider, monitor, watch, healers, acquainted, .. } = &self.plan;
        // To monitors a NIC outside of its guest is an emulated NIC as any other.
        let provider = if *provider == "attached" { "emulated" } else { provider };
        let mut text = format!(
            "name = \"{}\"\nidentity = \"{FOLDER}\"\nsocket = \"{FOLDER}/monitor.sock\"\n\
             journal = \"{FOLDER}/journal.jsonl\"\n{monitor}\n",
            watcher.name
        );
        if *acquainted {
            text.push_str(&format!("listen = \"0.0.0.0:{PEERS_PORT}\"\n"));
            for peer in self.watchers.iter().filter(|peer| peer.slot != watcher.slot) {
                let (name, address) = (peer.name, peer.machine.address());
                text.push_str(&format!(
                    "[[peer]]\nname = \"{name}\"\naddress = \"{address}:{PEERS_PORT}\"\n\
                     certificate = \"{FOLDER}/{name}.crt\"\n"
                ));
            }
        }
        let address = self.target.address();
        text.push_str(&format!(
            "[[target]]\nname = \"{TARGET}\"\naddress = \"{address}:7801\"\ncertificate = \"{FOLDER}/{TARGET}.crt\"\n\
             provider = \"{provider}\"\n{watch}\n{healers}\n"
        ));
        text
    }

    /// Starts the owner of registered memory.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_owner(&mut self) -> Result<()> {
        let program = self.target.program("backdoors-nic")?;
        let options = match self.plan.provider {
            "emulated" => "--listen 0.0.0.0:7802".to_owned(),
            "attached" => format!("--port {NIC_PORT}"),
            _ => String::new(),
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

    fn start_and_wait(&self, machine: &M, command: &str, log: &str, word: &str) -> Result<u32> {
        let log = format!("{FOLDER}/{log}");
        let pid = machine.start(command, &log)?;
        // It looks for the word itself: what is asked of an emulated machine again and again slows down what it waits for.
        let look = format!(
            "for look in $(seq 50); do grep -q {word} {log} && break; test -d /proc/{pid} || break; sleep 0.2; done; \
             cat {log}; test -d /proc/{pid} || echo ended"
        );
        machine.wait_for(command, UP, || {
            let text = machine.shell(&look)?;
            if text.contains(word) {
                return Ok(Some(pid));
            }
            if text.trim_end().ends_with("ended") {
                bail!("`{command}` ended: {text}");
            }
            Ok(None)
        })
    }

    /// Starts the first monitor's daemon, or starts it again, and waits until it has connected.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn start_daemon(&mut self) -> Result<()> {
        self.watchers[0].start()
    }

    /// The same for every monitor, one after the other.
    ///
    /// # Errors
    /// As [`Watcher::start`].
    pub fn start_daemons(&mut self) -> Result<()> {
        self.watchers.iter_mut().try_for_each(Watcher::start)
    }

    /// Process id of the first monitor's daemon.
    #[must_use]
    pub fn daemon(&self) -> u32 {
        self.first().daemon
    }

    /// The first monitor.
    #[must_use]
    pub fn first(&self) -> &Watcher<'lab, M> {
        // There is one: `install_with` sees to it.
        &self.watchers[0]
    }

    /// The first monitor's journal, see [`Watcher::journal`].
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal(&self) -> Result<Vec<Value>> {
        self.first().journal()
    }

    /// Waits for an entry in the first monitor's journal, see [`Watcher::wait_for_entry`].
    ///
    /// # Errors
    /// If none comes until the deadline; the message has what everybody printed.
    pub fn wait_for_entry(&self, kind: &str, from: usize, deadline: Duration) -> Result<Value> {
        self.first().wait_for_entry(kind, from, deadline).with_context(|| self.logs())
    }

    /// Runs the command line on the first monitor, see [`Watcher::backdoors`].
    ///
    /// # Errors
    /// If it exits with another status than 0.
    pub fn backdoors(&self, arguments: &str) -> Result<String> {
        self.first().backdoors(arguments)
    }

    /// Runs the command line on the first monitor, whatever comes of it, see [`Watcher::try_backdoors`].
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_backdoors(&self, arguments: &str) -> Result<(i32, String)> {
        self.first().try_backdoors(arguments)
    }

    /// Runs a command on the first monitor, whatever comes of it, see [`Watcher::try_command`].
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_monitor(&self, command: &str) -> Result<(i32, String)> {
        self.first().try_command(command)
    }

    /// The first monitor's answer as JSON, see [`Watcher::json`].
    ///
    /// # Errors
    /// If it exits with another status than 0 or prints something else.
    pub fn json(&self, arguments: &str) -> Result<Value> {
        self.first().json(arguments)
    }

    /// What everybody printed, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = tail(self.target, "nic.log agent.log");
        for watcher in &self.watchers {
            text.push_str(&format!("\n--- {} ---\n{}", watcher.name, watcher.logs()));
        }
        text
    }
}

/// The end of files in the folder that everything is in.
fn tail<M: Machine>(machine: &M, files: &str) -> String {
    let script = format!("cd {FOLDER}; tail -n 40 {files} 2>&1 || true");
    machine.shell(&script).unwrap_or_else(|error| error.to_string())
}
