//! The bytes of the audit ring. Little endian, fixed width, as in [`crate::layout`].
//!
//! One writer: the kernel half's timer, or the user half where there is none. Record `n`, counted from 1, lies at index
//! `(n - 1) % capacity`. Its guard is `2 n + 1` while it is being written and `2 n` when it is whole; only then
//! [`AuditHeader::written`] becomes `n`. So a reader who looks at `written` before and after knows which records no
//! writer has touched meanwhile, in whatever order its bytes were read.

use crate::layout::{Acknowledgement, CommandSlot, REASON_BYTES};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// First word of the audit ring.
pub const AUDIT_MAGIC: u64 = u64::from_le_bytes(*b"BDAUDITS");
/// Records a ring has. A power of two: a running number taken modulo it never leaves a gap when it overflows.
pub const AUDIT_RECORDS: usize = 256;
/// Most records a ring may announce; a reader refuses more.
pub const MAX_AUDIT_RECORDS: usize = 4096;

/// Head of the audit ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AuditHeader {
    /// [`AUDIT_MAGIC`].
    pub magic: u64,
    /// [`crate::layout::VERSION`].
    pub version: u32,
    /// Size of this header in bytes; records start there.
    pub header_bytes: u32,
    /// As in the sensor box.
    pub generation: u64,
    /// Records there is room for.
    pub capacity: u32,
    /// Size of a record in bytes. A newer target may have longer ones.
    pub record_bytes: u32,
    /// Records that were ever written; the number of the newest.
    pub written: u64,
    /// What to add to a time of the target's monotonic clock to get nanoseconds since 1970, as the user half saw it last; 0:
    /// not known.
    pub wall_offset: u64,
    /// Refusals that got no record, because their like could wash the ring clean.
    pub left_out: u64,
    /// Zero.
    pub reserved: [u64; 9],
}

/// A command that was judged, or that ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AuditRecord {
    /// Number of the record, twice; one more while it is being written; 0: never written.
    pub guard: u64,
    /// When, nanoseconds of the target's monotonic clock.
    pub at: u64,
    /// One of [`crate::AuditKind`].
    pub kind: u32,
    /// The command slot it came through.
    pub slot: u32,
    /// Names the certificate of the monitor that had the slot then; 0: nobody had.
    pub whose: u64,
    /// As in [`CommandSlot`], and so the words up to `sequence`. Of a command that is not authentic they are what it claims.
    pub opcode: u32,
    /// Bits of [`crate::layout::CommandFlags`].
    pub flags: u32,
    /// Whom or what it is about.
    pub subject: u64,
    /// Start of the process, or generation of the application, that it names.
    pub start: u64,
    /// Most processes it may signal; 0: no bound.
    pub most_victims: u64,
    /// What the opcode needs besides.
    pub argument: u64,
    /// Its number.
    pub sequence: u64,
    /// One of [`crate::CommandState`]; and so on as in [`Acknowledgement`].
    pub state: u32,
    /// One of [`crate::Refusal`].
    pub refusal: u32,
    /// Processes that it matched.
    pub matched: u32,
    /// Signals sent.
    pub signalled: u32,
    /// Matching processes still alive.
    pub remaining: u32,
    /// Refusals of this slot that got no record since its last one.
    pub left_out: u32,
    /// What the system or the application said that refused it.
    pub failure: u64,
    /// When it was accepted or refused.
    pub accepted_at: u64,
    /// When the first signal was sent.
    pub first_signal_at: u64,
    /// When the last matching process died.
    pub last_death_at: u64,
    /// When it ended.
    pub finished_at: u64,
    /// Why it was given, as its monitor said: UTF-8, padded with zeros.
    pub reason: [u8; REASON_BYTES],
    /// Zero.
    pub reserved: [u64; 7],
}

/// Bytes of a ring with room for so many records.
#[must_use]
pub const fn audit_bytes(records: usize) -> usize {
    size_of::<AuditHeader>() + records * size_of::<AuditRecord>()
}

impl AuditRecord {
    /// What became of a command at `at`; the writer numbers it.
    #[must_use]
    pub fn of(
        at: u64,
        kind: crate::AuditKind,
        slot: u32,
        command: &CommandSlot,
        answer: &Acknowledgement,
    ) -> AuditRecord {
        AuditRecord {
            at,
            kind: kind as u32,
            slot,
            opcode: command.opcode,
            flags: command.flags,
            subject: command.subject,
            start: command.start,
            most_victims: command.most_victims,
            argument: command.argument,
            sequence: command.sequence,
            state: answer.state,
            refusal: answer.reason,
            matched: answer.matched,
            signalled: answer.signalled,
            remaining: answer.remaining,
            failure: answer.failure,
            accepted_at: answer.accepted_at,
            first_signal_at: answer.first_signal_at,
            last_death_at: answer.last_death_at,
            finished_at: answer.finished_at,
            reason: command.reason,
            ..AuditRecord::new_zeroed()
        }
    }
}

const _: () = {
    assert!(size_of::<AuditHeader>() == 128);
    assert!(offset_of!(AuditHeader, written) == 32);
    assert!(offset_of!(AuditHeader, wall_offset) == 40);
    assert!(size_of::<AuditRecord>() == 384);
    assert!(offset_of!(AuditRecord, opcode) == 32);
    assert!(offset_of!(AuditRecord, state) == 80);
    assert!(offset_of!(AuditRecord, reason) == 144);
    assert!(AUDIT_RECORDS.is_power_of_two() && AUDIT_RECORDS <= MAX_AUDIT_RECORDS);
};
