//! A repair of several commands: one after the other, each followed to its end as [`crate::repair`] does, until one is
//! not obeyed or nobody knows what became of it. Pure.

#[cfg(test)]
mod tests;

use crate::repair::{Doubt, Outcome, Repair, Wait};
use backdoors_sensor_box::{Command, Refusal};
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
}

impl Ended {
    /// Whether the target obeyed, and those that are to come may be carried out, too.
    #[must_use]
    pub fn was_carried_out(&self) -> bool {
        match self.outcome {
            Outcome::Done(_) | Outcome::Voted(_) => true,
            // Somebody else acts on the target now.
            Outcome::GaveUp(view) => view.reason != Refusal::NotTheHolder,
            Outcome::Refused(_) | Outcome::TimedOut { .. } | Outcome::Unknown(_) => false,
        }
    }

    /// The most processes that may have been signalled; `None` if certainly nobody was. `matched` did when it began.
    #[must_use]
    pub fn most_signalled(&self, matched: u64) -> Option<u64> {
        let most = match self.command.most_victims {
            0 => u64::MAX,
            most => most,
        };
        match self.outcome {
            _ if self.command.dry_run => None,
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
    /// The one under way.
    pub repair: Repair,
    to_come: VecDeque<Command>,
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

    fn begin(commands: Vec<Command>, now: Duration, patience: Duration, votes: bool) -> Option<Treatment> {
        let mut to_come = VecDeque::from(commands);
        let first = to_come.pop_front()?;
        let repair = if votes { Repair::vote } else { Repair::new }(first, now, patience);
        Some(Treatment { repair, to_come, ended: Vec::new(), started: now, patience, votes })
    }

    /// Commands in all.
    #[must_use]
    pub fn length(&self) -> usize {
        self.ended.len() + 1 + self.to_come.len()
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
        Ended { command: *self.repair.command(), outcome, took }
    }

    /// Takes in that the command under way ended at `now`, and goes on with the next.
    ///
    /// # Errors
    /// If there is none, or the one that ended was not carried out: everything that ended, in order.
    pub fn go_on(mut self, now: Duration, outcome: Outcome) -> Result<Treatment, Vec<Ended>> {
        let ended = self.end(now, outcome);
        self.ended.push(ended);
        match self.to_come.pop_front() {
            Some(next) if ended.was_carried_out() => {
                let begin = if self.votes { Repair::vote } else { Repair::new };
                self.repair = begin(next, now, self.patience);
                Ok(self)
            }
            _ => Err(self.ended),
        }
    }
}
