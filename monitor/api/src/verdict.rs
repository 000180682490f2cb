//! What a monitor says of a target, layer by layer.

use crate::target::Standing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A layer of a target, from the outside in. What an outer layer hides cannot be judged further in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// The way from this monitor's NIC to the target's.
    Path,
    /// The machine: its NIC, and the owner of its registered memory, answer.
    Host,
    /// Its kernel: timers fire, every processor that has work gets on with it.
    Kernel,
    /// Its user space: what is runnable gets to run.
    UserSpace,
    /// One application, by its own sensors; the agent is one of them.
    Application,
}

impl Layer {
    /// Every layer, from the outside in.
    pub const ALL: [Layer; 5] =
        [Layer::Path, Layer::Host, Layer::Kernel, Layer::UserSpace, Layer::Application];

    /// Name for screens, journals and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Layer::Path => "path",
            Layer::Host => "host",
            Layer::Kernel => "kernel",
            Layer::UserSpace => "user-space",
            Layer::Application => "application",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How a layer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It did what it must within its deadline.
    Healthy,
    /// Something speaks against it, not enough to condemn it; the evidence says what.
    Suspect,
    /// It missed its deadline, and nothing else explains that.
    Failed,
    /// An outer layer hides it, or nothing was read yet.
    #[default]
    Unknown,
}

impl State {
    /// Name for screens, journals and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Suspect => "suspect",
            State::Failed => "failed",
            State::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What is said of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
