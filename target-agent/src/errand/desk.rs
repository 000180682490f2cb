//! Where errands are left by the kernel half, and their ends by whoever carries them out (`bpf/errands.h`).

use super::{Errand, Undone};
use crate::kernel::settings::{Control, ErrandWords};
use crate::words::Words;
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{Opcode, Refusal, SharedWords};
use std::mem::offset_of;

const ASKED: u64 = 1;
const TAKEN: u64 = 2;
const ENDED: u64 = 3;
const STAGE: u64 = 0xff;

const WAITING: usize = offset_of!(Control, errands) / 8;
const SIZE: usize = size_of::<ErrandWords>() / 8;

/// The errands of all slots.
#[derive(Clone, Copy, Debug)]
pub struct Desk<'m> {
    control: &'m Words,
    errands: &'m Words,
}

impl<'m> Desk<'m> {
    /// The desk in the kernel half's memory.
    #[must_use]
    pub fn new(control: &'m Words, errands: &'m Words) -> Desk<'m> {
        Desk { control, errands }
    }

    /// Whether any errand has not ended.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.control.load(WAITING) != 0
    }

    /// Carries out those that are asked for and `mine`. What was called off meanwhile is not begun.
    pub fn serve(
        &self,
        mine: impl Fn(Opcode) -> bool,
        mut carry_out: impl FnMut(&Errand) -> Result<(), Undone>,
    ) {
        for slot in 0..COMMAND_SLOTS {
            let base = slot * SIZE;
            let word = |offset: usize| self.errands.load(base + offset / 8);
            let asked = self.errands.load(base);
            if asked & STAGE != ASKED {
                continue;
            }
            let opcode =
                u32::try_from(word(offset_of!(ErrandWords, opcode))).ok().and_then(Opcode::from_number);
            let Some(opcode) = opcode.filter(|opcode| mine(*opcode)) else { continue };
            let errand = Errand {
                opcode,
                subject: word(offset_of!(ErrandWords, subject)),
                start: word(offset_of!(ErrandWords, start)),
                argument: word(offset_of!(ErrandWords, argument)),
            };
            let taken = (asked & !STAGE) | TAKEN;
            // Whoever asked has not changed a word since, or this fails.
            if self.errands.compare_exchange(base, asked, taken).is_err() {
                continue;
            }
            let (refusal, failure) = match carry_out(&errand) {
                Ok(()) => (Refusal::None, 0),
                Err(Undone::Refused(refusal)) => (refusal, 0),
                Err(Undone::Failed(failure)) => (Refusal::Failed, failure),
            };
            self.errands.store(base + offset_of!(ErrandWords, failure) / 8, failure);
            let ended = (asked & !STAGE) | u64::from(refusal as u32 as u8) << 8 | ENDED;
            // If nobody waits for the answer any more, there is nothing to tell.
            let _ = self.errands.compare_exchange(base, taken, ended);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
    use super::*;
    use crate::memory::Region;
    use zerocopy::IntoBytes;

    struct Room {
        control: Region,
        errands: Region,
    }

    impl Room {
        fn new() -> Room {
            let region = |bytes| Region::create("test", bytes).unwrap();
            Room {
                control: region(size_of::<Control>()),
                errands: region(COMMAND_SLOTS * size_of::<ErrandWords>()),
            }
        }

        fn ask(&self, slot: usize, sequence: u64, opcode: Opcode, argument: u64) {
            let stage = sequence << 16 | ASKED;
            let opcode = u64::from(opcode as u32);
            let words =
                ErrandWords { stage, opcode, subject: 7, start: 8, argument, ..ErrandWords::default() };
            let memory = self.errands.words.memory();
            memory.write_bytes(slot * size_of::<ErrandWords>(), words.as_bytes()).unwrap();
        }

        fn stage(&self, slot: usize) -> u64 {
            self.errands.words.load(slot * SIZE)
        }

        fn failure(&self, slot: usize) -> u64 {
            self.errands.words.load(slot * SIZE + offset_of!(ErrandWords, failure) / 8)
        }

        fn desk(&self) -> Desk<'_> {
            Desk::new(&self.control.words, &self.errands.words)
        }
    }

    #[test]
    fn an_errand_is_carried_out_once_and_its_end_is_told() {
        let room = Room::new();
        room.ask(3, 41, Opcode::SetPriority, 19);
        let mut done = Vec::new();
        for _ in 0..2 {
            room.desk().serve(
                |_| true,
                |errand| {
                    done.push(*errand);
                    Ok(())
                },
            );
        }
        assert_eq!(done, [Errand { opcode: Opcode::SetPriority, subject: 7, start: 8, argument: 19 }]);
        assert_eq!(room.stage(3), 41 << 16 | ENDED);
    }

    #[test]
    fn a_refusal_and_a_failure_are_told_apart() {
        let room = Room::new();
        room.ask(0, 1, Opcode::FreezeCgroup, 0);
        room.ask(15, 2, Opcode::SetVariable, 0);
        room.desk().serve(
            |_| true,
            |errand| match errand.opcode {
                Opcode::FreezeCgroup => Err(Refusal::NoSuchCgroup.into()),
                _ => Err(rustix::io::Errno::INVAL.into()),
            },
        );
        assert_eq!(room.stage(0), 1 << 16 | u64::from(Refusal::NoSuchCgroup as u32) << 8 | ENDED);
        assert_eq!(room.stage(15), 2 << 16 | u64::from(Refusal::Failed as u32) << 8 | ENDED);
        assert_eq!((room.failure(0), room.failure(15)), (0, 22));
    }

    #[test]
    fn what_is_somebody_elses_or_was_called_off_is_left_alone() {
        let room = Room::new();
        room.ask(0, 1, Opcode::CallHook, 0);
        room.ask(1, 1, Opcode::SetPriority, 0);
        room.errands.words.store(SIZE, 0);
        room.desk().serve(|opcode| opcode != Opcode::CallHook, |errand| panic!("{errand:?}"));
        assert_eq!(room.stage(0), 1 << 16 | ASKED);
    }
}
