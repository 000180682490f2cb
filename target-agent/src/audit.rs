//! `backdoors-agent audit`: this machine's own record of what it was asked to do.

use crate::kernel::{KernelHalf, Misfit, Pins};
use backdoors_sensor_box::{AuditEntry, AuditView, DecodeError, FetchError, fetch_audit};
use std::convert::Infallible;

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

/// The last so many records of the kernel half that is pinned, a line each.
///
/// # Errors
/// See [`AuditError`].
pub fn report(pins: &Pins, last: Option<usize>) -> Result<String, AuditError> {
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
    Ok(show(&view, last))
}

fn show(view: &AuditView, last: Option<usize>) -> String {
    let skipped = view.entries.len().saturating_sub(last.unwrap_or(usize::MAX));
    let shown = &view.entries[skipped..];
    let mut text: String = shown.iter().map(|entry| line(view, entry)).collect();
    text.push_str(&format!("{} of {} records", shown.len(), view.written));
    if view.left_out > 0 {
        text.push_str(&format!("; {} refusals got no record", view.left_out));
    }
    text.push('\n');
    text
}

fn line(view: &AuditView, entry: &AuditEntry) -> String {
    let why = if entry.reason.is_empty() { String::new() } else { format!("  [{}]", entry.reason) };
    let vote = if entry.vote { "votes for " } else { "" };
    let (time, order, outcome) = (view.time_of(entry), entry.order(), entry.outcome());
    format!("{time}  slot {:<2}  {vote}{order}: {outcome}{why}\n", entry.slot)
}
