//! A target in short.

use crate::verdict::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is published of a monitor's lateness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Standing {
    /// From 0, punctual, to the bound.
    pub score: u32,
    /// What deadlines are multiplied by, at least 1.
    pub multiplier: f64,
    /// Whether the score is at its bound: this monitor accuses nobody.
    pub overloaded: bool,
    /// Share of the recent rounds that were late, from 0 to 1.
    pub late_share: f64,
    /// The longest delay of the recent rounds, fading; nanoseconds.
    pub worst_ns: u64,
    /// Rounds that were late, ever.
    pub late_rounds: u64,
}

/// Whether a target's memory can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It was not read yet.
    Connecting,
    /// The last sample succeeded.
    Reachable,
    /// The last sample failed, but not for long.
    Failing,
    /// Nothing could be read for longer than `lost_after`.
    Lost,
    /// It can be read, and what is there is no sensor box.
    Unreadable,
}

/// One target in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What the verdict says, without the layer.
    #[serde(default)]
    pub state: State,
    /// For how long it has been so, milliseconds.
    #[serde(default)]
    pub since_ms: u64,
    /// The sensor that is nearest its limit.
    #[serde(default)]
    pub nearest: Option<NearestSensor>,
    /// Its live sessions; absent if none are captured.
    #[serde(default)]
    pub sessions: Option<SessionCounts>,
    /// Proposals that wait for approval.
    #[serde(default)]
    pub open_proposals: usize,
    /// The newest entry of the journal about it, since the monitor began.
    #[serde(default)]
    pub last_event: Option<LastEvent>,
}

/// A sensor and how near it is to its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NearestSensor {
    /// Its name.
    pub name: String,
    /// 0 far away, 1 at its limit or beyond.
    pub share: f64,
}

/// Live sessions, as the target's sensors count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCounts {
    /// Open connections to services whose sessions are captured.
    pub open: u64,
    /// Those among them that could not go on elsewhere.
    pub unprotected: u64,
}

/// An entry of the journal in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastEvent {
    /// When, nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// What, such as `verdict`.
    pub kind: String,
    /// A sentence for people.
    pub text: String,
}

impl Reach {
    /// Name for screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reach::Connecting => "connecting",
            Reach::Reachable => "reachable",
            Reach::Failing => "failing",
            Reach::Lost => "lost",
            Reach::Unreadable => "unreadable",
        }
    }
}

impl Standing {
    /// The standing of a monitor that is on time.
    #[must_use]
    pub fn punctual() -> Standing {
        Standing { multiplier: 1.0, ..Standing::default() }
    }
}
