//! What healers would do and may not do by themselves, until a human approves it or it is over. Pure.
//!
//! An approval is of what the human has seen: a proposal keeps its healer, culprit and victims for life. The same found
//! again confirms it and brings its evidence up to date; anything else is another proposal, and overtakes it.

#[cfg(test)]
mod tests;

use crate::victim::Victim;
use backdoors_healers::{Culprit, Evidence};
pub use backdoors_monitor_api::ProposalState as State;
use backdoors_sensor_box::{Command, Opcode};
use std::collections::VecDeque;
use std::time::Duration;

/// Proposals that are kept, those that are over included.
pub const MOST: usize = 64;
/// Numbers begin with the time in seconds within this range, so that a number of an earlier run of the monitor is not
/// that of another proposal now.
const NUMBERS: u64 = 1_000_000;

/// What a healer found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The healer's number: two of a target may have one name.
    pub number: usize,
    /// The healer's name.
    pub healer: String,
    /// Whom it blames.
    pub culprit: Culprit,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// What would put it right.
    pub commands: Vec<Command>,
    /// How long its victims have to end by themselves before it kills; none if it is urgent.
    pub grace: Duration,
    /// Processes that would strike.
    pub victims: u64,
    /// Why the healer did not do it, if it may act.
    pub withheld: Option<String>,
}

impl Found {
    /// Who blames whom, and why, most telling first.
    #[must_use]
    pub fn reason(&self) -> String {
        let evidence: Vec<&str> = self.evidence.iter().map(|observation| &*observation.text).collect();
        format!("{}: {}: {}", self.healer, self.culprit, evidence.join("; "))
    }

    fn is_that_of(&self, other: &Found) -> bool {
        self.number == other.number
            && self.culprit == other.culprit
            && deeds(&self.commands).eq(deeds(&other.commands))
    }
}

/// What commands do and to whom, without bounds.
fn deeds(commands: &[Command]) -> impl Iterator<Item = (Opcode, u64, u64, u64)> + '_ {
    commands.iter().map(|command| (command.opcode, command.subject, command.start, command.argument))
}

/// A proposal.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Its number.
    pub id: u64,
    /// What was found, as confirmed last.
    pub found: Found,
    /// When it was made, on the monitor's monotonic clock.
    pub made: Duration,
    /// When it was confirmed last.
    pub confirmed: Duration,
    /// How far it is.
    pub state: State,
    /// When it got there.
    pub since: Duration,
}

/// What became of something found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is a new proposal.
    Made(u64),
    /// It confirms one.
    Confirmed(u64),
}

/// Why a proposal can be neither approved nor rejected. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpen {
    /// There is none of that number.
    #[error("there is no proposal {0}; nothing was written, `backdoors proposals` lists those there are")]
    Unknown(u64),
    /// It is over.
    #[error("proposal {id} is {state}; nothing was written, `backdoors proposals` lists those that are open")]
    Over {
        /// Its number.
        id: u64,
        /// How far it is.
        state: State,
    },
}

/// The proposals of one target, oldest first.
#[derive(Debug)]
pub struct Proposals {
    lifetime: Duration,
    last: u64,
    all: VecDeque<Proposal>,
    /// Proposals that ended otherwise than by a human, to be told.
    ended: Vec<(u64, State)>,
}

impl Proposals {
    /// No proposals. They live for `lifetime` after they were confirmed; `wall` is the time since 1970.
    #[must_use]
    pub fn new(lifetime: Duration, wall: Duration) -> Proposals {
        Proposals { lifetime, last: wall.as_secs() % NUMBERS, all: VecDeque::new(), ended: Vec::new() }
    }

    /// All that are kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Proposal> {
        self.all.iter()
    }

    /// Takes in what a healer found, and is left to a human.
    pub fn propose(&mut self, now: Duration, found: Found) -> Proposed {
        self.expire(now);
        self.supersede(now, &found);
        let is_it =
            |proposal: &&mut Proposal| proposal.state == State::Open && proposal.found.is_that_of(&found);
        if let Some(proposal) = self.all.iter_mut().find(is_it) {
            proposal.confirmed = now;
            proposal.found = found;
            return Proposed::Confirmed(proposal.id);
        }
        self.last += 1;
        let id = self.last;
        self.make_room(now);
        self.all.push_back(Proposal { id, found, made: now, confirmed: now, state: State::Open, since: now });
        Proposed::Made(id)
    }

    /// Takes in what a healer found, whatever becomes of it: what it found before is overtaken.
    pub fn supersede(&mut self, now: Duration, found: &Found) {
        self.end(now, State::Overtaken, |proposal| {
            proposal.found.number == found.number && !proposal.found.is_that_of(found)
        });
    }

    /// The rejection of what a healer found that still holds.
    #[must_use]
    pub fn rejected(&self, now: Duration, found: &Found) -> Option<u64> {
        let holds = |proposal: &&Proposal| self.holds(now, proposal) && proposal.found.is_that_of(found);
        self.all.iter().find(holds).map(|proposal| proposal.id)
    }

    /// Takes in that a healer blames nobody.
    pub fn withdraw(&mut self, now: Duration, healer: usize) {
        self.end(now, State::Withdrawn, |proposal| proposal.found.number == healer);
    }

    /// Takes in that victims are struck, by whomever.
    pub fn overtake(&mut self, now: Duration, victims: &[Victim]) {
        self.end(now, State::Overtaken, |proposal| {
            Victim::of_all(&proposal.found.commands).iter().any(|victim| victims.contains(victim))
        });
    }

    /// Ends those that were not confirmed for too long.
    pub fn expire(&mut self, now: Duration) {
        let lifetime = self.lifetime;
        self.end(now, State::Expired, |proposal| now.saturating_sub(proposal.confirmed) >= lifetime);
    }

    /// A proposal that can be approved or rejected.
    ///
    /// # Errors
    /// See [`NotOpen`].
    pub fn open(&mut self, now: Duration, id: u64) -> Result<&Proposal, NotOpen> {
        self.expire(now);
        self.place(id).map(|index| &self.all[index])
    }

    /// Takes in that a proposal was approved and is begun.
    ///
    /// # Errors
    /// See [`NotOpen`].
    pub fn approve(&mut self, now: Duration, id: u64) -> Result<(), NotOpen> {
        self.decide(now, id, State::Approved)
    }

    /// Takes in that a proposal was rejected.
    ///
    /// # Errors
    /// See [`NotOpen`].
    pub fn reject(&mut self, now: Duration, id: u64) -> Result<(), NotOpen> {
        self.expire(now);
        self.decide(now, id, State::Rejected)
    }

    /// Whether a proposal ended by itself that was not taken yet.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Proposals that ended by themselves since the last call, and how.
    pub fn take_ended(&mut self) -> Vec<(u64, State)> {
        std::mem::take(&mut self.ended)
    }

    fn decide(&mut self, now: Duration, id: u64, state: State) -> Result<(), NotOpen> {
        let index = self.place(id)?;
        self.all[index].state = state;
        self.all[index].since = now;
        Ok(())
    }

    fn place(&self, id: u64) -> Result<usize, NotOpen> {
        let index = self.all.iter().position(|proposal| proposal.id == id).ok_or(NotOpen::Unknown(id))?;
        match self.all[index].state {
            State::Open => Ok(index),
            state => Err(NotOpen::Over { id, state }),
        }
    }

    fn end(&mut self, now: Duration, state: State, which: impl Fn(&Proposal) -> bool) {
        for proposal in self.all.iter_mut().filter(|proposal| proposal.state == State::Open) {
            if which(proposal) {
                self.ended.push((proposal.id, state));
                proposal.state = state;
                proposal.since = now;
            }
        }
    }

    /// Whether a rejection still holds.
    fn holds(&self, now: Duration, proposal: &Proposal) -> bool {
        proposal.state == State::Rejected && now.saturating_sub(proposal.since) < self.lifetime
    }

    /// Forgets the oldest that is over, one that a human rejected last of all. Open ones are at most one of each healer.
    fn make_room(&mut self, now: Duration) {
        if self.all.len() < MOST {
            return;
        }
        let over = |proposal: &Proposal| proposal.state != State::Open;
        let done_with = self.all.iter().position(|proposal| over(proposal) && !self.holds(now, proposal));
        if let Some(index) = done_with.or_else(|| self.all.iter().position(over)) {
            self.all.remove(index);
        }
    }
}
