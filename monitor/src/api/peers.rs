//! Peers, as the API answers them.

use crate::clock::nanoseconds;
use crate::peers::Standing;
use backdoors_monitor_api::PeerSummary;
use std::time::Duration;

pub(super) fn summary(standing: Standing, now: Duration) -> PeerSummary {
    let Standing { name, address, reach, problem, round_trip, answered, answers, unknown, asks } = standing;
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
