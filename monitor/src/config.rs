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
//! proposal_lifetime = "10m"
//!
//! [target.budget]                                   # of all healers together
//! repairs_per_minute = 6
//! victims_per_minute = 2000
//! victim_cooldown = "60s"
//!
//! [target.spare]                                    # whom no healer strikes
//! users = ["build"]
//! commands = ["postgres"]
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

mod api;
mod check;
mod problem;
mod read;
mod rule;
mod safety;
mod schema;
mod service;
mod target;

pub use api::{ApiClientConfig, ApiConfig, ApiConfigError};
pub use backdoors_healers::duration::parse as parse_duration;
pub use problem::{BadFile, Problem};
pub use rule::RuleConfig;
pub use safety::{BudgetConfig, SpareConfig};
pub use schema::schema;
pub use service::{ServiceAddress, ServiceConfig};
pub use target::{
    ConfiguredHealer, HealerConfig, LONGEST_GRACE, LeaseConfig, LimitValue, Mode, ProviderName, TargetConfig,
};

use crate::peers::{PeerConfig, PeerConfigError};
use backdoors_healers::{LimitError, SettingsError};
use read::Reading;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/backdoors/monitor.sock";

/// Everything the daemon is told.
#[derive(Debug, Deserialize, JsonSchema)]
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
    /// How it is asked from other machines; not at all if absent.
    #[serde(default)]
    pub api: Option<ApiConfig>,
    /// Other monitors, which give a second view of targets of the same names.
    #[serde(default, rename = "peer")]
    pub peers: Vec<PeerConfig>,
    /// The targets.
    #[serde(default, rename = "target")]
    pub targets: Vec<TargetConfig>,
    /// As it was written, to see what changed when it is read again.
    #[serde(skip)]
    pub written: toml::Table,
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
    /// Something in it is wrong. One of the other errors may be behind each problem.
    #[error(transparent)]
    Bad(#[from] BadFile),
    /// The peers cannot serve.
    #[error(transparent)]
    BadPeer(#[from] PeerConfigError),
    /// Clients of other machines cannot serve.
    #[error(transparent)]
    BadClient(#[from] ApiConfigError),
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
    /// A service cannot be recovered.
    #[error("service `{service}` of target `{target}`: {problem}")]
    BadService {
        /// The target.
        target: String,
        /// The service.
        service: String,
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
    /// The spare list cannot serve.
    #[error("target `{target}`: {problem}")]
    BadSpare {
        /// The target.
        target: String,
        /// What is wrong, and what would be right.
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
    /// A program cannot be run.
    #[error("target `{target}`: `{program}` {problem}")]
    NoProgram {
        /// The target.
        target: String,
        /// The program.
        program: String,
        /// What is wrong.
        problem: String,
    },
}

impl Config {
    /// Reads and checks a configuration, and looks whether the programs that it names are there.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Config::checked(&text, path, check::is_executable)
    }

    /// Checks a configuration; `path` is for messages, and relative paths in the text start at its folder. Nothing else is
    /// looked at.
    ///
    /// # Errors
    /// [`ConfigError::Bad`].
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        Config::checked(text, path, |_| Ok(()))
    }

    fn checked(
        text: &str,
        path: &Path,
        can_run: impl Fn(&Path) -> Result<(), String>,
    ) -> Result<Config, ConfigError> {
        let (mut reading, config) = Reading::of(text);
        if let Some(mut config) = config {
            config.find_files(path.parent().unwrap_or(Path::new("")));
            check::check(&mut config, &mut reading, can_run);
            if reading.problems.is_empty() {
                // It was read already, as a table among others.
                config.written = text.parse().unwrap_or_default();
                return Ok(config);
            }
        }
        Err(BadFile { path: path.to_owned(), problems: reading.finish() }.into())
    }

    /// Relative paths start at the folder of the file.
    fn find_files(&mut self, folder: &Path) {
        for file in [&mut self.identity, &mut self.socket, &mut self.journal] {
            *file = folder.join(&*file);
        }
        if let Some(recorder) = &mut self.recorder {
            *recorder = folder.join(&*recorder);
        }
        for peer in &mut self.peers {
            peer.certificate = folder.join(&peer.certificate);
        }
        for client in self.api.iter_mut().flat_map(|api| &mut api.clients) {
            client.certificate = folder.join(&client.certificate);
        }
        for target in &mut self.targets {
            target.certificate = folder.join(&target.certificate);
            target.healers.iter_mut().for_each(|healer| healer.find_program(folder));
        }
    }
}

/// Names are for screens, journals and files.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    !name.is_empty() && name.len() <= 64 && name.chars().all(plain)
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
