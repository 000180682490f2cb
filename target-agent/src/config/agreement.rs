//! The section `[agreement]`.

use super::may::Commands;
use super::schema;
use crate::executor::Agreement;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Longest window: a vote that is older says little of what its monitor sees.
pub(super) const LONGEST_WINDOW: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    needed: u32,
    #[serde(default = "default_window", deserialize_with = "duration")]
    #[schemars(schema_with = "schema::duration")]
    window: Duration,
    /// Everything by default.
    #[serde(default)]
    #[schemars(schema_with = "schema::commands")]
    commands: Commands,
}

fn default_window() -> Duration {
    Duration::from_secs(2)
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let milliseconds = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => number.trim().parse::<u64>().ok(),
        (None, Some(number)) => {
            number.trim().parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1000))
        }
        (None, None) => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is no duration: write a whole number and ms or s, as in 2s"
        ))
    })
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Agreement, D::Error> {
    let Section { needed, window, commands } = Section::deserialize(deserializer)?;
    Ok(Agreement { needed, window, commands: commands.0 })
}
