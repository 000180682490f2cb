//! The way of a command on a target without a kernel half: what is not its monitor's own is not obeyed, a million times.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_sensor_box::layout::{Acknowledgement, CommandSlot};
use backdoors_sensor_box::{CommandKey, CommandState, LeaseWord, Opcode, Opcodes, Refusal, Seal};
use backdoors_target_agent::executor::{Agreement, Candidate, Executor, Policy};
use backdoors_target_agent::seat::Seat;
use backdoors_tests::mutations::Mutations;
use std::time::Duration;
use zerocopy::FromZeros;

const KEY: [u8; 16] = *b"sixteen bytes of";
const SLOT: usize = 2;
const LEASE: LeaseWord = LeaseWord::from_word(0).taken_by(SLOT as u32);
const SEAL: Seal = Seal { key: CommandKey::from_bytes(KEY), slot: SLOT as u32, generation: 99 };
const VICTIM: u32 = 1001;
const MUTATED: u32 = 1_000_000;
/// After so many wrong commands a good one is written, and must be obeyed.
const ROUND: u32 = 1000;

fn policy() -> Policy {
    let everything: Opcodes = Opcode::ALL.iter().map(|(opcode, _)| *opcode).collect();
    let mut seats = [Seat::empty(); 16];
    seats[SLOT] = Seat::new(KEY, 1, everything);
    Policy {
        init: 1,
        protected: Vec::new(),
        spared: Vec::new(),
        give_up: Duration::from_secs(5),
        seats,
        generation: SEAL.generation,
        agreement: Agreement::default(),
    }
}

/// One round of a target on which the victim never dies.
fn round(executor: &mut Executor, now: u64, given: CommandSlot) -> (usize, Option<Acknowledgement>) {
    let victim = Candidate { pid: 20, parent: 1, user: VICTIM, start: 200, kernel: false };
    let slots = |slot: usize| (slot == SLOT).then_some(given);
    let actions = executor.decide(now, &|| LEASE, &slots, &[victim]);
    for strike in &actions.strikes {
        executor.struck(now, strike, true);
    }
    executor.settle(now);
    (actions.strikes.len(), actions.acknowledgements.last().map(|(_, answer)| *answer))
}

#[test]
fn of_a_million_mutated_commands_none_is_obeyed_and_each_good_one_between_them_is() {
    let (mut executor, _) = Executor::new(policy(), 0, |_| Ok(None), &|_| None);
    let mut mutations = Mutations::new(1);
    let mut past = Vec::new();
    let (mut now, mut told) = (1, [0; 3]);
    for sequence in 1..=u64::from(MUTATED / ROUND) {
        let good = SEAL.put_on(CommandSlot {
            opcode: Opcode::KillUser as u32,
            subject: u64::from(VICTIM),
            most_victims: sequence % 3,
            token: LEASE.token().unwrap().word(),
            sequence,
            ..CommandSlot::new_zeroed()
        });
        for _ in 0..ROUND {
            now += 1;
            let wrong = mutations.wrong(&good, &past, &SEAL);
            let (kills, answer) = round(&mut executor, now, wrong);
            assert_eq!(kills, 0, "{wrong:?} was obeyed, {good:?} would be right");
            match answer {
                // It carries the number of one that was looked at before.
                None => told[0] += 1,
                Some(answer) => {
                    assert_eq!(answer.state, CommandState::Refused as u32, "{wrong:?}: {answer:?}");
                    assert_eq!(answer.accepted, sequence - 1, "{wrong:?}: {answer:?}");
                    match Refusal::from_number(answer.reason) {
                        Some(Refusal::NotAuthentic) => told[1] += 1,
                        Some(Refusal::StaleSequence) => {
                            assert!(past.contains(&wrong), "{wrong:?}: {answer:?}");
                            told[2] += 1;
                        }
                        other => panic!("{wrong:?}: {other:?}"),
                    }
                }
            }
        }
        let (kills, answer) = round(&mut executor, now, good);
        assert_eq!((kills, answer.unwrap().accepted), (1, sequence));
        // It is given up, so that the next one is looked at.
        now += 6_000_000_000;
        round(&mut executor, now, good);
        assert_eq!(executor.state(SLOT), Some(CommandState::GaveUp));
        past.push(good);
    }
    let [silent, not_authentic, stale] = told;
    assert_eq!(silent + not_authentic + stale, MUTATED);
    assert!(not_authentic > MUTATED / 10 * 8 && stale > MUTATED / 100, "{told:?}");
}
