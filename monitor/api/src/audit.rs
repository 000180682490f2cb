//! The audit ring of a target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a target was asked to do, by its own record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
