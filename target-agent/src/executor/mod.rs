//! Commands of monitors where the kernel half cannot be loaded: which are obeyed, whom they mean, what is answered.
//!
//! Decisions only: no clock, no signal, no memory. Each round goes
//! [`Executor::decide`] → send the signals it asks for, telling [`Executor::struck`] of each → [`Executor::settle`].
//! The rules are the kernel half's (`bpf/commands.h`, `bpf/strike.h`). What differs follows from looking now and
//! then instead of being told:
//!
//! | | kernel half | here |
//! | --- | --- | --- |
//! | children of culprits | signalled at birth | found by the next round |
//! | descendants in a killed tree | marked at birth, always found | lost if every ancestor up to the tree died between two rounds |
//! | the agent is restarted | commands go on | a command under way ends as [`CommandState::GaveUp`]: who it had counted and signalled is not known any more |

mod agreement;
mod ledger;
mod marks;
mod run;
#[cfg(test)]
mod tests;

use crate::seat::{Seat, Seats};
pub use agreement::Agreement;
use agreement::Votes;
use backdoors_sensor_box::audit::layout::AuditRecord;
use backdoors_sensor_box::layout::{Acknowledgement, COMMAND_SLOTS, CommandSlot};
use backdoors_sensor_box::writer::Torn;
use backdoors_sensor_box::{CommandState, LeaseWord, Opcode, Refusal, Seal, Subject, Token};
use ledger::Ledger;
use marks::Marks;
use run::Run;
use std::time::Duration;

/// A process that no command reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedProcess {
    /// Its process id.
    pub pid: u32,
    /// Its start, nanoseconds of the monotonic clock; 0: not known, so whichever has that id.
    pub start: u64,
}

/// Whom commands do not reach, and how long they are pursued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The first process of the scope: 1.
    pub init: u32,
    /// Parts of Backdoors on this machine.
    pub protected: Vec<ProtectedProcess>,
    /// Users whose processes are never signalled. User 0 is one of them without being named.
    pub spared: Vec<u32>,
    /// How long after a command was accepted its victims may take to die.
    pub give_up: Duration,
    /// Who may command, and what.
    pub seats: Seats,
    /// Generation of the command slots.
    pub generation: u64,
    /// Which commands several monitors must want.
    pub agreement: Agreement,
}

impl Policy {
    /// Whether this process is part of Backdoors.
    #[must_use]
    pub fn protects(&self, pid: u32, start: u64) -> bool {
        self.protected.iter().any(|known| known.pid == pid && (known.start == 0 || known.start == start))
    }

    /// Whether a command is of the monitor whose slot it is in.
    #[must_use]
    pub fn is_authentic(&self, slot: usize, given: &CommandSlot) -> bool {
        let key = self.seats.get(slot).and_then(Seat::key);
        let seal = |key| Seal { key, slot: slot as u32, generation: self.generation };
        key.is_some_and(|key| seal(key).is_on(given))
    }

    /// Whether processes of this user are never signalled.
    #[must_use]
    pub fn spares(&self, user: u32) -> bool {
        user == 0 || self.spared.contains(&user)
    }
}

/// A live process as a round saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Process id in the scope.
    pub pid: u32,
    /// Process id of the parent, 0 outside the scope.
    pub parent: u32,
    /// Real user id.
    pub user: u32,
    /// Start, nanoseconds of the monotonic clock.
    pub start: u64,
    /// A kernel thread.
    pub kernel: bool,
}

/// A process to send a signal to, once, whichever and however many commands mean it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Process id.
    pub pid: u32,
    /// Its start: a process with another one is another process.
    pub start: u64,
    /// Its user when it was chosen: if it has changed, the choice does not hold.
    pub user: u32,
    /// Number of the signal.
    pub signal: u32,
    commands: u16,
}

/// What a round must do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Signals to send; tell [`Executor::struck`] of each.
    pub strikes: Vec<Strike>,
    /// The lease by whose right they are sent: none are to be, once it is another's.
    pub token: Option<Token>,
    /// What to publish before signals are sent, by slot.
    pub acknowledgements: Vec<(usize, Acknowledgement)>,
}

/// Carries out the commands of all slots.
#[derive(Debug)]
pub struct Executor {
    policy: Policy,
    runs: [Run; COMMAND_SLOTS],
    votes: Votes,
    marks: Marks,
    ledger: Ledger,
}

impl Executor {
    /// An executor that goes on where the last one stopped: no command that it looked at is looked at again.
    /// `earlier` reads the acknowledgement of a slot. Publish what comes with it.
    pub fn new(
        policy: Policy,
        now: u64,
        earlier: impl Fn(usize) -> Result<Option<Acknowledgement>, Torn>,
        slots: &dyn Fn(usize) -> Option<CommandSlot>,
    ) -> (Executor, Vec<(usize, Acknowledgement)>) {
        let mut interrupted = Vec::new();
        let runs = std::array::from_fn(|slot| match earlier(slot) {
            Ok(answer) => {
                let mut run = answer.map_or_else(Run::default, Run::continuing);
                if run.running() || run.awaiting() {
                    run.give_up(now, Refusal::None);
                    interrupted.push((slot, run.answer));
                }
                run
            }
            // Its writer died while it answered the command that is in the slot, whatever it had decided.
            Err(Torn) => {
                let sequence = slots(slot).map_or(0, |given| given.sequence);
                let mut run = Run::continuing(Acknowledgement {
                    command: sequence,
                    accepted: sequence,
                    accepted_at: now,
                    ..run::no_answer()
                });
                run.give_up(now, Refusal::None);
                interrupted.push((slot, run.answer));
                run
            }
        });
        let (votes, marks, ledger) = (Votes::default(), Marks::default(), Ledger::default());
        (Executor { policy, runs, votes, marks, ledger }, interrupted)
    }

    /// Replaces the policy, e.g. when another process became part of Backdoors.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether a command is being carried out.
    #[must_use]
    pub fn hunting(&self) -> bool {
        self.runs.iter().any(Run::running)
    }

    /// Looks at the slots and at all live processes, kernel threads included. Whoever holds the lease, which
    /// `lease` reads, is obeyed, nobody else, nor any longer. `slots` may answer `None` for a slot that is being written; it is looked at again the next
    /// time.
    pub fn decide(
        &mut self,
        now: u64,
        lease: &dyn Fn() -> LeaseWord,
        slots: &dyn Fn(usize) -> Option<CommandSlot>,
        processes: &[Candidate],
    ) -> Actions {
        let mut actions = Actions::default();
        let mut accepted = 0;
        for slot in 0..COMMAND_SLOTS {
            let run = &mut self.runs[slot];
            if run.awaiting() {
                if run.weigh(slot, now, lease(), &self.policy, &mut self.votes, processes) {
                    actions.acknowledgements.push((slot, run.answer));
                }
                if !run.awaiting() {
                    self.ledger.judged(slot, run, &self.policy, now);
                }
                accepted |= u16::from(run.running()) << slot;
                continue;
            }
            let Some(given) = slots(slot).filter(|given| !run.running() && given.sequence != run.looked)
            else {
                continue;
            };
            let holds_lease = lease().allows(slot, given.token);
            if run.consider(&given, slot, now, holds_lease, &self.policy, processes) {
                if run.answer.state == CommandState::Voted as u32 {
                    self.votes.cast(slot, &given, &self.policy, now);
                }
                actions.acknowledgements.push((slot, run.answer));
                self.ledger.judged(slot, run, &self.policy, now);
            }
            if run.running() {
                accepted |= 1 << slot;
            }
        }
        // After commands were accepted, before anybody is signalled, and by one look at the lease: only so no two
        // monitors are ever obeyed in one round (sensor-box/tests/loom_lease.rs).
        let lease = lease();
        for (slot, run) in self.runs.iter_mut().enumerate().filter(|(_, run)| run.running()) {
            let may = run.opcode().is_some_and(|opcode| self.policy.seats[slot].may().has(opcode));
            if !run.allowed_by(lease, slot) || !may {
                run.give_up(now, if may { Refusal::NotTheHolder } else { Refusal::NotAllowed });
                actions.acknowledgements.push((slot, run.answer));
                self.ledger.ended(slot, run, &self.policy, now);
                accepted &= !(1 << slot);
            }
        }
        actions.token = lease.token();
        if !self.hunting() {
            self.marks.clear();
            return actions;
        }
        self.marks.take_off(accepted);
        for slot in self.marks.forget_dead(processes) {
            if self.runs[slot].running() {
                self.runs[slot].answer.last_death_at = now;
            }
        }
        for (slot, run) in self.runs.iter().enumerate().filter(|(slot, _)| accepted & (1 << slot) != 0) {
            if run.opcode().map(Opcode::subject) == Some(Subject::Tree) {
                self.marks.root_tree(run.subject(), run.start, slot);
            }
        }
        // The whole tree is found before anybody is signalled, because it falls apart as its upper processes die.
        self.marks.spread_trees(processes);
        self.sweep(processes, &mut actions.strikes);
        actions
    }

    fn sweep(&mut self, processes: &[Candidate], strikes: &mut Vec<Strike>) {
        for run in &mut self.runs {
            run.alive = 0;
        }
        for process in processes.iter().filter(|process| !process.kernel) {
            let commands = self.choose(process);
            // Those of one sweep are all of one monitor, which gives one at a time.
            if let Some(slot) = slots_of(commands).next() {
                let (Candidate { pid, start, user, .. }, signal) = (*process, self.runs[slot].signal());
                strikes.push(Strike { pid, start, user, signal, commands });
            }
        }
    }

    /// Which of the running commands mean this process.
    fn commands_meaning(&self, process: &Candidate) -> u16 {
        let Candidate { pid, user, start, .. } = *process;
        if pid == self.policy.init || self.policy.spares(user) || self.policy.protects(pid, start) {
            return 0;
        }
        let tree = self.marks.tree(pid, start);
        let mut meaning = 0;
        for (slot, run) in self.runs.iter().enumerate().filter(|(_, run)| run.running()) {
            let means = match run.opcode().map(Opcode::subject) {
                Some(Subject::Process) => run.subject() == u64::from(pid) && run.start == start,
                Some(Subject::User) => run.subject() == u64::from(user),
                Some(Subject::Tree) => tree & (1 << slot) != 0,
                _ => false,
            };
            meaning |= u16::from(means) << slot;
        }
        meaning
    }

    /// Counts the process for the commands that mean it, and returns those that may signal it and have not.
    fn choose(&mut self, process: &Candidate) -> u16 {
        let meaning = self.commands_meaning(process);
        let mut may = 0;
        for slot in slots_of(meaning) {
            let run = &mut self.runs[slot];
            if run.signals_once() && self.marks.was_struck(process.pid, process.start, slot) {
                continue;
            }
            run.alive += 1;
            if self.marks.count(process.pid, process.start, slot) {
                run.answer.matched = run.answer.matched.saturating_add(1);
            }
            if !run.dry() && !self.marks.was_struck(process.pid, process.start, slot) && run.take_place() {
                may |= 1 << slot;
            }
        }
        may
    }

    /// A signal that [`Executor::decide`] asked for was sent at `now`, or could not be: then the process is chosen
    /// again the next time, if it is still there.
    pub fn struck(&mut self, now: u64, strike: &Strike, sent: bool) {
        for slot in slots_of(strike.commands) {
            let run = &mut self.runs[slot];
            if sent {
                self.marks.strike(strike.pid, strike.start, slot);
                run.count_signal(now);
            } else {
                run.give_place_back();
            }
        }
    }

    /// Ends the round: what to publish, by slot.
    pub fn settle(&mut self, now: u64) -> Vec<(usize, Acknowledgement)> {
        let give_up = u64::try_from(self.policy.give_up.as_nanos()).unwrap_or(u64::MAX);
        let mut answers = Vec::new();
        for (slot, run) in self.runs.iter_mut().enumerate().filter(|(_, run)| run.running()) {
            run.settle(now, give_up);
            if !run.running() {
                self.ledger.ended(slot, run, &self.policy, now);
            }
            answers.push((slot, run.answer));
        }
        answers
    }

    /// What to write to the audit ring now, and how many refusals were left out of it so far.
    pub fn take_records(&mut self) -> (Vec<AuditRecord>, u64) {
        self.ledger.take()
    }

    /// How far the command of a slot is.
    #[must_use]
    pub fn state(&self, slot: usize) -> Option<CommandState> {
        self.runs.get(slot).and_then(|run| CommandState::from_number(run.answer.state))
    }
}

fn slots_of(bits: u16) -> impl Iterator<Item = usize> {
    (0..COMMAND_SLOTS).filter(move |slot| bits & (1 << slot) != 0)
}

const _: () = assert!(COMMAND_SLOTS <= u16::BITS as usize);
