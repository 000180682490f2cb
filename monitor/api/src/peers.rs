//! The other monitors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a peer can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerReach {
    /// It is called for the first time.
    Calling,
    /// It answered the last question.
    Reachable,
    /// It cannot be asked.
    Unreachable,
}

impl PeerReach {
    /// Name for screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            PeerReach::Calling => "calling",
            PeerReach::Reachable => "reachable",
            PeerReach::Unreachable => "unreachable",
        }
    }
}

/// One peer in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerSummary {
    /// Name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Whether it can be asked.
    pub reach: PeerReach,
    /// Why not.
    pub problem: Option<String>,
    /// Time from the last question to its answer, nanoseconds.
    pub round_trip_ns: Option<u64>,
    /// Age of the last answer, nanoseconds.
    pub age_ns: Option<u64>,
    /// Questions that were answered so far.
    pub answers: u64,
    /// Targets of this monitor that it does not know by that name.
    pub unknown: Vec<String>,
    /// Whether it asks this monitor, too.
    pub asks: bool,
}
