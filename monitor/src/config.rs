//! The monitor's configuration, TOML.
//!
//! ```toml
//! name = "monitor1"
//! identity = "/etc/backdoors"                       # made by `backdoors keys new --name monitor1 --dir /etc/backdoors`
//! socket = "/run/backdoors/monitor.sock"
//! journal = "/var/lib/backdoors/journal.jsonl"
//! recorder = "/var/lib/backdoors/recorder"
//! listen = "10.0.0.2:7803"                          # where other monitors ask for a second view
//!
//! [[peer]]                                          # a monitor that looks after some of the same targets
//! name = "monitor2"
//! address = "10.0.0.3:7803"
//! certificate = "/etc/backdoors/monitor2.crt"
//!
//! [[target]]
//! name = "web1"
//! address = "10.0.0.5:7801"                         # where its agent shakes hands
//! certificate = "/etc/backdoors/web1.crt"
//! provider = "verbs"
//! device = "mlx5_0"
//! false_alarm = 1e-6                                # how often, per deadline, silence may accuse a healthy target
//! limits = { "user.processes" = 200, "kernel.timer" = "250ms" }
//! users = { build = 2000 }
//!
//! [[target.healer]]
//! name = "forkbomb"
//! mode = "act"
//! spare = ["build"]
//!
//! [[target.rule]]                                   # nothing else turns a verdict into action
//! layer = "user-space"
//! for = "2s"
//! heal = "forkbomb"
//! ```

mod rule;
mod target;

pub use backdoors_healers::duration::parse as parse_duration;
pub use rule::RuleConfig;
pub use target::{ConfiguredHealer, HealerConfig, LeaseConfig, LimitValue, Mode, ProviderName, TargetConfig};

use crate::peers::{PeerConfig, PeerConfigError};
use backdoors_healers::{LimitError, SettingsError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
    /// Folder of the flight recorder: a file for each target. Nothing is recorded if absent.
    #[serde(default)]
    pub recorder: Option<PathBuf>,
    /// Size of each of its files, bytes. 4 MiB hold some minutes of a hundred sensors at 10 ms.
    #[serde(default = "default_recorder_bytes")]
    pub recorder_bytes: u64,
    /// Where other monitors ask for this one's view; it answers nobody if absent.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Other monitors, which give a second view of targets of the same names.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerConfig>,
    /// The targets.
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetConfig>,
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
    /// The peers cannot serve.
    #[error(transparent)]
    BadPeer(#[from] PeerConfigError),
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
    /// A rule cannot serve.
    #[error("target `{target}`: a rule for {layer}: {problem}")]
    BadRule {
        /// The target.
        target: String,
        /// The rule's layer.
        layer: crate::verdict::Layer,
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
        crate::peers::config::check(&config.name, &mut config.peers, folder)?;
        if let Some(recorder) = &mut config.recorder {
            *recorder = folder.join(&*recorder);
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

fn default_socket() -> PathBuf {
    PathBuf::from(DEFAULT_SOCKET)
}

fn default_recorder_bytes() -> u64 {
    crate::recorder::DEFAULT_BYTES
}

fn default_journal_bytes() -> u64 {
    64 << 20
}

#[cfg(test)]
mod tests;
