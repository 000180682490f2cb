//! One command, from the decision to its end on the target: learn the sequence, write by right of the lease, wait for
//! the acknowledgement, follow it. Pure: it says what to read or write next and is told what came of it.
//!
//! The target obeys a sequence once. So the same bytes may be written again when it is unknown whether a write
//! arrived, and a monitor that starts anew goes on with the sequence that the acknowledgement names.

use backdoors_sensor_box::{AcknowledgementView, Command, CommandState, DecodeError, Refusal, Token};
use std::time::Duration;

/// How often a command is numbered anew because someone else used its number, before that counts as its refusal.
const MOST_STALE: u32 = 3;
/// How often a command is written anew, after a handshake, because the target took it for somebody else's.
const MOST_NOT_AUTHENTIC: u32 = 3;
/// Pause between two looks at the acknowledgement while the command is young.
const POLL: Duration = Duration::from_millis(1);
/// The same, once it is older than [`PATIENT_AFTER`].
const SLOW_POLL: Duration = Duration::from_millis(10);
const PATIENT_AFTER: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch the acknowledgement and call [`Repair::acknowledgement`].
    Fetch,
    /// Write this, body first and sequence last in one batch, and call [`Repair::written`].
    Write {
        /// The command's number.
        sequence: u64,
        /// The lease by whose right it is written; `None`: it is a vote, which needs none.
        token: Option<Token>,
    },
    /// Nothing before this time.
    Wait(Duration),
    /// It has ended.
    Ended(Outcome),
}

/// Something worth telling, on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The command was written under this number.
    Written(u64),
    /// The target looked at it.
    Acknowledged(AcknowledgementView),
    /// The target does not take it for this monitor's: it has given another key meanwhile. After a handshake the command
    /// is written again, under the same number.
    NotAuthentic,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that matched is dead, or was counted.
    Done(AcknowledgementView),
    /// It counts as a vote for the same command of whoever holds the lease.
    Voted(AcknowledgementView),
    /// The target refused; the acknowledgement says why. Nothing was killed.
    Refused(AcknowledgementView),
    /// The target gave up: matching processes are alive.
    GaveUp(AcknowledgementView),
    /// The time was up. What was asked may still be carried out.
    TimedOut {
        /// What was waited for.
        waiting_for: Wait,
        /// The last acknowledgement of this command, if there was any.
        last: Option<AcknowledgementView>,
    },
    /// It is unknown what became of the command.
    Unknown(Doubt),
}

/// What a command was waiting for when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// The path to the target; nothing was written yet.
    Path,
    /// The end of an earlier command of this monitor; nothing was written yet.
    EarlierCommand,
    /// The lease, which another monitor holds or nobody could take; nothing was written yet.
    Lease,
    /// The path to the target, after a write that may have arrived.
    PathAfterWrite,
    /// The target's attention: it was written and not looked at.
    Acknowledgement,
    /// The death of the last culprit: it was accepted and is running.
    End,
    /// Other monitors, that must want it, too.
    Agreement,
}

impl Wait {
    /// A phrase that completes "it waited for".
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Wait::Path => "the path to the target (nothing was written)",
            Wait::EarlierCommand => "the end of this monitor's earlier command (nothing was written)",
            Wait::Lease => "the lease of the target (nothing was written)",
            Wait::PathAfterWrite => "the path to the target (it may have been written)",
            Wait::Acknowledgement => "the target to look at it (it was written)",
            Wait::End => "its end (it is running)",
            Wait::Agreement => "other monitors to want the same (it was written)",
        }
    }
}

/// Why a target did not do what it was told, for people.
#[must_use]
pub fn reason(view: &AcknowledgementView) -> String {
    match (view.reason, i32::try_from(view.failure)) {
        (Refusal::Failed, Ok(number @ 1..)) => {
            format!("{}: {}", view.reason, std::io::Error::from_raw_os_error(number))
        }
        (Refusal::Failed, _) => format!("{}: {}", view.reason, view.failure),
        (refusal, _) => refusal.to_string(),
    }
}

/// Why nobody can tell what became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Somebody else wrote to the same slot.
    #[error("the slot answers for command {found} of somebody else: does another monitor use this identity?")]
    Overtaken {
        /// The sequence found.
        found: u64,
    },
    /// The target's regions were made anew while it waited.
    #[error("the target's agent made its memory anew meanwhile")]
    MadeAnew,
    /// The acknowledgement is none. Nothing was written if it was to tell the command's number.
    #[error("{error} ({})", if *.written { "the command was written" } else { "nothing was written" })]
    Unreadable {
        /// What is wrong with it.
        error: DecodeError,
        /// Whether the command may have been written.
        written: bool,
    },
    /// The acknowledgement holds a number after which there is none.
    #[error("the acknowledgement makes no sense: sequence {found}")]
    Senseless {
        /// The sequence found.
        found: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Learning { busy: bool },
    Writing { sequence: u64, again: bool },
    Waiting { sequence: u64, arrived: bool },
    Running { sequence: u64 },
    Ended(Outcome),
}

/// A command on its way. One per slot at a time.
#[derive(Debug)]
pub struct Repair {
    command: Command,
    vote: bool,
    started: Duration,
    deadline: Duration,
    phase: Phase,
    next_look: Duration,
    /// It could be written and this monitor did not hold the lease.
    without_lease: bool,
    stale: u32,
    not_authentic: u32,
    /// The last acknowledgement of something that was not authentic: it says nothing of what was written since.
    before: Option<AcknowledgementView>,
    last: Option<AcknowledgementView>,
}

impl Repair {
    /// A command decided on at `now`, with so much `patience`.
    #[must_use]
    pub fn new(command: Command, now: Duration, patience: Duration) -> Repair {
        Repair {
            command,
            vote: false,
            started: now,
            deadline: now.saturating_add(patience),
            phase: Phase::Learning { busy: false },
            next_look: now,
            without_lease: false,
            stale: 0,
            not_authentic: 0,
            before: None,
            last: None,
        }
    }

    /// A vote for a command that the holder of the lease is to give, otherwise as [`Repair::new`].
    #[must_use]
    pub fn vote(command: Command, now: Duration, patience: Duration) -> Repair {
        Repair { vote: true, ..Repair::new(command, now, patience) }
    }

    /// The command.
    #[must_use]
    pub fn command(&self) -> &Command {
        &self.command
    }

    /// When it was decided on.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// The number it was or will be written under, once that is known.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        match self.phase {
            Phase::Writing { sequence, .. }
            | Phase::Waiting { sequence, .. }
            | Phase::Running { sequence } => Some(sequence),
            Phase::Learning { .. } | Phase::Ended(_) => None,
        }
    }

    /// Whether the next thing to do is to write, for which the lease is needed.
    #[must_use]
    pub fn needs_lease(&self) -> bool {
        matches!(self.phase, Phase::Writing { .. }) && !self.vote
    }

    /// What to do at `now`. Nothing is written without a `token`, that is while this monitor does not hold the lease.
    pub fn step(&mut self, now: Duration, token: Option<Token>) -> Step {
        if let Phase::Ended(outcome) = self.phase {
            return Step::Ended(outcome);
        }
        if now >= self.deadline {
            let waiting_for = match self.phase {
                Phase::Learning { busy: true } => Wait::EarlierCommand,
                Phase::Writing { again: true, .. } | Phase::Waiting { arrived: false, .. } => {
                    Wait::PathAfterWrite
                }
                Phase::Waiting { .. } => Wait::Acknowledgement,
                Phase::Running { .. } if self.last.is_some_and(|view| awaits(&view)) => Wait::Agreement,
                Phase::Running { .. } => Wait::End,
                Phase::Writing { .. } if self.without_lease => Wait::Lease,
                Phase::Learning { .. } | Phase::Writing { .. } | Phase::Ended(_) => Wait::Path,
            };
            return Step::Ended(self.end(Outcome::TimedOut { waiting_for, last: self.last }));
        }
        if now < self.next_look {
            return Step::Wait(self.next_look.min(self.deadline));
        }
        let Phase::Writing { sequence, .. } = self.phase else { return Step::Fetch };
        if self.vote {
            return Step::Write { sequence, token: None };
        }
        self.without_lease = token.is_none();
        match token {
            Some(_) => Step::Write { sequence, token },
            None => {
                self.rest(now);
                Step::Wait(self.next_look.min(self.deadline))
            }
        }
    }

    /// Takes in what the acknowledgement of the slot says.
    pub fn acknowledgement(&mut self, now: Duration, view: &AcknowledgementView) -> Option<Progress> {
        self.rest(now);
        match self.phase {
            Phase::Learning { .. } => {
                self.before = (view.reason == Refusal::NotAuthentic).then_some(*view);
                if view.state == CommandState::Running || awaits(view) {
                    self.phase = Phase::Learning { busy: true };
                } else {
                    self.number(now, view);
                }
                None
            }
            Phase::Waiting { sequence, .. } | Phase::Running { sequence }
                if view.command == sequence && self.before.as_ref() != Some(view) =>
            {
                self.judge(now, sequence, view)
            }
            Phase::Waiting { sequence, arrived } => {
                if view.accepted >= sequence {
                    self.end(Outcome::Unknown(Doubt::Overtaken { found: view.accepted }));
                } else if view.accepted + 1 < sequence {
                    self.end(Outcome::Unknown(Doubt::MadeAnew));
                } else if !arrived {
                    self.phase = Phase::Writing { sequence, again: true };
                    self.next_look = now;
                }
                None
            }
            Phase::Running { .. } => {
                self.end(Outcome::Unknown(Doubt::Overtaken { found: view.command }));
                None
            }
            Phase::Writing { .. } | Phase::Ended(_) => None,
        }
    }

    /// Takes in that the bytes of [`Step::Write`] were written.
    pub fn written(&mut self, now: Duration) -> Option<Progress> {
        let Phase::Writing { sequence, .. } = self.phase else { return None };
        self.phase = Phase::Waiting { sequence, arrived: true };
        self.next_look = now;
        Some(Progress::Written(sequence))
    }

    /// Takes in that what was read is no acknowledgement. One that is just being written is looked at again.
    pub fn unreadable(&mut self, now: Duration, error: DecodeError) {
        if matches!(error, DecodeError::Torn { .. }) {
            return self.failed(now, false);
        }
        let written = !matches!(self.phase, Phase::Learning { .. } | Phase::Writing { again: false, .. });
        self.end(Outcome::Unknown(Doubt::Unreadable { error, written }));
    }

    /// Takes in that reading or writing failed. `changed`: a write may have arrived all the same.
    pub fn failed(&mut self, now: Duration, changed: bool) {
        self.rest(now);
        if let Phase::Writing { sequence, again } = self.phase {
            if changed {
                // Look before writing again: it may have been obeyed already.
                self.phase = Phase::Waiting { sequence, arrived: false };
            } else {
                self.phase = Phase::Writing { sequence, again };
            }
        }
    }

    /// Takes in that the target's regions, and so slot and acknowledgement, were made anew.
    pub fn made_anew(&mut self) {
        match self.phase {
            Phase::Waiting { .. } | Phase::Running { .. } | Phase::Writing { again: true, .. } => {
                self.end(Outcome::Unknown(Doubt::MadeAnew));
            }
            Phase::Writing { again: false, .. } => self.phase = Phase::Learning { busy: false },
            Phase::Learning { .. } | Phase::Ended(_) => {}
        }
    }

    fn judge(&mut self, now: Duration, sequence: u64, view: &AcknowledgementView) -> Option<Progress> {
        let stale = view.state == CommandState::Refused && view.reason == Refusal::StaleSequence;
        if stale && self.stale < MOST_STALE {
            self.stale += 1;
            self.number(now, view);
            return None;
        }
        if view.state == CommandState::Refused
            && view.reason == Refusal::NotAuthentic
            && self.not_authentic < MOST_NOT_AUTHENTIC
        {
            self.not_authentic += 1;
            self.before = Some(*view);
            self.phase = Phase::Writing { sequence, again: false };
            return Some(Progress::NotAuthentic);
        }
        let first = self.last.is_none();
        self.last = Some(*view);
        match view.state {
            // The number without a verdict: the target is about to judge it.
            CommandState::Idle => return None,
            CommandState::Running | CommandState::Awaiting => self.phase = Phase::Running { sequence },
            CommandState::Voted => drop(self.end(Outcome::Voted(*view))),
            CommandState::Done => drop(self.end(Outcome::Done(*view))),
            CommandState::Refused => drop(self.end(Outcome::Refused(*view))),
            CommandState::GaveUp => drop(self.end(Outcome::GaveUp(*view))),
        }
        first.then_some(Progress::Acknowledged(*view))
    }

    /// Takes the next number.
    fn number(&mut self, now: Duration, view: &AcknowledgementView) {
        match view.accepted.checked_add(1) {
            Some(sequence) => {
                self.phase = Phase::Writing { sequence, again: false };
                self.next_look = now;
            }
            None => drop(self.end(Outcome::Unknown(Doubt::Senseless { found: view.accepted }))),
        }
    }

    fn end(&mut self, outcome: Outcome) -> Outcome {
        self.phase = Phase::Ended(outcome);
        outcome
    }

    fn rest(&mut self, now: Duration) {
        let pause = if now.saturating_sub(self.started) < PATIENT_AFTER { POLL } else { SLOW_POLL };
        self.next_look = now.saturating_add(pause);
    }
}

fn awaits(view: &AcknowledgementView) -> bool {
    view.state == CommandState::Awaiting
}

#[cfg(test)]
mod tests;
