//! Whom a command means. Pure.

use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Command, Opcode, Process, ProcessView, Signal, Subject};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The unit that a command strikes, be it by a kill or less. The same process, as itself, as a part of its tree and as one of its user's, is
/// three victims: who goes on from one to the next escalates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Victim {
    /// All processes of a user.
    User(u32),
    /// One process.
    Process {
        /// Its id.
        pid: u32,
        /// Its start, which tells it from a later process with the same id.
        start: u64,
    },
    /// A process and its descendants.
    Tree {
        /// The id of its root.
        pid: u32,
        /// The root's start.
        start: u64,
    },
    /// All processes of a control group, by its id.
    Cgroup(u64),
}

impl Victim {
    /// The victim of a command, if it has one. Who is let go on is none.
    #[must_use]
    pub fn of(command: &Command) -> Option<Victim> {
        let opcode = command.opcode;
        if opcode == Opcode::ThawCgroup || opcode.signals() && command.argument == Signal::Cont as u64 {
            return None;
        }
        let (pid, start) = (command.id(), command.start);
        match command.opcode.subject() {
            Subject::User => Some(Victim::User(pid)),
            Subject::Process => Some(Victim::Process { pid, start }),
            Subject::Tree => Some(Victim::Tree { pid, start }),
            Subject::Cgroup => Some(Victim::Cgroup(command.subject)),
            Subject::Nothing | Subject::Variable | Subject::Hook => None,
        }
    }

    /// The victims of some commands.
    #[must_use]
    pub fn of_all(commands: &[Command]) -> Vec<Victim> {
        commands.iter().filter_map(Victim::of).collect()
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Victim::User(user) => write!(formatter, "user {user}"),
            Victim::Process { pid, .. } => write!(formatter, "process {pid}"),
            Victim::Tree { pid, .. } => write!(formatter, "the tree of process {pid}"),
            Victim::Cgroup(id) => write!(formatter, "control group {id}"),
        }
    }
}

/// Whether a command may reach a process at all.
#[must_use]
pub fn is_reachable(process: &Process) -> bool {
    process.pid != 1 && process.flags & (ProcessFlags::KERNEL | ProcessFlags::PROTECTED) == 0
}

/// The processes that a command is about, by the process table. Whose number is another's by now is not.
pub fn matching<'a>(
    command: &Command,
    table: &'a ProcessView,
) -> impl Iterator<Item = &'a Process> + use<'a> {
    let (id, cgroup) = (command.id(), command.subject);
    let subject = command.opcode.subject();
    let in_tree = match subject {
        Subject::Tree if !is_anothers(command, table) => descendants(id, table),
        _ => HashSet::new(),
    };
    let start = command.start;
    let matches = move |process: &&Process| match subject {
        Subject::Process => process.pid == id && (start == 0 || process.start == start),
        Subject::User => process.user == id,
        Subject::Tree => in_tree.contains(&process.pid),
        Subject::Cgroup => process.cgroup == cgroup,
        Subject::Nothing | Subject::Variable | Subject::Hook => false,
    };
    table.processes.iter().filter(matches).filter(|process| is_reachable(process))
}

/// Whether the process that a command names has another start in the table.
fn is_anothers(command: &Command, table: &ProcessView) -> bool {
    let mut processes = table.processes.iter();
    command.start != 0
        && processes.any(|process| process.pid == command.id() && process.start != command.start)
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
    use backdoors_sensor_box::Opcode;

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
                ..Process::default()
            })
            .collect();
        ProcessView { processes, ..ProcessView::default() }
    }

    fn command(opcode: Opcode, subject: u32, start: u64) -> Command {
        Command { dry_run: true, ..Command::of_process(opcode, subject, start) }
    }

    fn pids(opcode: Opcode, subject: u32, table: &ProcessView) -> Vec<u32> {
        matching(&command(opcode, subject, 0), table).map(|process| process.pid).collect()
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
    fn whose_number_is_anothers_by_now_is_not_meant() {
        let table = table(&[(2, 1, 5), (3, 2, 5)]);
        let count = |opcode, start| matching(&command(opcode, 2, start), &table).count();
        assert_eq!((count(Opcode::KillProcess, 1), count(Opcode::KillTree, 1)), (1, 2));
        assert_eq!((count(Opcode::KillProcess, 2), count(Opcode::KillTree, 2)), (0, 0));
    }

    #[test]
    fn who_is_let_go_on_is_no_victim_and_who_is_stopped_is() {
        let signal = |signal: Signal| {
            Victim::of(&Command { argument: signal as u64, ..command(Opcode::SignalProcess, 5, 7) })
        };
        assert_eq!(signal(Signal::Cont), None);
        assert_eq!(signal(Signal::Stop), Some(Victim::Process { pid: 5, start: 7 }));
        assert_eq!(Victim::of(&Command::new(Opcode::ThawCgroup, 9)), None);
        assert_eq!(Victim::of(&Command::new(Opcode::FreezeCgroup, 9)), Some(Victim::Cgroup(9)));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        assert_eq!(pids(Opcode::KillTree, 2, &table(&[(2, 3, 5), (3, 2, 5)])), [2, 3]);
    }

    #[test]
    fn a_process_its_tree_its_user_and_its_successor_are_different_victims() {
        let victims = Victim::of_all(&[
            command(Opcode::KillProcess, 5, 70),
            command(Opcode::KillProcess, 5, 71),
            command(Opcode::KillTree, 5, 70),
            command(Opcode::KillUser, 5, 0),
            command(Opcode::Nothing, 5, 0),
        ]);
        let different: HashSet<&Victim> = victims.iter().collect();
        assert_eq!((victims.len(), different.len()), (4, 4));
    }
}
