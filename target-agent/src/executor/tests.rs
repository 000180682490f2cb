use super::*;
use backdoors_sensor_box::layout::CommandFlags;
use backdoors_sensor_box::{AuditKind, CommandKey, Opcodes, Refusal};
use proptest::prelude::*;
use zerocopy::FromZeros;

const SECOND: u64 = 1_000_000_000;

fn policy() -> Policy {
    Policy {
        init: 1,
        protected: vec![ProtectedProcess { pid: 5, start: 0 }],
        spared: vec![2000],
        give_up: Duration::from_secs(5),
        seats: std::array::from_fn(|slot| Seat::new(key(slot), 0, everything())),
        generation: GENERATION,
        agreement: Agreement::default(),
    }
}

const GENERATION: u64 = 77;

fn key(slot: usize) -> [u8; 16] {
    [slot as u8 + 1; 16]
}

fn everything() -> Opcodes {
    Opcode::ALL.iter().map(|(opcode, _)| *opcode).collect()
}

/// The command as the monitor of a slot writes it.
fn sealed(slot: usize, given: CommandSlot) -> CommandSlot {
    let key = CommandKey::from_bytes(key(slot));
    Seal { key, slot: slot as u32, generation: GENERATION }.put_on(given)
}

fn process(pid: u32, parent: u32, user: u32) -> Candidate {
    Candidate { pid, parent, user, start: u64::from(pid) * 10, kernel: false }
}

/// Init, the agent, a spared user's process, a kernel thread, and a tree of mallory's.
fn machine() -> Vec<Candidate> {
    let mut all = vec![process(1, 0, 0), process(5, 1, 3000), process(6, 1, 2000)];
    all.push(Candidate { kernel: true, ..process(7, 0, 3000) });
    all.extend([process(20, 1, 1001), process(21, 20, 1001), process(22, 21, 1001), process(30, 1, 1002)]);
    all
}

/// The lease, held by slot 0.
const LEASE: LeaseWord = LeaseWord::from_word(0).taken_by(0);

/// A command by right of the lease.
fn command(sequence: u64, opcode: u32, subject: u64) -> CommandSlot {
    let token = LEASE.token().unwrap().word();
    CommandSlot { opcode, subject, sequence, token, ..CommandSlot::new_zeroed() }
}

struct Target {
    executor: Executor,
    processes: Vec<Candidate>,
    killed: Vec<u32>,
    lease: LeaseWord,
    now: u64,
}

impl Target {
    fn new() -> Target {
        let none = |_: usize| Ok(None);
        let (executor, interrupted) = Executor::new(policy(), 0, none, &|_| None);
        assert!(interrupted.is_empty());
        Target { executor, processes: machine(), killed: Vec::new(), lease: LEASE, now: SECOND }
    }

    /// One round with this command in slot 0; who is signalled dies. Returns the slot's last answer.
    fn round(&mut self, given: CommandSlot) -> Acknowledgement {
        self.round_as_written(sealed(0, given))
    }

    /// The same with these very bytes in the slot.
    fn round_as_written(&mut self, given: CommandSlot) -> Acknowledgement {
        let (lease, slots) = (self.lease, move |slot: usize| (slot == 0).then_some(given));
        let actions = self.executor.decide(self.now, &|| lease, &slots, &self.processes);
        let mut answers = actions.acknowledgements;
        for strike in &actions.strikes {
            self.killed.push(strike.pid);
            self.processes.retain(|process| process.pid != strike.pid);
            self.executor.struck(self.now, strike, true);
        }
        answers.extend(self.executor.settle(self.now));
        self.now += 5_000_000;
        answers.last().map_or_else(run::no_answer, |(_, answer)| *answer)
    }

    fn carry_out(&mut self, given: CommandSlot) -> Acknowledgement {
        let mut answer = self.round(given);
        while answer.state == CommandState::Running as u32 {
            answer = self.round(given);
        }
        self.killed.sort_unstable();
        answer
    }
}

#[test]
fn all_processes_of_a_user_are_killed_and_nobody_else() {
    let mut target = Target::new();
    let answer = target.carry_out(command(1, Opcode::KillUser as u32, 1001));
    assert_eq!(target.killed, [20, 21, 22]);
    assert_eq!((answer.state, answer.matched, answer.signalled, answer.remaining), (2, 3, 3, 0));
    assert!(answer.last_death_at > answer.accepted_at);
}

#[test]
fn a_tree_is_found_whole_before_it_falls_apart() {
    let mut target = Target::new();
    target.carry_out(command(1, Opcode::KillTree as u32, 21));
    assert_eq!(target.killed, [21, 22]);
}

#[test]
fn one_process_is_killed_if_it_is_the_one_meant() {
    let mut target = Target::new();
    let other = CommandSlot { start: 7, ..command(1, Opcode::KillProcess as u32, 30) };
    assert_eq!(target.carry_out(other).reason, Refusal::OtherProcess as u32);
    target.carry_out(CommandSlot { start: 300, ..command(2, Opcode::KillProcess as u32, 30) });
    assert_eq!(target.killed, [30]);
}

#[test]
fn what_must_not_be_obeyed_is_refused_with_its_reason() {
    let mut target = Target::new();
    let refused = [
        (99, 0, Refusal::UnknownOpcode),
        (Opcode::KillProcess as u32, 1, Refusal::InitProcess),
        (Opcode::KillProcess as u32, 7, Refusal::KernelThread),
        (Opcode::KillTree as u32, 5, Refusal::Protected),
        (Opcode::KillUser as u32, 0, Refusal::SparedUser),
        (Opcode::KillUser as u32, 2000, Refusal::SparedUser),
        (Opcode::KillProcess as u32, 6, Refusal::SparedUser),
        (Opcode::KillProcess as u32, 77, Refusal::NoSuchProcess),
    ];
    for (index, (opcode, subject, reason)) in refused.into_iter().enumerate() {
        let answer = target.carry_out(command(index as u64 + 1, opcode, subject));
        assert_eq!((answer.state, answer.reason), (CommandState::Refused as u32, reason as u32));
        assert_eq!(answer.accepted, index as u64 + 1);
    }
    let stale = target.carry_out(command(3, Opcode::KillUser as u32, 1001));
    assert_eq!((stale.reason, stale.accepted), (Refusal::StaleSequence as u32, 8));
    assert!(target.killed.is_empty());
    assert_eq!(target.carry_out(command(9, Opcode::Nothing as u32, 0)).state, CommandState::Done as u32);
}

#[test]
fn only_the_holder_of_the_lease_is_obeyed_by_the_token_of_its_term() {
    let mut target = Target::new();
    let given = |sequence, token| CommandSlot { token, ..command(sequence, Opcode::KillUser as u32, 1001) };
    let token = |lease: LeaseWord| lease.token().unwrap().word();
    let (held, elsewhere) = (LEASE.renewed(), LEASE.taken_by(1));
    target.lease = held;
    let refused = [
        // None, that of another slot's monitor, that of an earlier term, and one that counts renewals.
        (held, 0),
        (elsewhere, token(elsewhere)),
        (elsewhere, token(held)),
        (elsewhere.taken_by(0), token(held)),
        (held, held.word()),
        (held.released(), token(held)),
        (held.released(), 0),
        (held.released(), held.released().word()),
        (LeaseWord::default(), 0),
    ];
    for (index, (lease, token)) in refused.into_iter().enumerate() {
        target.lease = lease;
        let answer = target.carry_out(given(index as u64 + 1, token));
        let expected = (CommandState::Refused as u32, Refusal::NotTheHolder as u32, index as u64 + 1);
        assert_eq!((answer.state, answer.reason, answer.accepted), expected, "{lease:?} {token:x}");
    }
    assert!(target.killed.is_empty());
    target.lease = held.renewed();
    let answer = target.carry_out(given(refused.len() as u64 + 1, token(held)));
    assert_eq!((answer.state, target.killed.len()), (CommandState::Done as u32, 3));
}

#[test]
fn two_monitors_are_not_obeyed_in_one_round_however_the_lease_moves_meanwhile() {
    let earlier = |_: usize| Ok(None);
    let (mut executor, _) = Executor::new(policy(), 0, earlier, &|_| None);
    let by = |lease: LeaseWord| {
        let token = lease.token().unwrap().word();
        CommandSlot { token, ..command(1, Opcode::KillUser as u32, 1001) }
    };
    let (first, second) = (LEASE, LEASE.taken_by(1));
    let slots = |slot: usize| match slot {
        0 => Some(sealed(0, by(first))),
        1 => Some(sealed(1, by(second))),
        _ => None,
    };
    // It is taken over after the first command was looked at.
    let looks = std::cell::Cell::new(0);
    let lease = || {
        looks.set(looks.get() + 1);
        if looks.get() == 1 { first } else { second }
    };
    let actions = executor.decide(SECOND, &lease, &slots, &machine());
    assert_eq!(executor.state(0), Some(CommandState::GaveUp));
    assert_eq!(executor.state(1), Some(CommandState::Running));
    assert_eq!((actions.strikes.len(), actions.token), (3, second.token()));
    assert!(actions.strikes.iter().all(|strike| strike.commands == 1 << 1));
}

#[test]
fn a_command_under_way_goes_on_through_renewals_and_ends_when_another_monitor_takes_the_lease() {
    let mut target = Target::new();
    let given = CommandSlot { most_victims: 3, ..command(1, Opcode::KillUser as u32, 1001) };
    target.round(given);
    assert_eq!(target.killed.len(), 3);
    // One more that was born meanwhile keeps it from ending.
    target.lease = LEASE.renewed();
    target.processes.push(process(40, 1, 1001));
    assert_eq!(target.round(given).state, CommandState::Running as u32);
    target.lease = LEASE.taken_by(1);
    let answer = target.round(given);
    let expected = (CommandState::GaveUp as u32, Refusal::NotTheHolder as u32, 3, 1);
    assert_eq!((answer.state, answer.reason, answer.signalled, answer.remaining), expected);
    assert_eq!(answer.finished_at, target.now - 5_000_000);
    // It does not come back with the lease.
    target.lease = LEASE.taken_by(1).taken_by(0);
    target.round(given);
    assert_eq!((target.killed.len(), target.executor.hunting()), (3, false));
}

#[test]
fn a_command_is_not_given_up_with_nobody_alive_because_the_machine_stood_still() {
    let mut target = Target::new();
    let given = command(1, Opcode::KillUser as u32, 1001);
    target.round(given);
    assert_eq!(target.killed.len(), 3);
    target.now += 10 * SECOND;
    let answer = target.carry_out(given);
    assert_eq!((answer.state, answer.remaining), (CommandState::Done as u32, 0));
}

#[test]
fn a_dry_run_counts_and_kills_nobody() {
    let mut target = Target::new();
    let dry = CommandSlot { flags: CommandFlags::DRY_RUN, ..command(1, Opcode::KillUser as u32, 1001) };
    let answer = target.carry_out(dry);
    assert_eq!((answer.matched, answer.signalled, target.killed.len()), (3, 0, 0));
}

#[test]
fn a_bound_on_victims_holds_and_the_command_is_given_up() {
    let mut target = Target::new();
    let answer =
        target.carry_out(CommandSlot { most_victims: 2, ..command(1, Opcode::KillUser as u32, 1001) });
    assert_eq!((answer.state, target.killed.len(), answer.remaining), (CommandState::GaveUp as u32, 2, 1));
}

#[test]
fn a_restart_repeats_nothing_and_goes_on_with_the_next_sequence() {
    let earlier = Acknowledgement { command: 4, accepted: 4, state: 2, ..run::no_answer() };
    let (mut executor, _) = Executor::new(policy(), 0, |_| Ok(Some(earlier)), &|_| None);
    let again = executor.decide(
        1,
        &|| LEASE,
        &|slot| Some(sealed(slot, command(4, Opcode::KillUser as u32, 1001))),
        &machine(),
    );
    assert!(again.strikes.is_empty() && again.acknowledgements.is_empty());
    let next = executor.decide(
        2,
        &|| LEASE,
        &|slot| Some(sealed(slot, command(5, Opcode::KillUser as u32, 1001))),
        &machine(),
    );
    assert_eq!(next.strikes.len(), 3);
}

proptest! {
    #[test]
    fn whatever_is_commanded_the_untouchable_live_and_nobody_is_struck_twice(
        given in proptest::collection::vec((0u32..6, 0u64..40, 0u64..12, 0u32..2), 1..40),
    ) {
        let mut target = Target::new();
        for (opcode, subject, sequence, flags) in given {
            target.round(CommandSlot { flags, ..command(sequence, opcode, subject * 100 % 3001) });
            target.round(CommandSlot { flags, ..command(sequence, opcode, subject) });
        }
        let mut killed = target.killed.clone();
        killed.sort_unstable();
        killed.dedup();
        prop_assert_eq!(killed.len(), target.killed.len());
        prop_assert!(killed.iter().all(|pid| ![1, 5, 6, 7].contains(pid)));
    }
}

#[test]
fn what_was_made_of_a_command_and_its_end_are_entered_with_its_reason() {
    let mut target = Target::new();
    let given = CommandSlot { reason: [b'r'; 184], ..command(1, Opcode::KillUser as u32, 1001) };
    let answer = target.carry_out(given);
    let (records, left_out) = target.executor.take_records();
    let told: Vec<_> = records.iter().map(|record| (record.kind, record.state, record.matched)).collect();
    let expected = [(AuditKind::Judged, CommandState::Running, 0), (AuditKind::Ended, CommandState::Done, 3)];
    assert_eq!(told, expected.map(|(kind, state, matched)| (kind as u32, state as u32, matched)));
    assert!(
        records
            .iter()
            .all(|record| (record.subject, record.sequence, record.reason) == (1001, 1, [b'r'; 184]))
    );
    assert_eq!((records[1].at, records[1].signalled, left_out), (answer.finished_at, 3, 0));
    target.lease = LeaseWord::from_word(0);
    target.round(command(2, Opcode::KillUser as u32, 1002));
    let refusals: Vec<u32> = target.executor.take_records().0.iter().map(|record| record.refusal).collect();
    assert_eq!(refusals, [Refusal::NotTheHolder as u32]);
}

#[test]
fn a_flood_of_refusals_that_use_up_no_number_leaves_few_records_which_count_the_others() {
    let mut target = Target::new();
    let mut records = Vec::new();
    let mut given = 0;
    let end = target.now + 60 * SECOND;
    while target.now < end {
        given += 1;
        let forged = command(given, Opcode::KillUser as u32, 1001);
        target.round_as_written(CommandSlot { mac: [given, 0], ..forged });
        // What was right once, and comes again.
        target.round(command(2 + given % 2, Opcode::KillUser as u32, 1001));
        records.extend(target.executor.take_records().0);
    }
    // At 0, 1, 3, 7, 15 and 31 seconds.
    assert_eq!(records.len(), 6, "{given}");
    target.round(command(1, Opcode::Nothing as u32, 0));
    let (last, left_out) = target.executor.take_records();
    records.extend(last);
    let counted: u64 = records.iter().map(|record| 1 + u64::from(record.left_out)).sum();
    assert_eq!((counted, left_out), (2 * given + 1, counted - 7));
}
