//! One monitor of a deployment: its daemon, its command line, its journal.

use super::{FOLDER, UP};
use crate::machine::Machine;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;

/// A monitor's daemon on its machine.
#[derive(Debug)]
pub struct Watcher<'lab, M> {
    /// Its name, also for its peers and the target.
    pub name: &'static str,
    /// Its slot on the target.
    pub slot: u32,
    /// The machine it is on.
    pub machine: &'lab M,
    /// Process id of the daemon; 0 before the first start.
    pub daemon: u32,
    pub(crate) prefix: &'static str,
}

impl<M: Machine> Watcher<'_, M> {
    /// Starts the daemon, or starts it again, and waits until it has connected.
    ///
    /// # Errors
    /// If it does not come up or does not connect.
    pub fn start(&mut self) -> Result<()> {
        let before = self.journal().map(|journal| journal.len()).unwrap_or(0);
        let (program, prefix) = (self.machine.program("backdoors")?, self.prefix);
        let command = format!("{prefix} {program} monitor --config {FOLDER}/monitor.toml");
        self.daemon = self.machine.start(&command, &format!("{FOLDER}/daemon.log"))?;
        self.wait_for_entry("connected", before, UP).map(drop)
    }

    /// The journal so far.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn journal(&self) -> Result<Vec<Value>> {
        let text = self.machine.shell(&format!("cat {FOLDER}/journal.jsonl"))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Waits for an entry of this kind behind the first `from` ones.
    ///
    /// # Errors
    /// If none comes until the deadline; the message has what the daemon printed.
    pub fn wait_for_entry(&self, kind: &str, from: usize, deadline: Duration) -> Result<Value> {
        self.machine
            .wait_for(kind, deadline, || {
                let journal = self.journal().unwrap_or_default();
                Ok(journal.into_iter().skip(from).find(|entry| entry["kind"] == kind))
            })
            .with_context(|| self.logs())
    }

    /// Runs the command line.
    ///
    /// # Errors
    /// If it exits with another status than 0.
    pub fn backdoors(&self, arguments: &str) -> Result<String> {
        let program = self.machine.program("backdoors")?;
        self.machine.shell(&format!("{program} --socket {FOLDER}/monitor.sock {arguments}"))
    }

    /// Runs the command line, whatever comes of it. Returns its exit code, and all that it printed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_backdoors(&self, arguments: &str) -> Result<(i32, String)> {
        let program = self.machine.program("backdoors")?;
        self.try_command(&format!("{program} --socket {FOLDER}/monitor.sock {arguments}"))
    }

    /// Runs a command on the monitor's machine, whatever comes of it. Returns its exit code, and all that it printed.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn try_command(&self, command: &str) -> Result<(i32, String)> {
        let text = self.machine.shell(&format!("{{ {command}; }} 2>&1; code=$?; echo; echo $code"))?;
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

    /// What the daemon printed and noted last, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        super::tail(self.machine, "daemon.log journal.jsonl")
    }
}
