//! What came of an order.

use crate::processes::ProcessRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an order ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealAnswer {
    /// The target.
    pub target: String,
    /// Whether nothing was to be done.
    pub dry_run: bool,
    /// How it ended: the first command that did not end as asked, or else the last.
    #[serde(flatten)]
    pub telling: CommandAnswer,
    /// Commands that were asked for, notices included, and kills left out that nobody was left for.
    #[serde(default)]
    pub asked: usize,
    /// Those that were begun, in order. The first that was not carried out is the last.
    #[serde(default)]
    pub commands: Vec<CommandAnswer>,
    /// How the time ended that victims had to end by themselves; absent if they had none.
    #[serde(default)]
    pub grace: Option<GraceAnswer>,
    /// Why the rest was withheld though the target would have obeyed.
    #[serde(default)]
    pub withheld: Option<String>,
    /// From the beginning to the end of all, as the monitor saw it, nanoseconds.
    pub took_ns: u64,
    /// The target's monotonic clock when it was last sampled, nanoseconds.
    pub clock_ns: u64,
    /// Processes that matched when the order came.
    pub matching: usize,
    /// The first of them.
    pub processes: Vec<ProcessRow>,
}

/// How the time ended that victims had to end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraceAnswer {
    /// How long it was, nanoseconds.
    pub took_ns: u64,
    /// Processes that were left to be killed; absent if nobody knows.
    pub left: Option<usize>,
}

/// How one command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandAnswer {
    /// Name of the opcode.
    pub opcode: String,
    /// The id of a process, a user or a control group, or a number of the target's, by opcode.
    pub subject: u64,
    /// Signal, nice value, nanoseconds or word, by opcode.
    #[serde(default)]
    pub argument: u64,
    /// What kind of command it is.
    #[serde(default)]
    pub deed: Deed,
    /// How it ended.
    pub outcome: HealOutcome,
    /// Why it did not end as asked.
    pub reason: Option<String>,
    /// Counts and times, if the target obeyed.
    pub end: Option<CommandEnd>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealOutcome {
    /// As asked.
    Done,
    /// Another monitor holds the lease: it counts as a vote for the same command of that one.
    Voted,
    /// The target refused.
    Refused,
    /// The target gave up: some of those to be killed are alive, or it was not carried out.
    GaveUp,
    /// It did not end in time, and may still be carried out.
    TimedOut,
    /// The target was not reached, and nothing was written.
    Unreachable,
    /// Nobody can tell.
    Unknown,
}

/// Kinds of commands, as far as their ends read differently.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// It kills.
    #[default]
    Kill,
    /// It sends a signal.
    Signal,
    /// Something else.
    Other,
}

/// How a command that was obeyed ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub struct CommandEnd {
    /// Its number.
    pub sequence: u64,
    /// What kind of command it was.
    #[serde(default)]
    pub deed: Deed,
    /// Whether it only counted.
    pub dry_run: bool,
    /// Processes that matched.
    pub matched: u32,
    /// Signals sent.
    pub signalled: u32,
    /// Processes that match and are alive.
    pub remaining: u32,
    /// Sweeps over the processes.
    pub sweeps: u32,
    /// When the target accepted it, on the target's monotonic clock, nanoseconds.
    pub accepted_at_ns: u64,
    /// From there to the first signal, on the target's clock; absent if there was none.
    pub first_signal_after_ns: Option<u64>,
    /// From acceptance to the last death, on the target's clock; absent if nobody died.
    pub last_death_after_ns: Option<u64>,
    /// When the last culprit died, on the target's monotonic clock, nanoseconds; absent if nobody died.
    pub last_death_at_ns: Option<u64>,
    /// From decision to the end as the monitor saw it, nanoseconds.
    pub took_ns: u64,
}
