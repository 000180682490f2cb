//! What others may ask of a sampler.

use crate::config::TargetConfig;
use crate::repair::Outcome;
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Command, Opcode, Process, ProcessView};
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// A request to a sampler. Answers go through the channel that comes with it; if nobody listens any more they are
/// dropped.
#[derive(Debug)]
pub enum Request {
    /// Fetch the process table.
    Processes(SyncSender<Result<ProcessView, String>>),
    /// Carry out a command.
    Order(Order),
    /// Give the lease up for good, as soon as no command is under way: this monitor stops.
    Resign,
    /// Take limits, rules, healers and users of this configuration in, as soon as no command is under way.
    Reconfigure(Box<TargetConfig>),
}

/// A command that somebody ordered.
#[derive(Debug)]
pub struct Order {
    /// The command. The start time of a process is filled in from the process table.
    pub command: Command,
    /// Who ordered it, for the journal.
    pub by: String,
    /// Where the answer goes.
    pub reply: SyncSender<Result<OrderReply, OrderError>>,
}

/// How an order ended.
#[derive(Clone, Debug)]
pub struct OrderReply {
    /// The command as it was written.
    pub command: Command,
    /// How it ended on the target.
    pub outcome: Outcome,
    /// From its beginning to its end, as the monitor saw it.
    pub took: Duration,
    /// Processes that matched when the order came, going by the process table. Those that no command reaches are
    /// left out.
    pub matching: Vec<Process>,
}

/// Why an order was not begun. Nothing was written.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OrderError {
    /// The target cannot be reached.
    #[error("the target cannot be reached: {0}; nothing was written")]
    Unreachable(String),
    /// Its process table cannot be used, so nobody knows which process the number names.
    #[error("the target's process table cannot be read: {0}; nothing was written")]
    NoTable(String),
    /// Too many orders wait already.
    #[error("too many orders wait already; nothing was written, try again later")]
    Busy,
    /// Another monitor acts on this target.
    #[error(
        "the monitor in slot {0} of the target holds its lease and acts on it; nothing was written, order it there"
    )]
    NotTheHolder(u32),
    /// The process is not in the table.
    #[error("no process {0} on the target; nothing was written")]
    NoSuchProcess(u32),
}

/// The processes that a command would kill.
#[must_use]
pub fn matching(command: &Command, table: &ProcessView) -> Vec<Process> {
    let in_tree = match command.opcode {
        Opcode::KillTree => descendants(command.subject, table),
        _ => HashSet::new(),
    };
    let matches = |process: &&Process| match command.opcode {
        Opcode::Nothing => false,
        Opcode::KillProcess => process.pid == command.subject,
        Opcode::KillUser => process.user == command.subject,
        Opcode::KillTree => in_tree.contains(&process.pid),
    };
    let reachable = |process: &&Process| {
        process.pid != 1 && process.flags & (ProcessFlags::KERNEL | ProcessFlags::PROTECTED) == 0
    };
    table.processes.iter().filter(matches).filter(reachable).cloned().collect()
}

/// `root` and everything below it. Tables may hold circles: they were read while the target changed them.
fn descendants(root: u32, table: &ProcessView) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in &table.processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::from([root]);
    let mut to_visit = vec![root];
    while let Some(pid) = to_visit.pop() {
        to_visit.extend(children.get(&pid).into_iter().flatten().filter(|child| found.insert(**child)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(processes: &[(u32, u32, u32)]) -> ProcessView {
        let processes = processes
            .iter()
            .map(|&(pid, parent, user)| Process {
                pid,
                parent,
                user,
                depth: 0,
                flags: if user == 77 { ProcessFlags::PROTECTED } else { 0 },
                start: 1,
                rss: 0,
                cpu_time: 0,
                command: String::new(),
            })
            .collect();
        ProcessView { processes, ..ProcessView::default() }
    }

    fn pids(opcode: Opcode, subject: u32, table: &ProcessView) -> Vec<u32> {
        let command = Command { opcode, subject, start: 0, most_victims: 0, dry_run: true };
        matching(&command, table).iter().map(|process| process.pid).collect()
    }

    #[test]
    fn commands_match_by_process_user_and_tree() {
        let table = table(&[(1, 0, 0), (2, 1, 5), (3, 2, 5), (4, 3, 6), (5, 1, 5), (6, 2, 77)]);
        assert_eq!(pids(Opcode::KillProcess, 3, &table), [3]);
        assert_eq!(pids(Opcode::KillUser, 5, &table), [2, 3, 5]);
        assert_eq!(pids(Opcode::KillTree, 2, &table), [2, 3, 4]);
        assert_eq!(pids(Opcode::KillUser, 0, &table), Vec::<u32>::new());
        assert_eq!(pids(Opcode::Nothing, 2, &table), Vec::<u32>::new());
    }

    #[test]
    fn a_circle_of_parents_ends() {
        assert_eq!(pids(Opcode::KillTree, 2, &table(&[(2, 3, 5), (3, 2, 5)])), [2, 3]);
    }
}
