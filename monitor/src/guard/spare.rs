//! Whom no healer of a target may strike, whatever it thinks of them.

use backdoors_sensor_box::Process;
use std::collections::BTreeSet;

/// The spare list of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spare {
    users: BTreeSet<u32>,
    commands: BTreeSet<String>,
    cgroups: BTreeSet<String>,
}

/// A command name that no process can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no process is called `{name}`: the kernel keeps {} bytes of a command's name; write `{kept}`, as `backdoors ps` shows it",
    Spare::NAME_BYTES
)]
pub struct BadName {
    /// The name given.
    name: String,
    /// What the kernel would keep of it.
    kept: String,
}

impl Spare {
    /// Bytes of a command's name that the kernel keeps.
    pub const NAME_BYTES: usize = 15;

    /// A spare list of users, names of commands, and control groups by the last component of their path.
    ///
    /// # Errors
    /// [`BadName`] for a name that would spare nobody.
    pub fn new(
        users: impl IntoIterator<Item = u32>,
        commands: impl IntoIterator<Item = String>,
        cgroups: impl IntoIterator<Item = String>,
    ) -> Result<Spare, BadName> {
        let commands: BTreeSet<String> = commands.into_iter().collect();
        for name in &commands {
            if name.is_empty() || name.len() > Self::NAME_BYTES {
                let end = (0..=Self::NAME_BYTES.min(name.len())).rev().find(|&at| name.is_char_boundary(at));
                return Err(BadName { name: name.clone(), kept: name[..end.unwrap_or(0)].to_owned() });
            }
        }
        Ok(Spare { users: users.into_iter().collect(), commands, cgroups: cgroups.into_iter().collect() })
    }

    /// Whether a user is spared.
    #[must_use]
    pub fn user(&self, user: u32) -> bool {
        self.users.contains(&user)
    }

    /// Whether a process is spared, for itself, its user or its control group.
    #[must_use]
    pub fn process(&self, process: &Process) -> bool {
        self.user(process.user)
            || self.commands.contains(&process.command)
            || self.cgroups.contains(&process.cgroup_name)
    }
}
