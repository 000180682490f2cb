//! Commands that are obeyed only if several monitors want them; `bpf/agreement.h` decides the same.

use super::Policy;
use backdoors_sensor_box::layout::{COMMAND_SLOTS, CommandFlags, CommandSlot};
use backdoors_sensor_box::{Opcode, Opcodes};
use std::time::Duration;

/// Which commands several monitors must want, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// So many different monitors, the one that gives the command among them. 1: nobody else need want it.
    pub needed: u32,
    /// Longest time between the first that wants it and the last, by the target's clock.
    pub window: Duration,
    /// The commands.
    pub commands: Opcodes,
}

impl Default for Agreement {
    fn default() -> Agreement {
        Agreement { needed: 1, window: Duration::from_secs(2), commands: Opcodes::from_bits(0) }
    }
}

impl Agreement {
    /// Whether any command waits for others to want it, too.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.needed > 1 && self.commands.bits() != 0
    }

    pub(super) fn is_needed_for(&self, command: &CommandSlot) -> bool {
        let listed = Opcode::from_number(command.opcode).is_some_and(|opcode| self.commands.has(opcode));
        self.needed > 1 && listed && command.flags & CommandFlags::DRY_RUN == 0
    }

    pub(super) fn window(&self) -> u64 {
        u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
struct Vote {
    command: CommandSlot,
    whose: u64,
    at: u64,
}

/// The last vote of each slot; so no monitor has two.
#[derive(Debug, Default)]
pub(super) struct Votes([Option<Vote>; COMMAND_SLOTS]);

impl Votes {
    pub(super) fn cast(&mut self, slot: usize, command: &CommandSlot, policy: &Policy, now: u64) {
        self.0[slot] = Some(Vote { command: *command, whose: policy.seats[slot].whose(), at: now });
    }

    /// Slots of other monitors that want what the command of `holder` says: those that still may do that, and whose vote is
    /// not too old.
    fn holding(&self, holder: usize, command: &CommandSlot, policy: &Policy, now: u64) -> Vec<usize> {
        let holds = |slot: usize, vote: &Vote| {
            let (seat, given) = (&policy.seats[slot], &vote.command);
            let what =
                |command: &CommandSlot| (command.opcode, command.subject, command.start, command.argument);
            let may = Opcode::from_number(given.opcode).is_some_and(|opcode| seat.may().has(opcode));
            what(given) == what(command)
                && now.saturating_sub(vote.at) <= policy.agreement.window()
                && seat.whose() == vote.whose
                && may
        };
        let others = (0..COMMAND_SLOTS).filter(|slot| *slot != holder);
        others.filter(|slot| self.0[*slot].as_ref().is_some_and(|vote| holds(*slot, vote))).collect()
    }

    /// How many monitors want what the command of `holder` says, that one among them.
    pub(super) fn agreeing(&self, holder: usize, command: &CommandSlot, policy: &Policy, now: u64) -> u32 {
        1 + self.holding(holder, command, policy, now).len() as u32
    }

    /// Uses the votes up, as each is good for one command, and returns the smallest bound on victims, 0 if nobody named one.
    pub(super) fn use_up(&mut self, holder: usize, command: &CommandSlot, policy: &Policy, now: u64) -> u64 {
        let holding = self.holding(holder, command, policy, now);
        let used = holding.into_iter().filter_map(|slot| self.0[slot].take());
        let bounds = used.map(|vote| vote.command.most_victims).chain([command.most_victims]);
        bounds.filter(|most| *most != 0).min().unwrap_or(0)
    }
}
