//! The audit ring as read: what the target was asked to do, by whom and why, and what became of it.

pub mod layout;
mod words;

use crate::command::{CommandState, Refusal};
use crate::decode::{DecodeError, check_beginning, check_sizes, printable};
use crate::fetch::FetchError;
use crate::layout::CommandFlags;
use crate::numbered::numbered;
use crate::opcode::Opcode;
use core::mem::size_of;
use layout::{AUDIT_MAGIC, AuditHeader, AuditRecord, MAX_AUDIT_RECORDS};
use zerocopy::FromBytes;

const WHAT: &str = "audit ring";

numbered! {
    /// What a record is about.
    AuditKind {
        /// A command was accepted, refused, counted as a vote, or waits for others to want it.
        Judged = 1 "judged",
        /// A command that was accepted before has ended.
        Ended = 2 "ended",
    }
}

/// One record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, counted from 1.
    pub number: u64,
    /// When, nanoseconds of the target's monotonic clock.
    pub at: u64,
    /// What it is about.
    pub kind: AuditKind,
    /// The command slot.
    pub slot: u32,
    /// Names the certificate of the monitor that had the slot; 0: nobody had.
    pub whose: u64,
    /// The opcode, maybe one that nobody knows: [`AuditEntry::opcode_name`].
    pub opcode: u32,
    /// Match and count only.
    pub dry_run: bool,
    /// It is a vote.
    pub vote: bool,
    /// Whom or what it is about.
    pub subject: u64,
    /// Start of the process, or generation of the application, that it names.
    pub start: u64,
    /// Most processes it may signal; 0: no bound.
    pub most_victims: u64,
    /// What the opcode needs besides.
    pub argument: u64,
    /// The command's number.
    pub sequence: u64,
    /// What became of it.
    pub state: CommandState,
    /// Why it was refused, or given up.
    pub refusal: Refusal,
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
    /// Times on the target's monotonic clock, nanoseconds; 0: not yet.
    pub accepted_at: u64,
    /// First signal sent.
    pub first_signal_at: u64,
    /// Last matching process gone.
    pub last_death_at: u64,
    /// Ended.
    pub finished_at: u64,
    /// Why it was given, as its monitor said, fit for a terminal.
    pub reason: String,
}

impl AuditEntry {
    /// The name of the opcode, or its number.
    #[must_use]
    pub fn opcode_name(&self) -> String {
        Opcode::from_number(self.opcode)
            .map_or_else(|| format!("opcode {}", self.opcode), |opcode| opcode.to_string())
    }

    fn of(number: u64, record: &AuditRecord) -> Option<AuditEntry> {
        Some(AuditEntry {
            number,
            at: record.at,
            kind: AuditKind::from_number(record.kind)?,
            slot: record.slot,
            whose: record.whose,
            opcode: record.opcode,
            dry_run: record.flags & CommandFlags::DRY_RUN != 0,
            vote: record.flags & CommandFlags::VOTE != 0,
            subject: record.subject,
            start: record.start,
            most_victims: record.most_victims,
            argument: record.argument,
            sequence: record.sequence,
            state: CommandState::from_number(record.state)?,
            refusal: Refusal::from_number(record.refusal)?,
            matched: record.matched,
            signalled: record.signalled,
            remaining: record.remaining,
            left_out: record.left_out,
            failure: record.failure,
            accepted_at: record.accepted_at,
            first_signal_at: record.first_signal_at,
            last_death_at: record.last_death_at,
            finished_at: record.finished_at,
            reason: printable(&record.reason),
        })
    }
}

/// An audit ring as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditView {
    /// Generation of the ring.
    pub generation: u64,
    /// Records that were ever written; those before the first of `entries` were overwritten.
    pub written: u64,
    /// What to add to a time to get nanoseconds since 1970, if it is known.
    pub wall_offset: Option<u64>,
    /// Refusals that got no record, ever.
    pub left_out: u64,
    /// The records, oldest first.
    pub entries: Vec<AuditEntry>,
    /// Records whose kind, state or refusal is unknown to this version.
    pub unknown: usize,
}

/// Reads an audit ring through `read`, which fills a buffer from an offset of a region of `region` bytes. Records that were
/// written meanwhile are left to the next fetch; of a full ring the oldest one is, which the next one may be overwriting.
///
/// # Errors
/// [`FetchError::Access`] if `read` fails, [`FetchError::Decode`] if what it read is no audit ring.
pub fn fetch_audit<E>(
    region: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<AuditView, FetchError<E>> {
    let mut head = [0; size_of::<AuditHeader>()];
    read(0, &mut head).map_err(FetchError::Access)?;
    let header = header(region, &head)?;
    let used = header.written.min(u64::from(header.capacity)) as usize;
    let mut records = vec![0; used * header.record_bytes as usize];
    read(u64::from(header.header_bytes), &mut records).map_err(FetchError::Access)?;
    // After the records: who began to overwrite one while they were read has finished one before.
    read(0, &mut head).map_err(FetchError::Access)?;
    Ok(view(&header, &records, &self::header(region, &head)?)?)
}

fn header(region: u64, bytes: &[u8]) -> Result<AuditHeader, DecodeError> {
    let need = size_of::<AuditHeader>();
    let (header, _) = AuditHeader::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
        what: WHAT,
        have: bytes.len(),
        need,
    })?;
    check_beginning(WHAT, (header.magic, AUDIT_MAGIC), header.version)?;
    let header_size = ("header size", header.header_bytes, need);
    let record_size = ("record size", header.record_bytes, size_of::<AuditRecord>());
    let [header_bytes, record_bytes] = check_sizes(WHAT, [header_size, record_size])?;
    if !(1..=MAX_AUDIT_RECORDS).contains(&(header.capacity as usize)) {
        return Err(DecodeError::Layout { what: WHAT, why: "number of records" });
    }
    let need = header_bytes + header.capacity as usize * record_bytes;
    if need as u64 > region {
        let have = usize::try_from(region).unwrap_or(usize::MAX);
        return Err(DecodeError::Truncated { what: WHAT, have, need });
    }
    Ok(header)
}

/// What the records of a ring say whose header was this one before they were read, and that one afterwards.
fn view(before: &AuditHeader, records: &[u8], after: &AuditHeader) -> Result<AuditView, DecodeError> {
    let what = |header: &AuditHeader| (header.generation, header.capacity, header.record_bytes);
    if what(before) != what(after) || after.written < before.written {
        return Err(DecodeError::Torn { what: WHAT });
    }
    let mut view = AuditView {
        generation: before.generation,
        written: before.written,
        wall_offset: (after.wall_offset != 0).then_some(after.wall_offset),
        left_out: after.left_out,
        ..AuditView::default()
    };
    let capacity = u64::from(before.capacity);
    let overwritten = after.written.saturating_add(1).saturating_sub(capacity);
    let chunks = (0..).zip(records.chunks_exact(before.record_bytes as usize));
    for (index, chunk) in chunks {
        let Ok((record, _)) = AuditRecord::read_from_prefix(chunk) else { continue };
        let number = record.guard / 2;
        let whole = record.guard.is_multiple_of(2) && number > overwritten && number <= before.written;
        if !whole || (number - 1) % capacity != index {
            continue;
        }
        match AuditEntry::of(number, &record) {
            Some(entry) => view.entries.push(entry),
            None => view.unknown += 1,
        }
    }
    view.entries.sort_by_key(|entry| entry.number);
    Ok(view)
}
