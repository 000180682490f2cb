//! The audit ring of a target as the API tells it.

use crate::sampler::order_texts;
use backdoors_sensor_box::{AuditEntry, AuditKind, AuditView, Refusal, Subject};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a target was asked to do, by its own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnswer {
    /// The target.
    pub target: String,
    /// Generation of the ring.
    pub generation: u64,
    /// Records ever written; there is room for the newest only.
    pub written: u64,
    /// Refusals that got no record, because their like could wash the ring clean.
    pub left_out: u64,
    /// Records that this version does not understand.
    pub unknown: usize,
    /// The records, oldest first.
    pub records: Vec<AuditRow>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its number.
    pub number: u64,
    /// When, by the target's clock.
    pub time: String,
    /// The same, nanoseconds of the target's monotonic clock.
    pub at_ns: u64,
    /// `judged` or `ended`.
    pub kind: String,
    /// The command slot.
    pub slot: u32,
    /// Names the certificate of the monitor that had it; absent if nobody had.
    pub whose: Option<String>,
    /// The command line that orders the same, or what comes closest to it.
    pub order: String,
    /// The opcode.
    pub opcode: String,
    /// Whom or what it is about.
    pub subject: u64,
    /// Start of the process, or generation of the application, that it names.
    pub start: u64,
    /// Most processes it may signal; 0: no bound.
    pub most_victims: u64,
    /// What the opcode needs besides.
    pub argument: u64,
    /// Match and count only.
    pub dry_run: bool,
    /// It is a vote.
    pub vote: bool,
    /// The command's number.
    pub sequence: u64,
    /// How far it was.
    pub state: String,
    /// Why it was refused or given up.
    pub refusal: Option<String>,
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
    pub accepted_at_ns: u64,
    /// When the first signal was sent.
    pub first_signal_at_ns: u64,
    /// When the last matching process died.
    pub last_death_at_ns: u64,
    /// When it ended.
    pub finished_at_ns: u64,
    /// What became of it, in words.
    pub outcome: String,
    /// Why it was given, as its monitor said.
    pub reason: String,
}

impl AuditAnswer {
    /// The last so many records of a ring.
    #[must_use]
    pub fn of(target: &str, view: &AuditView, last: Option<usize>) -> AuditAnswer {
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
