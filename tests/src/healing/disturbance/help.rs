//! Who helps a machine that is brought down.

use crate::deployment::Deployment;
use crate::machine::Machine;
use crate::vm::Vm;
use anyhow::Result;
use serde_json::Value;
use std::fmt;

/// Who helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Help {
    /// Nobody but the kernel itself.
    Nobody,
    /// A monitor on the other guest.
    Backdoors,
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Help::Nobody => "nobody",
            Help::Backdoors => "backdoors",
        })
    }
}

impl Help {
    /// Makes it ready, before anything disturbs the machine. It remembers nothing of earlier runs. Returns how many notes there
    /// are already.
    pub(super) fn begin(self, deployment: &mut Deployment<'_, Vm>) -> Result<usize> {
        match self {
            Help::Nobody => Ok(0),
            Help::Backdoors => {
                deployment.start_daemon()?;
                Ok(deployment.journal()?.len())
            }
        }
    }

    /// What it noted behind the first `known` notes.
    pub(super) fn notes(self, deployment: &Deployment<'_, Vm>, known: usize) -> Result<Vec<String>> {
        match self {
            Help::Nobody => Ok(Vec::new()),
            Help::Backdoors => {
                let note = |entry: &Value| {
                    let text = |key| entry[key].as_str().unwrap_or_default();
                    let seconds = entry["time_ns"].as_u64().unwrap_or_default() as f64 / 1e9;
                    format!("{seconds:.2} {}: {}", text("kind"), text("text"))
                };
                Ok(deployment.journal()?.iter().skip(known).map(note).collect())
            }
        }
    }

    /// Takes it away.
    pub(super) fn end(self, deployment: &Deployment<'_, Vm>) -> Result<()> {
        match self {
            Help::Nobody => Ok(()),
            Help::Backdoors => deployment.monitor.signal("KILL", deployment.daemon()),
        }
    }
}
