//! What can go wrong with a virtual machine.

use std::{io, time::Duration};

use super::Output;

/// Why the lab could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// Nothing was started.
    #[error("the virtual-machine lab is not set up: {0}; run `cargo xtask setup`")]
    NotSetUp(String),
    /// Nothing was started.
    #[error("there is no program {name} in {directory}; build it with `cargo build --workspace --bins`")]
    NotBuilt {
        /// The program.
        name: String,
        /// Where it was looked for.
        directory: String,
    },
    /// Nothing was started.
    #[error("every end of the wire is taken")]
    WireTaken,
    /// Nothing was started.
    #[error(
        "the guest's files take {files_mib} MiB, and Linux keeps half of {memory_mib} MiB at most: raise `memory_mib`"
    )]
    TooLarge {
        /// All that the guest holds at its start.
        files_mib: u64,
        /// Its memory.
        memory_mib: u32,
    },
    /// The guest was not started, or is stopped again.
    #[error("cannot {action}: {source}")]
    Host {
        /// What the lab was doing.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The guest is stopped again. A busier machine may need more time.
    #[error("guest {name} was not up within {deadline:?}; the end of its console:\n{console}")]
    NotUp {
        /// The guest.
        name: String,
        /// How long it was given.
        deadline: Duration,
        /// The last lines it printed.
        console: String,
    },
    /// The guest, or what serves the lab in it, has ended; nothing can be done with it any more.
    #[error("the guest is gone")]
    Gone,
    /// The command's process group was sent SIGKILL, unless the guest hangs. Under load more time may help.
    #[error("no result within {deadline:?} from: {command}\nso far it printed: {output}")]
    Late {
        /// The command.
        command: String,
        /// How long it was given.
        deadline: Duration,
        /// What it had printed, if the guest still said so.
        output: Output,
    },
    /// The guest did not answer: it hangs, is paused, or has panicked. Whether it acted is unknown.
    #[error("the guest did not answer within {0:?}")]
    Silent(Duration),
    /// The guest may be sick, but not in the way asked for. Under load more time may help.
    #[error("the guest's kernel was not broken within {0:?}")]
    Unbroken(Duration),
    /// Nothing was done.
    #[error("the guest refused: {0}")]
    Refused(String),
    /// The command ended, but not well.
    #[error("exit status {status} from: {command}\n{output}", status = output.status)]
    Failed {
        /// The command.
        command: String,
        /// What it printed.
        output: Output,
    },
    /// QEMU refused, and nothing changed.
    #[error("QEMU refused {command}: {reason}")]
    Qemu {
        /// The command.
        command: String,
        /// QEMU's words.
        reason: String,
    },
}

impl VmError {
    /// For `map_err`: says what the lab was doing.
    pub(super) fn host(action: impl Into<String>) -> impl FnOnce(io::Error) -> VmError {
        let action = action.into();
        move |source| VmError::Host { action, source }
    }
}
