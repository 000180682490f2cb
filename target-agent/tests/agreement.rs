//! Commands that several monitors must want, as the user half decides about them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_sensor_box::layout::{Acknowledgement, CommandFlags, CommandSlot};
use backdoors_sensor_box::{CommandKey, CommandState, LeaseWord, Opcode, Opcodes, Refusal, Seal};
use backdoors_target_agent::executor::{Agreement, Candidate, Executor, Policy};
use backdoors_target_agent::seat::Seat;
use proptest::prelude::*;
use std::time::Duration;
use zerocopy::FromZeros;

const GENERATION: u64 = 5;
const MILLISECOND: u64 = 1_000_000;
const WINDOW: u64 = 2000;
/// Whom everybody may agree to kill, and whom only a liar wants dead.
const CULPRIT: u32 = 1001;
const INNOCENT: u32 = 1002;

fn key(slot: usize) -> [u8; 16] {
    [slot as u8 + 1; 16]
}

/// A target with three monitors, in slots 0 to 2, of which `needed` must agree.
struct Target {
    executor: Executor,
    policy: Policy,
    slots: [CommandSlot; 3],
    sequences: [u64; 3],
    lease: LeaseWord,
    now: u64,
    processes: Vec<Candidate>,
    killed: Vec<u32>,
}

impl Target {
    fn new(needed: u32) -> Target {
        let all: Opcodes = Opcode::ALL.iter().map(|(opcode, _)| *opcode).collect();
        let mut seats = [Seat::empty(); 16];
        for (slot, seat) in seats.iter_mut().enumerate().take(3) {
            *seat = Seat::new(key(slot), slot as u64 + 1, all);
        }
        let policy = Policy {
            init: 1,
            protected: Vec::new(),
            spared: Vec::new(),
            give_up: Duration::from_secs(5),
            seats,
            generation: GENERATION,
            agreement: Agreement { needed, window: Duration::from_millis(WINDOW), commands: all },
        };
        let (executor, _) = Executor::new(policy.clone(), 0, |_| Ok(None), &|_| None);
        let mut target = Target {
            executor,
            policy,
            slots: [CommandSlot::new_zeroed(); 3],
            sequences: [0; 3],
            lease: LeaseWord::default().taken_by(0),
            now: MILLISECOND,
            processes: Vec::new(),
            killed: Vec::new(),
        };
        target.populate();
        target
    }

    /// A new process of each user.
    fn populate(&mut self) {
        for user in [CULPRIT, INNOCENT] {
            let pid = 100 + (self.processes.len() + self.killed.len()) as u32;
            let start = u64::from(pid);
            self.processes.push(Candidate { pid, parent: 1, user, start, kernel: false });
        }
    }

    fn write(&mut self, slot: usize, given: CommandSlot) {
        self.sequences[slot] += 1;
        let seal = Seal { key: CommandKey::from_bytes(key(slot)), slot: slot as u32, generation: GENERATION };
        self.slots[slot] = seal.put_on(CommandSlot { sequence: self.sequences[slot], ..given });
    }

    /// The holder of the lease gives a command.
    fn command(&mut self, slot: usize, user: u32) {
        self.lease = self.lease.taken_by(slot as u32);
        let token = self.lease.token().unwrap().word();
        self.write(slot, CommandSlot { token, ..kill(user) });
    }

    fn vote(&mut self, slot: usize, user: u32) {
        self.write(slot, CommandSlot { flags: CommandFlags::VOTE, ..kill(user) });
    }

    /// Rounds until so many milliseconds went by, and whoever is signalled is dead. The last answers by slot.
    fn run(&mut self, milliseconds: u64) -> [Option<Acknowledgement>; 3] {
        let mut answers = [None; 3];
        for _ in 0..milliseconds.div_ceil(20).max(2) {
            self.now += 20 * MILLISECOND;
            let (lease, slots) = (self.lease, self.slots);
            let read = |slot: usize| slots.get(slot).copied();
            let actions = self.executor.decide(self.now, &|| lease, &read, &self.processes);
            let mut told = actions.acknowledgements;
            for strike in &actions.strikes {
                self.killed.push(strike.user);
                self.processes.retain(|process| process.pid != strike.pid);
                self.executor.struck(self.now, strike, true);
            }
            told.extend(self.executor.settle(self.now));
            told.into_iter().for_each(|(slot, answer)| answers[slot] = Some(answer));
        }
        answers
    }
}

fn kill(user: u32) -> CommandSlot {
    CommandSlot { opcode: Opcode::KillUser as u32, subject: u64::from(user), ..CommandSlot::new_zeroed() }
}

fn state(answer: Option<Acknowledgement>) -> (CommandState, Refusal, u32) {
    let answer = answer.unwrap();
    let state = CommandState::from_number(answer.state).unwrap();
    (state, Refusal::from_number(answer.reason).unwrap(), answer.matched)
}

#[test]
fn what_two_of_three_want_within_the_window_is_obeyed_whoever_says_so_first() {
    for vote_first in [true, false] {
        let mut target = Target::new(2);
        if vote_first {
            target.vote(2, CULPRIT);
            assert_eq!(state(target.run(WINDOW / 2)[2]), (CommandState::Voted, Refusal::None, 0));
        }
        target.command(0, CULPRIT);
        if !vote_first {
            assert_eq!(state(target.run(WINDOW / 2)[0]), (CommandState::Awaiting, Refusal::None, 1));
            assert!(target.killed.is_empty(), "{:?}", target.killed);
            target.vote(2, CULPRIT);
        }
        target.run(40);
        assert_eq!(target.killed, [CULPRIT], "vote first: {vote_first}");
    }
}

#[test]
fn one_of_three_is_not_obeyed_and_told_how_many_wanted_it() {
    for (needed, votes) in [(2, 0), (3, 1)] {
        let mut target = Target::new(needed);
        (1..=votes).for_each(|slot| target.vote(slot, CULPRIT));
        target.command(0, CULPRIT);
        assert_eq!(state(target.run(WINDOW / 2)[0]).0, CommandState::Awaiting);
        let end = (CommandState::Refused, Refusal::NoAgreement, votes as u32 + 1);
        assert_eq!(state(target.run(WINDOW)[0]), end);
        // What was not obeyed in time is not obeyed later.
        target.vote(2, CULPRIT);
        target.run(WINDOW);
        assert!(target.killed.is_empty(), "{:?}", target.killed);
    }
}

#[test]
fn votes_do_not_count_that_are_too_old_for_another_command_used_up_withdrawn_or_of_the_holder_itself() {
    let refused = |what: &str, prepare: fn(&mut Target)| {
        let mut target = Target::new(2);
        prepare(&mut target);
        let killed = target.killed.len();
        target.command(0, CULPRIT);
        let end = target.run(2 * WINDOW)[0];
        assert_eq!(state(end).1, Refusal::NoAgreement, "{what}");
        assert_eq!(target.killed.len(), killed, "{what}");
    };
    refused("too old", |target| {
        target.vote(1, CULPRIT);
        target.run(WINDOW + 100);
    });
    refused("for another command", |target| {
        target.vote(1, INNOCENT);
        target.write(2, CommandSlot { flags: CommandFlags::VOTE, start: 9, ..kill(CULPRIT) });
    });
    refused("used up", |target| {
        target.vote(1, CULPRIT);
        target.command(0, CULPRIT);
        target.run(200);
        assert_eq!(target.killed, [CULPRIT]);
    });
    refused("of the holder itself", |target| {
        target.vote(0, CULPRIT);
        target.run(40);
    });
    refused("taken back by another vote", |target| {
        target.vote(1, CULPRIT);
        target.run(40);
        target.vote(1, INNOCENT);
        target.run(40);
    });
    refused("of a monitor that is none any more", |target| {
        target.vote(1, CULPRIT);
        target.run(40);
        target.policy.seats[1] = Seat::empty();
        target.executor.set_policy(target.policy.clone());
    });
    refused("of a monitor that may not do it itself", |target| {
        target.policy.seats[1] = Seat::new(key(1), 2, Opcodes::from_bits(0));
        target.executor.set_policy(target.policy.clone());
        target.vote(1, CULPRIT);
        assert_eq!(state(target.run(40)[1]).1, Refusal::NotAllowed);
    });
}

#[test]
fn a_command_that_waits_is_refused_when_its_monitor_loses_the_lease() {
    let mut target = Target::new(2);
    target.command(0, CULPRIT);
    target.run(40);
    target.lease = target.lease.taken_by(1);
    assert_eq!(state(target.run(40)[0]).1, Refusal::NotTheHolder);
    target.vote(2, CULPRIT);
    target.run(WINDOW);
    assert!(target.killed.is_empty(), "{:?}", target.killed);
}

#[test]
fn the_smallest_bound_on_victims_is_everybodys_and_dry_runs_need_nobody() {
    let mut target = Target::new(2);
    let vote = CommandSlot { flags: CommandFlags::VOTE, most_victims: 1, ..kill(CULPRIT) };
    target.write(1, vote);
    target.populate();
    target.command(0, CULPRIT);
    target.run(6000);
    assert_eq!(target.killed, [CULPRIT]);
    let token = target.lease.token().unwrap().word();
    target.write(0, CommandSlot { token, flags: CommandFlags::DRY_RUN, ..kill(CULPRIT) });
    assert_eq!(state(target.run(40)[0]).0, CommandState::Done);
}

/// What a liar does in slot 0, having the lease whenever it likes.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Command {
        user: u32,
        flags: u32,
    },
    Vote {
        user: u32,
        flags: u32,
    },
    Wait(u64),
    /// Not the liar's: an honest monitor votes that the culprit must die.
    HonestVote,
}

fn deeds() -> impl Strategy<Value = Deed> {
    let user = prop_oneof![Just(CULPRIT), Just(INNOCENT)];
    prop_oneof![
        (user.clone(), 0u32..4).prop_map(|(user, flags)| Deed::Command { user, flags }),
        (user, 0u32..4).prop_map(|(user, flags)| Deed::Vote { user, flags: flags | CommandFlags::VOTE }),
        (0..3 * WINDOW).prop_map(Deed::Wait),
        Just(Deed::HonestVote),
    ]
}

proptest! {
    #[test]
    fn a_liar_among_three_kills_nobody_whom_no_honest_monitor_wants_dead(deeds in prop::collection::vec(deeds(), 1..40)) {
        let (mut target, mut votes) = (Target::new(2), 0);
        for deed in deeds {
            target.populate();
            let token = target.lease.token().unwrap().word();
            match deed {
                Deed::Command { user, flags } => target.write(0, CommandSlot { token, flags, most_victims: 1, ..kill(user) }),
                Deed::Vote { user, flags } => target.write(0, CommandSlot { token, flags, ..kill(user) }),
                Deed::Wait(milliseconds) => drop(target.run(milliseconds)),
                Deed::HonestVote => {
                    target.vote(1, CULPRIT);
                    votes += 1;
                }
            }
            target.run(40);
        }
        target.run(WINDOW);
        prop_assert!(!target.killed.contains(&INNOCENT), "{:?}", target.killed);
        prop_assert!(target.killed.len() <= votes, "{:?} by {} votes", target.killed, votes);
    }
}
