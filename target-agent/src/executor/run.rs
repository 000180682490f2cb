//! One command slot: the command that was looked at last, and its answer.

use super::agreement::Votes;
use super::{Candidate, Policy};
use backdoors_sensor_box::layout::{Acknowledgement, CommandFlags, CommandSlot};
use backdoors_sensor_box::{CommandState, LeaseWord, Opcode, Refusal, Subject};
use zerocopy::FromZeros;

#[derive(Debug)]
pub(super) struct Run {
    /// The last sequence looked at that came with the right code, whatever came of it.
    pub(super) looked: u64,
    /// What was last refused for its code: its sequence and that code.
    forged: Option<(u64, [u64; 2])>,
    pub(super) command: CommandSlot,
    pub(super) answer: Acknowledgement,
    /// Of the process the command names.
    pub(super) start: u64,
    /// Matching processes alive, counted by the round that goes on.
    pub(super) alive: u32,
    /// Sweeps in a row that found nobody.
    quiet: u32,
    /// Processes signalled or about to be: bounded by `most_victims`.
    chosen: u64,
}

pub(super) fn no_answer() -> Acknowledgement {
    Acknowledgement::new_zeroed()
}

impl Default for Run {
    fn default() -> Run {
        Run::continuing(no_answer())
    }
}

impl Run {
    /// A slot whose last answer was `answer`.
    pub(super) fn continuing(answer: Acknowledgement) -> Run {
        let command = CommandSlot::new_zeroed();
        // A sequence that came with a wrong code may yet come with the right one.
        let forged = answer.reason == Refusal::NotAuthentic as u32;
        let looked = if forged { answer.accepted } else { answer.command };
        Run { looked, forged: None, command, answer, start: 0, alive: 0, quiet: 0, chosen: 0 }
    }

    pub(super) fn running(&self) -> bool {
        self.answer.state == CommandState::Running as u32
    }

    pub(super) fn awaiting(&self) -> bool {
        self.answer.state == CommandState::Awaiting as u32
    }

    /// Whether the monitor that gave the command still holds the lease, by the term it had in mind.
    pub(super) fn allowed_by(&self, lease: LeaseWord, slot: usize) -> bool {
        lease.allows(slot, self.command.token)
    }

    pub(super) fn opcode(&self) -> Option<Opcode> {
        Opcode::from_number(self.command.opcode)
    }

    /// The number of the signal that it sends, once to each if that is not SIGKILL.
    pub(super) fn signal(&self) -> u32 {
        const KILL: u32 = 9;
        match self.opcode() {
            Some(opcode) if opcode.signals() => self.command.argument as u32,
            _ => KILL,
        }
    }

    /// Whether those that were signalled are none of its business any more.
    pub(super) fn signals_once(&self) -> bool {
        self.opcode().is_some_and(Opcode::signals)
    }

    pub(super) fn subject(&self) -> u64 {
        self.command.subject
    }

    pub(super) fn dry(&self) -> bool {
        self.command.flags & CommandFlags::DRY_RUN != 0
    }

    /// Judges a command of `slot` that was not looked at before. `false` if there is nothing new to be said of it.
    pub(super) fn consider(
        &mut self,
        given: &CommandSlot,
        slot: usize,
        now: u64,
        holds_lease: bool,
        policy: &Policy,
        processes: &[Candidate],
    ) -> bool {
        let accepted = self.answer.accepted;
        let answer = Acknowledgement {
            command: given.sequence,
            accepted,
            state: CommandState::Refused as u32,
            accepted_at: now,
            finished_at: now,
            ..no_answer()
        };
        if !policy.is_authentic(slot, given) {
            // It may be half of what is being written: so it is looked at again, as long as it is there, but told only once.
            let forged = Some((given.sequence, given.mac));
            if self.forged == forged {
                return false;
            }
            let looked = self.looked;
            *self = Run::continuing(Acknowledgement { reason: Refusal::NotAuthentic as u32, ..answer });
            (self.looked, self.forged) = (looked, forged);
            self.command = *given;
            return true;
        }
        *self = Run::continuing(answer);
        self.command = *given;
        self.judge_authentic(slot, holds_lease, policy, processes);
        true
    }

    fn judge_authentic(&mut self, slot: usize, holds_lease: bool, policy: &Policy, processes: &[Candidate]) {
        let (given, accepted) = (self.command, self.answer.accepted);
        if given.sequence != accepted.wrapping_add(1) {
            self.answer.reason = Refusal::StaleSequence as u32;
            return;
        }
        self.answer.accepted = given.sequence;
        let vote = given.flags & CommandFlags::VOTE != 0;
        let judged = if holds_lease || vote {
            self.judge(slot, policy, processes)
        } else {
            Err(Refusal::NotTheHolder)
        };
        match judged {
            Err(reason) => self.answer.reason = reason as u32,
            Ok(start) => {
                self.start = start;
                let state = if vote {
                    CommandState::Voted
                } else if self.opcode() == Some(Opcode::Nothing) {
                    CommandState::Done
                } else {
                    self.answer.finished_at = 0;
                    // The next round weighs it.
                    let awaits = policy.agreement.is_needed_for(&given);
                    if awaits { CommandState::Awaiting } else { CommandState::Running }
                };
                self.answer.state = state as u32;
            }
        }
    }

    /// Decides about a command that waits for others to want it, too. `false` if there is nothing new to be said of it.
    pub(super) fn weigh(
        &mut self,
        slot: usize,
        now: u64,
        lease: LeaseWord,
        policy: &Policy,
        votes: &mut Votes,
        processes: &[Candidate],
    ) -> bool {
        let wanted = votes.agreeing(slot, &self.command, policy, now);
        let judged = if self.allowed_by(lease, slot) {
            self.judge(slot, policy, processes)
        } else {
            Err(Refusal::NotTheHolder)
        };
        let reason = match judged {
            Err(reason) => reason,
            Ok(start) if start != self.start => Refusal::OtherProcess,
            Ok(_) if wanted >= policy.agreement.needed => Refusal::None,
            Ok(_) => {
                let news = std::mem::replace(&mut self.answer.matched, wanted) != wanted;
                if now.saturating_sub(self.answer.accepted_at) < policy.agreement.window() {
                    return news;
                }
                Refusal::NoAgreement
            }
        };
        self.answer.reason = reason as u32;
        if reason == Refusal::None {
            self.command.most_victims = votes.use_up(slot, &self.command, policy, now);
            self.answer = Acknowledgement {
                state: CommandState::Running as u32,
                accepted_at: now,
                matched: 0,
                ..self.answer
            };
        } else {
            self.answer.state = CommandState::Refused as u32;
            self.answer.finished_at = now;
        }
        true
    }

    /// The start of the process that an obeyed command names, 0 if it names none.
    fn judge(&self, slot: usize, policy: &Policy, processes: &[Candidate]) -> Result<u64, Refusal> {
        let subject = self.command.subject;
        let opcode = self.opcode().ok_or(Refusal::UnknownOpcode)?;
        if opcode != Opcode::Nothing && !policy.seats[slot].may().has(opcode) {
            return Err(Refusal::NotAllowed);
        }
        opcode.check_argument(self.command.argument)?;
        match opcode.subject() {
            Subject::Nothing => return Ok(0),
            Subject::User if opcode.sweeps() => {
                let spared = u32::try_from(subject).is_ok_and(|user| policy.spares(user));
                return if spared { Err(Refusal::SparedUser) } else { Ok(0) };
            }
            Subject::Process | Subject::Tree if opcode.sweeps() => {}
            // Control groups are not read from procfs, and forks only the kernel half can refuse.
            _ => return Err(Refusal::NotPossible),
        }
        if subject == u64::from(policy.init) {
            return Err(Refusal::InitProcess);
        }
        let named = processes.iter().find(|process| u64::from(process.pid) == subject);
        let process = named.ok_or(Refusal::NoSuchProcess)?;
        if process.kernel {
            Err(Refusal::KernelThread)
        } else if self.command.start != 0 && self.command.start != process.start {
            Err(Refusal::OtherProcess)
        } else if policy.protects(process.pid, process.start) {
            Err(Refusal::Protected)
        } else if policy.spares(process.user) {
            Err(Refusal::SparedUser)
        } else {
            Ok(process.start)
        }
    }

    /// Takes a place among the victims, if there is one left.
    pub(super) fn take_place(&mut self) -> bool {
        if self.command.most_victims != 0 && self.chosen >= self.command.most_victims {
            return false;
        }
        self.chosen += 1;
        true
    }

    pub(super) fn give_place_back(&mut self) {
        self.chosen = self.chosen.saturating_sub(1);
    }

    pub(super) fn count_signal(&mut self, now: u64) {
        self.answer.signalled = self.answer.signalled.saturating_add(1);
        if self.answer.first_signal_at == 0 {
            self.answer.first_signal_at = now;
        }
    }

    pub(super) fn settle(&mut self, now: u64, give_up: u64) {
        self.answer.sweeps = self.answer.sweeps.saturating_add(1);
        self.answer.remaining = self.alive;
        // One empty sweep may have missed a child born during it.
        self.quiet = if self.alive == 0 { self.quiet + 1 } else { 0 };
        if self.quiet >= 2 || self.dry() {
            self.answer.state = CommandState::Done as u32;
            self.answer.finished_at = now;
        } else if self.alive > 0 && now.saturating_sub(self.answer.accepted_at) >= give_up {
            // With nobody alive one round more will tell, however long a machine that stood still has taken.
            self.give_up(now, Refusal::None);
        }
    }

    pub(super) fn give_up(&mut self, now: u64, reason: Refusal) {
        self.answer.state = CommandState::GaveUp as u32;
        self.answer.reason = reason as u32;
        self.answer.finished_at = now;
    }
}
