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
