//! Who helps a machine that is brought down.

use crate::deployment::Deployment;
use crate::machine::Machine;
use crate::vm::Vm;
use anyhow::Result;
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
    /// Makes it ready, before anything disturbs the machine. It remembers nothing of earlier runs.
    pub(super) fn begin(self, deployment: &mut Deployment<'_, Vm>) -> Result<()> {
        match self {
            Help::Nobody => Ok(()),
            Help::Backdoors => deployment.start_daemon(),
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
