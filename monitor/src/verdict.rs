//! What a monitor says of a target, layer by layer.

pub use backdoors_monitor_api::{Layer, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is said of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The layer.
    pub layer: Layer,
    /// The application's name; `None` for the other layers.
    pub subject: Option<String>,
    /// How it is.
    pub state: State,
    /// Since when it is so, on the monitor's monotonic clock.
    pub since: Duration,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// What speaks for it, one sentence each.
    pub evidence: Vec<String>,
}

/// The worst that is said of a layer: that which failed, else that which is suspect, else that which is healthy; the outermost of several.
pub fn worst<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) -> Option<&'a Verdict> {
    let rank = |verdict: &&Verdict| match verdict.state {
        State::Failed => 0,
        State::Suspect => 1,
        State::Healthy | State::Unknown => 2,
    };
    verdicts.into_iter().filter(|verdict| verdict.state != State::Unknown).min_by_key(rank)
}

/// The worst verdict in a few words, such as `healthy` or `kernel failed`.
#[must_use]
pub fn in_short(worst: Option<&Verdict>) -> String {
    match worst {
        None => State::Unknown.name().to_owned(),
        Some(Verdict { state: state @ (State::Healthy | State::Unknown), .. }) => state.name().to_owned(),
        Some(Verdict { layer: Layer::Application, subject: Some(name), state, .. }) => {
            format!("{name} {state}")
        }
        Some(Verdict { layer, state, .. }) => format!("{layer} {state}"),
    }
}
