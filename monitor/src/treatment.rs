//! A repair of several commands: one after the other, each followed to its end as [`crate::repair`] does, until one is
//! not obeyed or nobody knows what became of it. Where there is time, notice is given before anybody is killed. Pure.

mod grace;
#[cfg(test)]
mod tests;

pub use grace::{Looked, Rest, Waited};

use crate::repair::{Doubt, Outcome, Repair, Wait};
use backdoors_sensor_box::{Command, Refusal};
use grace::Grace;
use std::collections::VecDeque;
use std::time::Duration;

/// A command that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The command as it was given.
    pub command: Command,
    /// How it ended.
    pub outcome: Outcome,
    /// From its beginning to its end, as the monitor saw it.
    pub took: Duration,
    /// What part it had.
    pub part: Part,
}

/// The part of a command in a treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It was asked for.
    Asked,
    /// A signal that lets victims end by themselves before they are killed.
    Notice,
    /// It was asked for, and kills who was given notice.
    AfterNotice,
}

impl Ended {
    /// Whether it was a kill that came after its victim had ended by itself.
    #[must_use]
    pub fn was_not_needed(&self) -> bool {
        let gone = [Refusal::NoSuchProcess, Refusal::OtherProcess, Refusal::NoSuchCgroup];
        let refused = matches!(self.outcome, Outcome::Refused(view) if gone.contains(&view.reason));
        refused && self.part == Part::AfterNotice
    }

    /// Whether it was a notice that the target did not give.
    #[must_use]
    pub fn was_no_notice(&self) -> bool {
        self.part == Part::Notice && matches!(self.outcome, Outcome::Refused(_))
    }

    /// Whether the target obeyed, and those that are to come may be carried out, too.
    #[must_use]
    pub fn was_carried_out(&self) -> bool {
        match self.outcome {
            Outcome::Done(_) | Outcome::Voted(_) => true,
            // Else somebody else acts on the target now, or it was not even tried.
            Outcome::GaveUp(view) => view.reason == Refusal::None,
            Outcome::Refused(_) => self.was_not_needed(),
            Outcome::TimedOut { .. } | Outcome::Unknown(_) => false,
        }
    }

    /// The most processes that may have been struck; `None` if certainly nobody was. `matched` did when it began.
    #[must_use]
    pub fn most_signalled(&self, matched: u64) -> Option<u64> {
        let most = match self.command.most_victims {
            0 => u64::MAX,
            most => most,
        };
        match self.outcome {
            _ if self.command.dry_run => None,
            // Who is meant is not signalled by it.
            Outcome::Done(_) | Outcome::GaveUp(_) if !self.command.opcode.sweeps() => Some(matched),
            Outcome::Done(view) | Outcome::GaveUp(view) => Some(u64::from(view.signalled).min(most)),
            Outcome::Refused(_)
            | Outcome::Voted(_)
            | Outcome::TimedOut { waiting_for: Wait::Path | Wait::EarlierCommand | Wait::Lease, .. }
            | Outcome::Unknown(Doubt::Unreadable { written: false, .. } | Doubt::Senseless { .. }) => None,
            Outcome::TimedOut { .. } | Outcome::Unknown(_) if self.command.most_victims == 0 => Some(matched),
            Outcome::TimedOut { .. } | Outcome::Unknown(_) => Some(most),
        }
    }

    /// Whether every victim was signalled and some live on.
    #[must_use]
    pub fn left_unkillable(&self) -> bool {
        let bound = self.command.most_victims;
        match self.outcome {
            _ if !self.command.opcode.kills() => false,
            Outcome::GaveUp(view) if view.reason == Refusal::None && view.remaining > 0 => {
                // Those beyond the bound were not signalled.
                bound == 0 || u64::from(view.signalled) < bound
            }
            _ => false,
        }
    }
}

/// Commands on their way. Never without one.
#[derive(Debug)]
pub struct Treatment {
    /// The one under way, or that ended last while [`Treatment::rest`] says so.
    pub repair: Repair,
    to_come: VecDeque<Command>,
    grace: Grace,
    ended: Vec<Ended>,
    started: Duration,
    patience: Duration,
    votes: bool,
}

impl Treatment {
    /// Commands decided on at `now`, each with so much `patience`. `None` if there are none.
    #[must_use]
    pub fn new(commands: Vec<Command>, now: Duration, patience: Duration) -> Option<Treatment> {
        Treatment::begin(commands, now, patience, false)
    }

    /// The same as votes, for the holder of the lease to be obeyed. `None` if there are none.
    #[must_use]
    pub fn vote(commands: Vec<Command>, now: Duration, patience: Duration) -> Option<Treatment> {
        Treatment::begin(commands, now, patience, true)
    }

    /// The same as [`Treatment::new`], but before the first is killed all who are to be killed are sent SIGTERM, and have
    /// so much `grace` to end by themselves.
    #[must_use]
    pub fn gentle(
        commands: Vec<Command>,
        grace: Duration,
        now: Duration,
        patience: Duration,
    ) -> Option<Treatment> {
        let (commands, grace) = Grace::plan(commands, grace);
        Some(Treatment { grace, ..Treatment::begin(commands, now, patience, false)? })
    }

    fn begin(commands: Vec<Command>, now: Duration, patience: Duration, votes: bool) -> Option<Treatment> {
        let mut to_come = VecDeque::from(commands);
        let first = to_come.pop_front()?;
        let repair = if votes { Repair::vote } else { Repair::new }(first, now, patience);
        let grace = Grace::default();
        Some(Treatment { repair, to_come, grace, ended: Vec::new(), started: now, patience, votes })
    }

    /// Commands in all, without those that turned out not to be needed.
    #[must_use]
    pub fn length(&self) -> usize {
        let under_way = usize::from(!self.grace.lasts());
        self.ended.len() + under_way + self.to_come.len()
    }

    /// The commands after the one under way.
    pub fn to_come(&self) -> impl Iterator<Item = &Command> {
        self.to_come.iter()
    }

    /// Ends it between two commands: everything that ended, in order.
    #[must_use]
    pub fn call_off(self) -> Vec<Ended> {
        self.ended
    }

    /// When it was decided on.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// The end at `now` of the command under way.
    #[must_use]
    pub fn end(&self, now: Duration, outcome: Outcome) -> Ended {
        let took = now.saturating_sub(self.repair.started());
        let command = *self.repair.command();
        Ended { command, outcome, took, part: self.grace.part(self.ended.len(), &command) }
    }

    /// Takes in that the command under way ended at `now`, and goes on with the next.
    ///
    /// # Errors
    /// If there is none, or the one that ended was not carried out and was more than a notice: everything that ended, in
    /// order.
    pub fn go_on(mut self, now: Duration, outcome: Outcome) -> Result<Treatment, Vec<Ended>> {
        let ended = self.end(now, outcome);
        self.ended.push(ended);
        if !ended.was_carried_out() && !ended.was_no_notice() {
            return Err(self.ended);
        }
        if self.grace.begins(now, &self.ended) {
            return Ok(self);
        }
        self.next(now)
    }

    fn next(mut self, now: Duration) -> Result<Treatment, Vec<Ended>> {
        let Some(next) = self.to_come.pop_front() else { return Err(self.ended) };
        let begin = if self.votes { Repair::vote } else { Repair::new };
        self.repair = begin(next, now, self.patience);
        Ok(self)
    }
}
