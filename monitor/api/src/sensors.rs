//! The sensors of a target.

use crate::target::TargetSummary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sensors of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// One application of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
