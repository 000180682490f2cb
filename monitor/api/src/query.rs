//! What can be asked.

use crate::FenceDeed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request. [`crate::operations`] says how each travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Query {
    /// All targets.
    Targets {},
    /// All peers.
    Peers {},
    /// The sensors of a target, as last sampled.
    Sensors {
        /// The target.
        target: String,
    },
    /// What is said of the layers of one target, or of all.
    Verdicts {
        /// The target.
        target: Option<String>,
    },
    /// The healers of one target, or of all, and those that are built in.
    Healers {
        /// The target.
        target: Option<String>,
    },
    /// Read the configuration again.
    Reload {},
    /// The processes of a target, read now.
    Processes {
        /// The target.
        target: String,
    },
    /// What a target offers to be set or called.
    Offers {
        /// The target.
        target: String,
    },
    /// The audit ring of a target, read now.
    Audit {
        /// The target.
        target: String,
        /// The last so many records.
        last: Option<usize>,
    },
    /// Order a repair, and wait for its end.
    Heal {
        /// The target.
        target: String,
        /// Whom or what it is about.
        subject: HealSubject,
        /// What to do.
        #[serde(default)]
        deed: HealDeed,
        /// How long those who are to be killed have to end by themselves after SIGTERM, nanoseconds; 0: it is not sent.
        #[serde(default)]
        grace_ns: u64,
        /// Count only.
        dry_run: bool,
        /// Most processes to strike; 0: no bound.
        #[serde(default)]
        most_victims: u64,
    },
    /// The live sessions of a target, and what would become of them now.
    Sessions {
        /// The target.
        target: String,
    },
    /// Have the live sessions of a target go on here, and wait for the end.
    Recover {
        /// The target.
        target: String,
        /// Only tell what would become of them.
        dry_run: bool,
        /// Go on though the target cannot be fenced.
        #[serde(default)]
        without_fence: bool,
        /// Go on though another monitor has fenced the target.
        #[serde(default)]
        after_another: bool,
    },
    /// Have a target send nothing from its service addresses any more, or again.
    Fence {
        /// The target.
        target: String,
        /// What to do.
        #[serde(default)]
        deed: FenceDeed,
    },
    /// What healers propose for one target, or for all.
    Proposals {
        /// The target.
        target: Option<String>,
    },
    /// Carry a proposal out, and wait for the end.
    Approve {
        /// The target.
        target: String,
        /// The proposal.
        id: u64,
        /// Count only.
        dry_run: bool,
    },
    /// Close a proposal.
    Reject {
        /// The target.
        target: String,
        /// The proposal.
        id: u64,
    },
    /// Entries of the journal.
    Events {
        /// Only of this target.
        target: Option<String>,
        /// The last so many.
        #[serde(default = "default_lines")]
        lines: usize,
        /// Only what was found, wanted, allowed and done to targets, by whom, and what came of it.
        #[serde(default)]
        audit: bool,
    },
    /// Entries of the journal, and those to come, until the asker hangs up.
    Follow {
        /// Only of this target.
        target: Option<String>,
        /// The last so many of the past.
        #[serde(default)]
        lines: usize,
        /// Only what was found, wanted, allowed and done to targets, by whom, and what came of it.
        #[serde(default)]
        audit: bool,
    },
}

fn default_lines() -> usize {
    1000
}

/// Whom or what a repair is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealSubject {
    /// All processes of a user: its number, or its name if the target's configuration has it.
    User(String),
    /// One process.
    Process(u32),
    /// A process and its descendants.
    Tree(u32),
    /// The processes of a control group: its id, or the last component of its path.
    Cgroup(String),
    /// A variable that the target offers.
    Variable(String),
    /// A hook of an application.
    Hook {
        /// The application.
        application: String,
        /// Its hook.
        hook: String,
    },
}

/// What a repair does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealDeed {
    /// Kill processes, or a tree, a user or a control group of them.
    #[default]
    Kill,
    /// Send them this signal, by its name without `SIG`.
    Signal(String),
    /// Stop a control group.
    Freeze,
    /// Have it go on.
    Thaw,
    /// Give a process this nice value.
    Nice(u64),
    /// Have forks of a user fail for so many nanoseconds.
    RefuseForks(u64),
    /// Hand this to a variable or a hook.
    Hand(u64),
}
