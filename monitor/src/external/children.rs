//! The programs that run on behalf of this process: none of them outlives it when it stops in good order.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those of this process.
pub static CHILDREN: Children = Children::new();

/// Programs under way, each the leader of a process group of its own.
#[derive(Debug)]
pub struct Children(Mutex<Groups>);

#[derive(Debug)]
struct Groups {
    /// This process stops: nothing is started any more.
    closed: bool,
    alive: BTreeSet<i32>,
}

impl Children {
    /// None yet.
    #[must_use]
    pub const fn new() -> Children {
        Children(Mutex::new(Groups { closed: false, alive: BTreeSet::new() }))
    }

    /// Starts a program in a group of its own. It must be handed to [`Children::end`].
    ///
    /// # Errors
    /// If the system does not start it, or this process stops.
    pub(super) fn start(&self, command: &mut Command) -> io::Result<Child> {
        // Locked until it is listed, so that none slips through while all are being ended.
        let mut groups = self.groups();
        if groups.closed {
            return Err(io::Error::other("the monitor stops"));
        }
        let child = command.process_group(0).spawn()?;
        groups.alive.insert(child.id().cast_signed());
        Ok(child)
    }

    /// Kills what is left of a program's group, and waits for the program's end.
    ///
    /// # Errors
    /// If it was lost.
    pub(super) fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let group = child.id().cast_signed();
        let mut groups = self.groups();
        // Its leader was not waited for, so the number is still its own.
        kill(group);
        groups.alive.remove(&group);
        drop(groups);
        child.wait()
    }

    /// Kills all of them, and has none started any more.
    pub fn end_all(&self) {
        let mut groups = self.groups();
        groups.closed = true;
        groups.alive.iter().copied().for_each(kill);
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Children {
    fn default() -> Children {
        Children::new()
    }
}

fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // It fails only if nothing of the group is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
