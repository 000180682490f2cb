//! Healers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a healer may do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Repair.
    Act,
    /// Propose the repair, for a human to approve.
    #[default]
    Propose,
    /// Note the diagnosis in the journal.
    Observe,
}

/// The healers of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealersAnswer {
    /// The target; absent for the healers that are built in, whatever target has them.
    pub target: Option<String>,
    /// The healers.
    pub healers: Vec<Enlisted>,
}

/// A healer: what it watches, what it may do, and its settings in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enlisted {
    /// Its name.
    pub name: String,
    /// It is a program of its own.
    pub external: bool,
    /// What it is against; of an external healer its command.
    pub about: String,
    /// What it may do by itself; absent where no target has it.
    pub mode: Option<Mode>,
    /// Its pause after it found a culprit; absent where no target has it.
    pub cooldown_ns: Option<u64>,
    /// How long those whom it would kill have to end by themselves.
    #[serde(default)]
    pub grace_ns: u64,
    /// The sensors whose events call it.
    pub watches: Vec<String>,
    /// The applications whose failure calls it: `*` for any.
    pub applications: Option<String>,
    /// How often it looks by itself.
    pub looks_every_ns: Option<u64>,
    /// The commands that its repairs may consist of.
    pub may: Vec<String>,
    /// Its own settings in force.
    pub settings: BTreeMap<String, Value>,
}
