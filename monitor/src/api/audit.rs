//! The audit ring of a target as the API tells it.

use crate::sampler::order_texts;
use backdoors_monitor_api::{AuditAnswer, AuditRow};
use backdoors_sensor_box::{AuditEntry, AuditKind, AuditView, Refusal, Subject};
use std::time::Duration;

/// The last so many records of a ring.
pub(super) fn answer(target: &str, view: &AuditView, last: Option<usize>) -> AuditAnswer {
    let skipped = view.entries.len().saturating_sub(last.unwrap_or(usize::MAX));
    AuditAnswer {
        target: target.to_owned(),
        generation: view.generation,
        written: view.written,
        left_out: view.left_out,
        unknown: view.unknown,
        records: view.entries[skipped..].iter().map(|entry| row(target, view, entry)).collect(),
    }
}

fn row(target: &str, view: &AuditView, entry: &AuditEntry) -> AuditRow {
    AuditRow {
        number: entry.number,
        time: view.time_of(entry),
        at_ns: entry.at,
        kind: entry.kind.to_string(),
        slot: entry.slot,
        whose: (entry.whose != 0).then(|| format!("{:016x}", entry.whose)),
        order: order(target, entry),
        opcode: entry.opcode_name(),
        subject: entry.subject,
        start: entry.start,
        most_victims: entry.most_victims,
        argument: entry.argument,
        dry_run: entry.dry_run,
        vote: entry.vote,
        sequence: entry.sequence,
        state: entry.state.to_string(),
        refusal: (entry.refusal != Refusal::None).then(|| entry.refusal.to_string()),
        matched: entry.matched,
        signalled: entry.signalled,
        remaining: entry.remaining,
        left_out: entry.left_out,
        failure: entry.failure,
        accepted_at_ns: entry.accepted_at,
        first_signal_at_ns: entry.first_signal_at,
        last_death_at_ns: entry.last_death_at,
        finished_at_ns: entry.finished_at,
        outcome: outcome(entry),
        reason: entry.reason.clone(),
    }
}

/// The command line of an order. What does nothing was only told.
fn order(target: &str, entry: &AuditEntry) -> String {
    let command = entry.command().filter(|command| command.opcode.subject() != Subject::Nothing);
    command.map_or_else(|| entry.order(), |command| order_texts(target, &[command], Duration::ZERO).join(" "))
}

fn outcome(entry: &AuditEntry) -> String {
    let is_told =
        entry.opcode_name() == "nothing" && entry.kind == AuditKind::Judged && entry.refusal == Refusal::None;
    if is_told && !entry.reason.is_empty() { "told".to_owned() } else { entry.outcome() }
}
