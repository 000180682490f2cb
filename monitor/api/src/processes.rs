//! The processes of a target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The processes of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessesAnswer {
    /// The target.
    pub target: String,
    /// The target's monotonic clock when it was last sampled, nanoseconds.
    pub clock_ns: u64,
    /// Processes that found no room in the table, ever.
    pub lost: u64,
    /// Entries that were being written while they were read, and are missing.
    pub torn: usize,
    /// The processes.
    pub processes: Vec<ProcessRow>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessRow {
    /// Process id.
    pub pid: u32,
    /// Parent.
    pub parent: u32,
    /// User id.
    pub user: u32,
    /// The user's name, if the configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Depth in the tree.
    pub depth: u32,
    /// Whether it is a kernel thread.
    pub kernel: bool,
    /// Whether it belongs to Backdoors.
    pub protected: bool,
    /// Start on the target's monotonic clock, nanoseconds.
    pub start_ns: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Memory that was moved to swap space.
    #[serde(default)]
    pub swap_bytes: u64,
    /// Id of its control group; 0 if not known.
    #[serde(default)]
    pub cgroup: u64,
    /// The last component of that group's path.
    #[serde(default)]
    pub cgroup_name: String,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Command name.
    pub command: String,
}
