//! The monitor's configuration, TOML.
//!
//! ```toml
//! name = "monitor1"
//! identity = "/etc/backdoors"                       # made by `backdoors keys new --name monitor1 --dir /etc/backdoors`
//! socket = "/run/backdoors/monitor.sock"
//! journal = "/var/lib/backdoors/journal.jsonl"
//!
//! [[target]]
//! name = "web1"
//! address = "10.0.0.5:7801"                         # where its agent shakes hands
//! certificate = "/etc/backdoors/web1.crt"
//! provider = "verbs"
//! device = "mlx5_0"
//! limits = { "user.processes" = 200, "kernel.timer" = "250ms" }
//! users = { build = 2000 }
//!
//! [[target.healer]]
//! name = "forkbomb"
//! mode = "act"
//! spare = ["build"]
//! ```

mod duration;

use backdoors_healers::{Healer, LimitError, Limits, SettingsError, Users};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use duration::parse as parse_duration;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/backdoors/monitor.sock";

/// Everything the daemon is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This monitor's name.
    pub name: String,
    /// Folder with `NAME.key` and `NAME.crt`, as `backdoors keys new` makes them.
    pub identity: PathBuf,
    /// The socket for the command line. Who may write to it may kill processes on every target.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    /// The journal, JSON lines.
    pub journal: PathBuf,
    /// Size at which the journal is renamed to `….1`, replacing an older one, and begun anew. Bytes.
    #[serde(default = "default_journal_bytes")]
    pub journal_bytes: u64,
    /// The targets.
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetConfig>,
}

/// One target.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Name for screens and journals.
    pub name: String,
    /// Host and port where its agent shakes hands.
    pub address: String,
    /// The target's certificate, PEM.
    pub certificate: PathBuf,
    /// How its memory is reached.
    #[serde(default)]
    pub provider: ProviderName,
    /// The local NIC for `verbs`; the first one if absent.
    #[serde(default)]
    pub device: Option<String>,
    /// Time between two samples. Shorter finds trouble sooner and costs both NICs and this machine's CPU more.
    #[serde(default = "default_period", with = "duration")]
    pub period: Duration,
    /// Longest wait for one remote access. Shorter tells a lost path sooner; too short mistakes load for loss.
    #[serde(default = "default_deadline", with = "duration")]
    pub deadline: Duration,
    /// Connections made in advance. When one fails the next takes over, without help of the target's CPU.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Silence after which the target is told lost.
    #[serde(default = "default_lost_after", with = "duration")]
    pub lost_after: Duration,
    /// Longest wait for the end of a repair.
    #[serde(default = "default_patience", with = "duration")]
    pub patience: Duration,
    /// Limits in place of those the target announces: `sensor = limit` or `"sensor/instance" = limit`.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitValue>,
    /// Names of the target's users.
    #[serde(default)]
    pub users: Users,
    /// Its healers.
    #[serde(default, rename = "healer")]
    pub healers: Vec<HealerConfig>,
}

/// How a target's memory is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderName {
    /// The software NIC.
    #[default]
    Emulated,
    /// An RDMA NIC, hardware or soft-RoCE.
    Verbs,
}

/// A limit as written: a number, or a duration such as `"500ms"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LimitValue {
    /// In the sensor's unit.
    Number(u64),
    /// A duration.
    Duration(String),
}

/// A healer for a target. Keys not listed here are the healer's own settings.
#[derive(Clone, Debug, Deserialize)]
pub struct HealerConfig {
    /// Name in the registry.
    pub name: String,
    /// What it may do.
    #[serde(default)]
    pub mode: Mode,
    /// Pause after it found a culprit, counted from the end of the repair.
    #[serde(default = "default_cooldown", with = "duration")]
    pub cooldown: Duration,
    /// Its own settings.
    #[serde(flatten)]
    pub settings: toml::Table,
}

/// A healer and what the configuration says about it.
pub type ConfiguredHealer = (HealerConfig, Box<dyn Healer>);

/// What a healer may do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Repair.
    Act,
    /// Propose the repair in the journal, for a human to order.
    #[default]
    Propose,
    /// Note the diagnosis in the journal.
    Observe,
}

/// Why a configuration cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not the TOML that is expected.
    #[error("{path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A name cannot serve.
    #[error(
        "target `{0}`: a name is 1 to 64 letters, digits, dots, dashes or underscores, and no two targets share one"
    )]
    BadName(String),
    /// A number cannot serve.
    #[error("target `{target}`: `{key}` must be {must}")]
    OutOfRange {
        /// The target.
        target: String,
        /// The key.
        key: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// A limit cannot serve.
    #[error("target `{target}`: {source}")]
    BadLimit {
        /// The target.
        target: String,
        /// Why.
        source: LimitError,
    },
    /// A limit is no number and no duration.
    #[error("target `{target}`: limit `{sensor}`: {problem}")]
    BadLimitValue {
        /// The target.
        target: String,
        /// The sensor.
        sensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A healer cannot be made.
    #[error("target `{target}`: {source}")]
    BadHealer {
        /// The target.
        target: String,
        /// Why.
        source: SettingsError,
    },
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Config::parse(&text, path)
    }

    /// Checks a configuration; `path` is for messages, and relative paths in the text start at its folder.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let mut config: Config = toml::from_str(text)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for file in [&mut config.identity, &mut config.socket, &mut config.journal] {
            *file = folder.join(&*file);
        }
        let mut names = BTreeSet::new();
        for target in &mut config.targets {
            target.certificate = folder.join(&target.certificate);
            target.check()?;
            if !names.insert(target.name.clone()) {
                return Err(ConfigError::BadName(target.name.clone()));
            }
        }
        Ok(config)
    }
}

impl TargetConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(ConfigError::BadName(self.name.clone()));
        }
        let out_of_range = |key, must| Err(ConfigError::OutOfRange { target: self.name.clone(), key, must });
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.period) {
            return out_of_range("period", "between 1ms and 1h");
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&self.deadline) {
            return out_of_range("deadline", "between 1ms and 60s");
        }
        if !(1..=16).contains(&self.connections) {
            return out_of_range("connections", "between 1 and 16");
        }
        self.limits()?;
        self.make_healers().map(drop)
    }

    /// The limits that override the target's.
    ///
    /// # Errors
    /// [`ConfigError::BadLimit`] or [`ConfigError::BadLimitValue`].
    pub fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        for (sensor, value) in &self.limits {
            let number =
                match value {
                    LimitValue::Number(number) => *number,
                    LimitValue::Duration(text) => parse_duration(text)
                        .map(crate::clock::nanoseconds)
                        .map_err(|problem| ConfigError::BadLimitValue {
                            target: self.name.clone(),
                            sensor: sensor.clone(),
                            problem,
                        })?,
                };
            limits
                .set(sensor, number)
                .map_err(|source| ConfigError::BadLimit { target: self.name.clone(), source })?;
        }
        Ok(limits)
    }

    /// Makes the target's healers.
    ///
    /// # Errors
    /// [`ConfigError::BadHealer`].
    pub fn make_healers(&self) -> Result<Vec<ConfiguredHealer>, ConfigError> {
        self.healers
            .iter()
            .map(|config| {
                backdoors_healers::build(&config.name, config.settings.clone(), &self.users)
                    .map(|healer| (config.clone(), healer))
                    .map_err(|source| ConfigError::BadHealer { target: self.name.clone(), source })
            })
            .collect()
    }

    /// The name of a user of the target, if the configuration has it.
    #[must_use]
    pub fn user_name(&self, id: u32) -> Option<&str> {
        self.users.iter().find(|(_, other)| **other == id).map(|(name, _)| name.as_str())
    }
}

fn default_socket() -> PathBuf {
    PathBuf::from(DEFAULT_SOCKET)
}

fn default_journal_bytes() -> u64 {
    64 << 20
}

fn default_period() -> Duration {
    Duration::from_millis(100)
}

fn default_deadline() -> Duration {
    Duration::from_millis(500)
}

fn default_connections() -> usize {
    3
}

fn default_lost_after() -> Duration {
    Duration::from_secs(1)
}

fn default_patience() -> Duration {
    Duration::from_secs(10)
}

fn default_cooldown() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests;
