//! Every interleaving of monitors that take the lease and write commands with a kernel half that looks at both: it
//! never carries out the commands of two monitors in one sweep, nor one of an earlier term after one of a later.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::{COMMAND_SLOTS, CommandSlot};
use backdoors_sensor_box::writer::CommandSlots;
use backdoors_sensor_box::{
    Command, CommandKey, LeaseView, LeaseWord, LeaseWords, Opcode, Seal, SharedWords, Token,
};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::mem::offset_of;

const SLOT_WORDS: usize = size_of::<CommandSlot>() / 8;
const TOKEN: usize = offset_of!(CommandSlot, token) / 8;
const SEQUENCE: usize = offset_of!(CommandSlot, sequence) / 8;
/// Slots that the model's kernel half looks at.
const SLOTS: usize = 3;

/// Shared memory in which every load and store is a step of the model.
struct ModelWords(Vec<AtomicU64>);

impl ModelWords {
    fn zeroed(words: usize) -> ModelWords {
        ModelWords((0..words).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SharedWords for ModelWords {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn load(&self, index: usize) -> u64 {
        self.0[index].load(Ordering::Acquire)
    }
    fn store(&self, index: usize, value: u64) {
        self.0[index].store(value, Ordering::Release);
    }
    fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.0[index].compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
    }
}

/// What monitors write and the kernel half reads.
struct Target {
    lease: ModelWords,
    commands: ModelWords,
}

impl Target {
    /// A target whose lease is held by slot 0.
    fn new() -> (Arc<Target>, LeaseWord) {
        let held = LeaseWord::default().taken_by(0);
        let target = Target {
            lease: ModelWords::zeroed(LeaseView::BYTES / 8),
            commands: ModelWords::zeroed(COMMAND_SLOTS * SLOT_WORDS),
        };
        target.lease.store(0, held.word());
        (Arc::new(target), held)
    }

    fn swap(&self, expected: LeaseWord, new: LeaseWord) -> bool {
        self.lease.compare_exchange(0, expected.word(), new.word()).is_ok()
    }

    /// Writes a command as a NIC does: the words that say what, the sequence last. Of the former only the token tells
    /// anything here.
    fn command(&self, slot: usize, sequence: u64, token: Token) {
        let command = Command::new(Opcode::KillUser, 1);
        // What loom takes turns with is who is allowed; whose a command is, nothing there can change.
        let seal = Seal { key: CommandKey::from_bytes([0; 16]), slot: slot as u32, generation: 1 };
        let encoded = command.encode(sequence, token, &seal, "");
        let word = |index: usize| u64::from_le_bytes(encoded.body[8 * index..][..8].try_into().unwrap());
        for index in [0, TOKEN] {
            self.commands.store(slot * SLOT_WORDS + index, word(index));
        }
        self.commands.store(slot * SLOT_WORDS + SEQUENCE, sequence);
    }
}

/// The order of things in `obey` of `bpf/strike.h`.
#[derive(Default)]
struct KernelHalf {
    looked: [u64; SLOTS],
    running: [Option<u64>; SLOTS],
    refused: [u32; SLOTS],
    /// Terms of the commands that sweeps carried out.
    carried_out: Vec<u32>,
}

impl KernelHalf {
    fn tick(&mut self, target: &Target) {
        let lease = LeaseWords::new(&target.lease).unwrap();
        let slots = CommandSlots::new(&target.commands).unwrap();
        for slot in 0..SLOTS {
            if slots.sequence(slot) == self.looked[slot] {
                continue;
            }
            let Some(given) = slots.get(slot) else { continue };
            self.looked[slot] = given.sequence;
            if lease.word().allows(slot, given.token) {
                self.running[slot] = Some(given.token);
            } else {
                self.refused[slot] += 1;
            }
        }
        let word = lease.word();
        for (slot, running) in self.running.iter_mut().enumerate() {
            *running = running.filter(|token| word.allows(slot, *token));
        }
        let mut sweep = self.running.iter().flatten();
        if let Some(token) = sweep.next() {
            assert_eq!(sweep.next(), None, "the commands of two monitors are carried out at once");
            let term = LeaseWord::from_word(*token).term();
            assert!(self.carried_out.last().is_none_or(|last| *last <= term), "an old term came back");
            self.carried_out.push(term);
        }
    }
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn a_paused_holder_that_wakes_up_and_writes_is_never_obeyed_beside_or_after_the_new_one() {
    explore(|| {
        let (target, held) = Target::new();
        let mut kernel_half = KernelHalf::default();
        // It has a command under way when it is paused.
        target.command(0, 1, held.token().unwrap());
        kernel_half.tick(&target);
        assert_eq!(kernel_half.carried_out, [1]);
        let paused = thread::spawn({
            let target = Arc::clone(&target);
            move || target.command(0, 2, held.token().unwrap())
        });
        let successor = thread::spawn({
            let target = Arc::clone(&target);
            move || {
                let taken = held.taken_by(1);
                assert!(target.swap(held, taken));
                target.command(1, 1, taken.token().unwrap());
            }
        });
        kernel_half.tick(&target);
        kernel_half.tick(&target);
        paused.join().unwrap();
        successor.join().unwrap();
        kernel_half.tick(&target);
        // The one that holds the lease is not refused for another's sake.
        assert_eq!(kernel_half.refused[1], 0);
        assert_eq!((kernel_half.running[0], kernel_half.carried_out.last()), (None, Some(&2)));
    });
}

#[test]
fn of_a_holder_that_renews_and_two_that_take_over_one_wins_and_only_that_one_is_obeyed() {
    explore(|| {
        let (target, held) = Target::new();
        let mut kernel_half = KernelHalf::default();
        let contend = |slot: u32, new: LeaseWord| {
            let target = Arc::clone(&target);
            thread::spawn(move || {
                let won = target.swap(held, new);
                if won {
                    target.command(slot as usize, 1, new.token().unwrap());
                }
                won
            })
        };
        let contenders =
            [contend(0, held.renewed()), contend(1, held.taken_by(1)), contend(2, held.taken_by(2))];
        kernel_half.tick(&target);
        let won = contenders.map(|contender| contender.join().unwrap());
        kernel_half.tick(&target);
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        assert_eq!(kernel_half.running.map(|token| token.is_some()), won);
        assert_eq!(kernel_half.refused, [0; SLOTS]);
    });
}

#[test]
fn a_command_that_was_on_its_way_when_its_lease_was_released_is_not_carried_out_once_another_took_it() {
    explore(|| {
        let (target, held) = Target::new();
        let mut kernel_half = KernelHalf::default();
        let holder = thread::spawn({
            let target = Arc::clone(&target);
            move || {
                assert!(target.swap(held, held.released()));
                // Its NIC was slow: this was posted before.
                target.command(0, 1, held.token().unwrap());
            }
        });
        let successor = thread::spawn({
            let target = Arc::clone(&target);
            move || {
                let free = LeaseWords::new(&target.lease).unwrap().word();
                let taken = free.taken_by(1);
                if free.holder().is_none() && target.swap(free, taken) {
                    target.command(1, 1, taken.token().unwrap());
                }
            }
        });
        kernel_half.tick(&target);
        kernel_half.tick(&target);
        holder.join().unwrap();
        successor.join().unwrap();
        assert!(!kernel_half.carried_out.contains(&1), "a lease that was given up was obeyed");
        assert_eq!(kernel_half.refused[1], 0);
    });
}
