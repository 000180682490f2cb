//! `backdoors-agent audit`: this machine's own record of what it was asked to do.

use crate::kernel::{KernelHalf, Misfit, Pins};
use backdoors_sensor_box::{AuditEntry, AuditView, DecodeError, FetchError, fetch_audit};
use serde::Serialize;
use std::convert::Infallible;
use std::fmt;

/// Why there is nothing to show. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// There is no kernel half whose ring could be read.
    #[error(
        "{0}: see that `pins` is that of the agent that runs here; one without a kernel half keeps the ring in its own memory, \
         where `backdoors audit` on a monitor reads it"
    )]
    KernelHalf(#[from] Misfit),
    /// The ring cannot be read.
    #[error(transparent)]
    Ring(#[from] DecodeError),
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Records ever written; there is room for the newest only.
    pub written: u64,
    /// Refusals that got no record, because their like could wash the ring clean.
    pub left_out: u64,
    /// The records, oldest first.
    pub records: Vec<AuditRecord>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditRecord {
    /// When, by this machine's clock.
    pub time: String,
    /// The command slot.
    pub slot: u32,
    /// It was a vote.
    pub vote: bool,
    /// The command line that orders the same, or what comes closest to it.
    pub order: String,
    /// What became of it.
    pub outcome: String,
    /// Why it was wanted.
    pub reason: String,
}

/// The last so many records of the kernel half that is pinned.
///
/// # Errors
/// See [`AuditError`].
pub fn report(pins: &Pins, last: Option<usize>) -> Result<AuditReport, AuditError> {
    let half = KernelHalf::attach(pins)?;
    let ring = half.memory.audit.words.memory();
    let read = |offset: u64, into: &mut [u8]| -> Result<(), Infallible> {
        // What lies outside stays zero, which is no ring.
        let _ = ring.read_bytes(usize::try_from(offset).unwrap_or(usize::MAX), into);
        Ok(())
    };
    let view = fetch_audit(half.memory.audit.len() as u64, read).map_err(|error| match error {
        FetchError::Decode(error) => error,
        FetchError::Access(never) => match never {},
    })?;
    let skipped = view.entries.len().saturating_sub(last.unwrap_or(usize::MAX));
    let records = view.entries[skipped..].iter().map(|entry| record(&view, entry)).collect();
    Ok(AuditReport { written: view.written, left_out: view.left_out, records })
}

fn record(view: &AuditView, entry: &AuditEntry) -> AuditRecord {
    AuditRecord {
        time: view.time_of(entry).to_string(),
        slot: entry.slot,
        vote: entry.vote,
        order: entry.order().to_string(),
        outcome: entry.outcome().to_string(),
        reason: entry.reason.to_string(),
    }
}

impl fmt::Display for AuditReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for AuditRecord { time, slot, vote, order, outcome, reason } in &self.records {
            let why = if reason.is_empty() { String::new() } else { format!("  [{reason}]") };
            let vote = if *vote { "votes for " } else { "" };
            writeln!(formatter, "{time}  slot {slot:<2}  {vote}{order}: {outcome}{why}")?;
        }
        write!(formatter, "{} of {} records", self.records.len(), self.written)?;
        if self.left_out > 0 {
            write!(formatter, "; {} refusals got no record", self.left_out)?;
        }
        writeln!(formatter)
    }
}
