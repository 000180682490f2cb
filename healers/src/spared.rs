//! Processes that a healer never proposes, by its settings.

use crate::Users;
use crate::users::{UserReference, resolve_all};
use backdoors_sensor_box::Process;
use backdoors_sensor_box::layout::ProcessFlags;
use std::collections::BTreeSet;

/// Longest name of a command that the process table shows, bytes.
const LONGEST_COMMAND: usize = 15;

/// The list. Processes of root, process 1, kernel threads and the agent are on it, whatever the settings say.
#[derive(Clone, Debug)]
pub(crate) struct Spared {
    users: BTreeSet<u32>,
    below: u32,
    commands: BTreeSet<String>,
}

impl Spared {
    /// Processes of these users (setting `spare`), of those with a number below `below`, and of these commands (setting
    /// `spare_commands`); or which setting is wrong.
    pub(crate) fn new(
        references: &[UserReference],
        below: u32,
        commands: &BTreeSet<String>,
        users: &Users,
    ) -> Result<Spared, String> {
        if let Some(long) = commands.iter().find(|name| name.len() > LONGEST_COMMAND) {
            return Err(format!(
                "`spare_commands` has `{long}`: a process table shows {LONGEST_COMMAND} bytes at most"
            ));
        }
        Ok(Spared { users: resolve_all(references, "spare", users)?, below, commands: commands.clone() })
    }

    pub(crate) fn has(&self, process: &Process) -> bool {
        process.pid <= 1
            || process.flags & (ProcessFlags::KERNEL | ProcessFlags::PROTECTED) != 0
            || process.user == 0
            || process.user < self.below
            || self.users.contains(&process.user)
            || self.commands.contains(&process.command)
    }
}
