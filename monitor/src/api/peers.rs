//! Peers, as the API answers them.

use crate::clock::nanoseconds;
use crate::peers::{PeerReach, Standing};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One peer in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl PeerSummary {
    pub(super) fn of(standing: Standing, now: Duration) -> PeerSummary {
        let Standing { name, address, reach, problem, round_trip, answered, answers, unknown, asks } =
            standing;
        PeerSummary {
            name,
            address,
            reach,
            problem,
            round_trip_ns: round_trip.map(nanoseconds),
            age_ns: answered.map(|answered| nanoseconds(now.saturating_sub(answered))),
            answers,
            unknown,
            asks,
        }
    }
}
