//! What is entered in the audit ring; `bpf/audit.h` enters the same.

use super::Policy;
use super::run::Run;
use backdoors_sensor_box::audit::layout::AuditRecord;
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{AuditKind, Refusal};

/// Refusals that use up no number can be had without end by who can write a slot and has no key for it: the second of a
/// slot is entered so long after the first at the earliest, each further one twice as long after the one before.
const FIRST_PAUSE: u64 = 1_000_000_000;
const MOST_DOUBLINGS: u32 = 12;

/// What was not written to the ring yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    records: Vec<AuditRecord>,
    slots: [Unnumbered; COMMAND_SLOTS],
    left_out: u64,
}

/// Refusals of a slot that used up no number.
#[derive(Clone, Copy, Debug, Default)]
struct Unnumbered {
    /// Those entered in a row.
    entered: u32,
    /// When the last one was.
    at: u64,
    /// Those not entered since anything of the slot was.
    left_out: u32,
}

impl Ledger {
    /// Enters what was made of a slot's command, unless its like has no number to use up and was entered a short while ago.
    pub(super) fn judged(&mut self, slot: usize, run: &Run, policy: &Policy, now: u64) {
        let seen = &mut self.slots[slot];
        let numbered = [Refusal::NotAuthentic, Refusal::StaleSequence]
            .iter()
            .all(|refusal| *refusal as u32 != run.answer.reason);
        if numbered {
            seen.entered = 0;
        } else {
            let pause = FIRST_PAUSE << seen.entered.saturating_sub(1);
            if seen.entered > 0 && now.saturating_sub(seen.at) < pause {
                seen.left_out = seen.left_out.saturating_add(1);
                self.left_out += 1;
                return;
            }
            seen.at = now;
            seen.entered = (seen.entered + 1).min(MOST_DOUBLINGS + 1);
        }
        self.enter(AuditKind::Judged, slot, run, policy, now);
    }

    /// Enters how a slot's command ended.
    pub(super) fn ended(&mut self, slot: usize, run: &Run, policy: &Policy, now: u64) {
        self.enter(AuditKind::Ended, slot, run, policy, now);
    }

    fn enter(&mut self, kind: AuditKind, slot: usize, run: &Run, policy: &Policy, now: u64) {
        let seat = &policy.seats[slot];
        self.records.push(AuditRecord {
            whose: seat.key().map_or(0, |_| seat.whose()),
            left_out: std::mem::take(&mut self.slots[slot].left_out),
            ..AuditRecord::of(now, kind, slot as u32, &run.command, &run.answer)
        });
    }

    /// What to write now, and how many refusals were left out so far.
    pub(super) fn take(&mut self) -> (Vec<AuditRecord>, u64) {
        (std::mem::take(&mut self.records), self.left_out)
    }
}
