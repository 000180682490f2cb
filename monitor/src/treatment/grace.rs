//! The time that victims have to end by themselves: from the last notice until nobody is left, or it is over.

use super::{Ended, Part, Treatment};
use crate::victim::{is_reachable, matching};
use backdoors_healers::Repair;
use backdoors_sensor_box::{Command, Opcode, Process, ProcessView, Signal};
use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

/// How often the process table is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to do while no command is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing before this time.
    Until(Duration),
    /// Fetch the process table and call [`Treatment::looked`].
    Look,
}

/// How the time of grace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// How long it was.
    pub time: Duration,
    /// Processes that are left to be killed; `None` if nobody knows.
    pub left: Option<usize>,
}

/// What comes of a look at the process table.
#[derive(Debug)]
pub enum Looked {
    /// Some are left, and have time.
    Waits(Treatment),
    /// Nothing more is waited for, and there are commands to come.
    GoesOn(Treatment, Waited),
    /// It has ended.
    Over(Vec<Ended>, Waited),
}

/// What a treatment keeps of it.
#[derive(Debug, Default)]
pub(super) struct Grace {
    length: Duration,
    /// The places of the notices among the commands.
    notices: Range<usize>,
    /// Most who may be killed by themselves in the end.
    strays: usize,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Duration,
    next_look: Duration,
}

impl Grace {
    /// Puts notices in front of the first that kills. One time is waited for all.
    pub(super) fn plan(mut commands: Vec<Command>, length: Duration) -> (Vec<Command>, Grace) {
        let notices: Vec<Command> = commands.iter().filter_map(notice).collect();
        let first = commands.iter().position(kills);
        let (Some(first), false) = (first, length.is_zero()) else { return (commands, Grace::default()) };
        let most = commands.iter().filter(|command| kills(command)).map(most_victims);
        let strays = most.fold(0, usize::saturating_add).min(Repair::MOST);
        let places = first..first + notices.len();
        commands.splice(first..first, notices);
        (commands, Grace { length, notices: places, strays, waiting: None })
    }

    pub(super) fn part(&self, place: usize, command: &Command) -> Part {
        match command {
            _ if self.notices.contains(&place) => Part::Notice,
            command if !self.notices.is_empty() && kills(command) => Part::AfterNotice,
            _ => Part::Asked,
        }
    }

    /// Whether the last notice ended at `now`, and somebody was given one.
    pub(super) fn begins(&mut self, now: Duration, ended: &[Ended]) -> bool {
        let given = ended.iter().any(|ended| ended.part == Part::Notice && ended.was_carried_out());
        if !given || ended.len() != self.notices.end {
            return false;
        }
        self.waiting = Some(Waiting { since: now, next_look: now + LOOK_EVERY.min(self.length) });
        true
    }

    pub(super) fn lasts(&self) -> bool {
        self.waiting.is_some()
    }
}

fn kills(command: &Command) -> bool {
    command.opcode.kills() && !command.dry_run
}

fn most_victims(kill: &Command) -> usize {
    match (kill.opcode, kill.most_victims) {
        (Opcode::KillProcess, _) => 1,
        (_, 0) => usize::MAX,
        (_, most) => usize::try_from(most).unwrap_or(usize::MAX),
    }
}

/// The signal that goes before a kill.
fn notice(command: &Command) -> Option<Command> {
    let opcode = match command.opcode {
        Opcode::KillProcess => Opcode::SignalProcess,
        Opcode::KillUser => Opcode::SignalUser,
        Opcode::KillTree => Opcode::SignalTree,
        Opcode::KillCgroup => Opcode::SignalCgroup,
        _ => return None,
    };
    kills(command).then_some(Command { opcode, argument: Signal::Term as u64, ..*command })
}

impl Treatment {
    /// What to do at `now` if no command is under way.
    #[must_use]
    pub fn rest(&self, now: Duration) -> Option<Rest> {
        let Waiting { next_look, .. } = self.grace.waiting?;
        Some(if now >= next_look { Rest::Look } else { Rest::Until(next_look) })
    }

    /// Takes in the process table as it was at `now`, if it could be read, `meant` being those who were given notice.
    /// Who is in it whole knows who is left: kills of nobody are left out, and who would escape theirs because its parent
    /// has ended is killed by itself.
    #[must_use]
    pub fn looked(mut self, now: Duration, table: Option<&ProcessView>, meant: &[Process]) -> Looked {
        let Some(waiting) = self.grace.waiting else { return Looked::Waits(self) };
        let left = table.filter(|table| table.torn.is_empty()).map(|table| self.left(table, meant));
        let nobody = left.as_ref().is_some_and(Vec::is_empty);
        if !nobody && now < waiting.since + self.grace.length {
            let next_look = (now + LOOK_EVERY).min(waiting.since + self.grace.length);
            self.grace.waiting = Some(Waiting { next_look, ..waiting });
            return Looked::Waits(self);
        }
        self.grace.waiting = None;
        let waited = Waited { time: now.saturating_sub(waiting.since), left: left.as_ref().map(Vec::len) };
        if let (Some(left), Some(table)) = (left, table) {
            self.narrow(table, &left);
        }
        match self.next(now) {
            Ok(treatment) => Looked::GoesOn(treatment, waited),
            Err(ended) => Looked::Over(ended, waited),
        }
    }

    /// Those whom a kill to come means, and those who were meant and live.
    fn left<'a>(&self, table: &'a ProcessView, meant: &[Process]) -> Vec<&'a Process> {
        let pursued = self.pursued(table);
        let meant: HashSet<(u32, u64)> = meant.iter().map(|process| (process.pid, process.start)).collect();
        let is_left = |process: &&Process| {
            pursued.contains(&process.pid)
                || is_reachable(process) && meant.contains(&(process.pid, process.start))
        };
        table.processes.iter().filter(is_left).collect()
    }

    fn pursued(&self, table: &ProcessView) -> HashSet<u32> {
        let kills = self.to_come.iter().filter(|command| kills(command));
        kills.flat_map(|command| matching(command, table)).map(|process| process.pid).collect()
    }

    fn narrow(&mut self, table: &ProcessView, left: &[&Process]) {
        let pursued = self.pursued(table);
        self.to_come.retain(|command| !kills(command) || matching(command, table).next().is_some());
        let strays = left.iter().filter(|process| !pursued.contains(&process.pid));
        let kill = |process: &&Process| Command::of_process(Opcode::KillProcess, process.pid, process.start);
        self.to_come.extend(strays.map(kill).take(self.grace.strays));
    }
}
