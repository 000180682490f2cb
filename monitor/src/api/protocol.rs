//! The requests and answers.

use crate::lateness::Standing;
use crate::sampler::{Enlisted, Reach};
use crate::verdict::{Layer, State};
use serde::{Deserialize, Serialize};

/// Most bytes of a request.
pub const MOST_REQUEST_BYTES: usize = 16 << 10;
/// Most processes that an answer to `heal` lists.
pub const MOST_MATCHING: usize = 1000;

/// A request: one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Query {
    /// All targets.
    Targets,
    /// All peers.
    Peers,
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
    Reload,
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
        without_fence: bool,
        /// Go on though another monitor has fenced the target.
        after_another: bool,
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
    /// Entries of the journal, one a line.
    Events {
        /// Only of this target.
        target: Option<String>,
        /// The last so many of the past.
        lines: usize,
        /// Then those to come, until the asker hangs up.
        follow: bool,
        /// Only those of [`crate::journal::What::AUDIT`].
        #[serde(default)]
        audit: bool,
    },
}

/// Whom or what a repair is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// An answer: one line, unless entries of the journal were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    /// What was asked for.
    Ok(T),
    /// Why not.
    Error(Failure),
}

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub kind: ErrorKind,
    /// For people, with the remedy.
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request makes no sense.
    BadRequest,
    /// There is no such target.
    UnknownTarget,
    /// The target cannot be reached. Nothing was written.
    Unreachable,
    /// There is no such process. Nothing was written.
    NoSuchProcess,
    /// Another monitor holds the target's lease. Nothing was written.
    StandsBy,
    /// There is no such proposal, or it is over. Nothing was written.
    NotOpen,
    /// The proposal would do by now what must not be done. Nothing was written.
    Unsafe,
    /// The configuration is bad; the old one stays in force.
    BadConfiguration,
    /// The daemon has too much to do. Nothing was written.
    Busy,
    /// Something on the daemon's machine failed.
    Internal,
}

/// The healers of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealersAnswer {
    /// The target; absent for the healers that are built in, whatever target has them.
    pub target: Option<String>,
    /// The healers.
    pub healers: Vec<Enlisted>,
}

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// The targets whose limits, rules, healers and users are about to be exchanged.
    pub targets: Vec<String>,
    /// What changed and is in force after a restart only.
    pub restart: Vec<String>,
}

/// One target in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSummary {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Whether it can be read.
    pub reach: Reach,
    /// Why not.
    pub problem: Option<String>,
    /// Age of the last good reading, nanoseconds.
    pub age_ns: Option<u64>,
    /// How long ago the target's clock was seen to move, nanoseconds.
    pub clock_moved_ns: Option<u64>,
    /// Generation of its regions.
    pub generation: Option<u64>,
    /// What fills its sensors, and who kills.
    pub capabilities: Vec<String>,
    /// This monitor's command slot.
    pub slot: Option<u32>,
    /// Connections that work.
    pub connections: usize,
    /// Longest time between two samples in force, nanoseconds.
    pub period_ns: u64,
    /// Why it is that, for people.
    #[serde(default)]
    pub period_why: String,
    /// Chances that must be missed before silence accuses.
    #[serde(default)]
    pub chances: u32,
    /// Share of readings lost, from 0 to 1.
    #[serde(default)]
    pub loss: f64,
    /// Half of the readings take no longer, nanoseconds.
    #[serde(default)]
    pub round_trip_ns: u64,
    /// Slot of the monitor that holds the target's lease.
    #[serde(default)]
    pub lease_holder: Option<u32>,
    /// Whether that is this monitor.
    #[serde(default)]
    pub holds_lease: bool,
    /// The worst that is said of a layer, such as `healthy` or `kernel failed`.
    #[serde(default)]
    pub verdict: String,
    /// Good readings so far.
    pub samples: u64,
    /// Failed readings so far.
    pub failures: u64,
    /// Sensors that are exceptional.
    pub exceeded: Vec<String>,
    /// The repair under way.
    pub running: Option<String>,
}

/// What is said of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictsAnswer {
    /// The target.
    pub target: String,
    /// The worst of its layers: that which failed, else that which is suspect.
    pub overall: State,
    /// Its layers, from the outside in.
    pub layers: Vec<VerdictRow>,
    /// The monitor's own lateness as to this target.
    pub lateness: Standing,
}

/// What is said of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRow {
    /// The layer.
    pub layer: Layer,
    /// The application, if it is one's.
    pub subject: Option<String>,
    /// How it is.
    pub state: State,
    /// For how long it has been so, milliseconds.
    pub since_ms: u64,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// What speaks for it.
    pub evidence: Vec<String>,
}

/// One application of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationRow {
    /// Name.
    pub name: String,
    /// Process id on the target; 0 if it is not visible there.
    pub pid: u32,
    /// `attached`, `died` or `left`.
    pub state: String,
    /// Its sensors.
    pub sensors: Vec<SensorRow>,
    /// The hooks that it lets monitors call.
    #[serde(default)]
    pub hooks: Vec<HookRow>,
}

/// One hook of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRow {
    /// Name, with the application's before it.
    pub name: String,
    /// Least word that it takes.
    pub least: u64,
    /// Greatest word that it takes.
    pub most: u64,
    /// Calls made since the application attached; nothing if that was being written.
    pub calls: Option<u64>,
    /// The last of them.
    pub last: Option<HookCallRow>,
}

/// The last call of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCallRow {
    /// Its word.
    pub word: u64,
    /// `done`, `failed`, `too-late` or `unanswered`.
    pub result: String,
    /// The application's own reason, if it failed.
    pub code: Option<u32>,
    /// When it was called, nanoseconds of the target's monotonic clock.
    pub called_at_ns: u64,
    /// How long its answer took, nanoseconds, if it was answered.
    pub took_ns: Option<u64>,
}

/// The sensors of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensorsAnswer {
    /// The target.
    pub target: TargetSummary,
    /// CPUs of the target.
    pub cpus: u32,
    /// The target's monotonic clock, nanoseconds.
    pub clock_ns: u64,
    /// Period of its ticks, nanoseconds.
    pub tick_period_ns: u64,
    /// The sensors, in the order of their records.
    pub sensors: Vec<SensorRow>,
    /// Sensors that this version does not understand.
    pub unknown: usize,
    /// Applications with sensors of their own.
    #[serde(default)]
    pub applications: Vec<ApplicationRow>,
}

/// One sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorRow {
    /// Name, with the instance in brackets.
    pub name: String,
    /// Number of its kind.
    pub kind: u32,
    /// CPU or user.
    pub instance: u32,
    /// The user's name, if the sensor is a user's and the configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Class.
    pub class: String,
    /// Unit of the value: `count`, `per-second`, `bytes`, `nanoseconds` or `unknown`.
    pub unit: String,
    /// Value.
    pub value: u64,
    /// Limit in force, of progress sensors in nanoseconds.
    pub limit: Option<u64>,
    /// Whether it is exceptional.
    pub exceeded: bool,
}

/// The processes of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
