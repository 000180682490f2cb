//! Reading the configuration again, on SIGHUP or when the command line asks for it. A bad file changes nothing. Of a good
//! one limits, rules, healers, users, spare lists and budgets of the targets there are come into force, and so do the clients of the API;
//! what else changed needs a restart, and is told.

use crate::api::{Admission, AdmitError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, ConfigError};
use crate::journal::{Entry, Journal, What};
use crate::rounds::Attendant;
use crate::sampler::Request;
use backdoors_monitor_api::{ErrorKind, Failure, ReloadAnswer};
use backdoors_rdma::supervisor;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Keys of a target that come into force without a restart.
const RELOADED: [&str; 6] = ["limits", "users", "healer", "rule", "spare", "budget"];
/// Stands for the monitor itself in the journal, where other entries name a target.
const NO_TARGET: &str = "-";

/// Why a configuration did not come into force. The one before is, as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file is bad.
    #[error("{0}")]
    Bad(#[from] ConfigError),
    /// Clients of other machines cannot be admitted.
    #[error("{0}; nothing was changed")]
    Clients(#[from] AdmitError),
}

/// Reads the configuration again.
pub(super) struct Reloader {
    path: PathBuf,
    /// What this process was started with.
    started_with: toml::Table,
    targets: Vec<(String, Attendant)>,
    /// If clients of other machines are listened for.
    admission: Option<Admission>,
    journal: Journal,
    /// One at a time.
    turn: Mutex<()>,
}

impl Reloader {
    pub(super) fn new(
        path: PathBuf,
        started_with: toml::Table,
        targets: Vec<(String, Attendant)>,
        admission: Option<Admission>,
        journal: Journal,
    ) -> Reloader {
        Reloader { path, started_with, targets, admission, journal, turn: Mutex::new(()) }
    }

    /// Reads it again, and tells journal and log what came of it.
    pub(super) fn reload(&self) -> Result<ReloadAnswer, ReloadError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        supervisor::reloading();
        let answer = self.read_again();
        supervisor::reloaded();
        answer
    }

    fn read_again(&self) -> Result<ReloadAnswer, ReloadError> {
        let config = match self.read() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the configuration is bad, and the old one stays in force:\n{error}");
                self.note(What::NotReconfigured { reason: error.to_string() });
                return Err(error);
            }
        };
        let restart = needs_restart(&self.started_with, &config.written);
        let mut targets = Vec::new();
        for target in config.targets {
            let Some((name, attendant)) = self.targets.iter().find(|(name, _)| *name == target.name) else {
                continue;
            };
            if attendant.request(Request::Reconfigure(Box::new(target))) {
                targets.push(name.clone());
            } else {
                let reason = format!("too many requests wait for target `{name}`: reload again later");
                tracing::error!("{reason}");
                self.note(What::NotReconfigured { reason });
            }
        }
        if !restart.is_empty() {
            tracing::warn!("in force after a restart only: {}", restart.join(", "));
        }
        self.note(What::Reloaded { restart: restart.clone() });
        Ok(ReloadAnswer { targets, restart })
    }

    /// Reads it, and admits the clients that it names, if all of it is good.
    fn read(&self) -> Result<Config, ReloadError> {
        let config = Config::load(&self.path)?;
        if let Some(admission) = &self.admission {
            admission.admit(config.api.as_ref().map_or(&[], |api| &api.clients))?;
        }
        Ok(config)
    }

    fn note(&self, what: What) {
        self.journal.add(Entry::new(SystemClock.wall(), SystemClock.monotonic(), NO_TARGET, what));
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Failure {
        Failure { kind: ErrorKind::BadConfiguration, message: error.to_string() }
    }
}

/// Watches for SIGHUP from now on; whoever sent it before [`Hangups::reload`] is served then.
pub(super) struct Hangups(Signals);

impl Hangups {
    pub(super) fn watch() -> io::Result<Hangups> {
        Ok(Hangups(Signals::new([SIGHUP])?))
    }

    pub(super) fn reload(mut self, reloader: Arc<Reloader>) -> io::Result<()> {
        std::thread::Builder::new().name("reload".into()).spawn(move || {
            for _ in self.0.forever() {
                // What came of it was told.
                drop(reloader.reload());
            }
        })?;
        Ok(())
    }
}

/// What differs and is not among what comes into force without a restart.
fn needs_restart(before: &toml::Table, after: &toml::Table) -> Vec<String> {
    let mut changed: Vec<String> =
        differing(before, after, &["target", "api"]).into_iter().map(|key| format!("`{key}`")).collect();
    let listens = |table: &toml::Table| table.get("api").and_then(|api| api.get("listen")).cloned();
    if listens(before) != listens(after) {
        changed.push("`listen` of `api`".to_owned());
    }
    let (old, new) = (targets(before), targets(after));
    for (name, target) in &old {
        match new.iter().find(|(other, _)| other == name) {
            Some((_, now)) => {
                let keys = differing(target, now, &RELOADED).into_iter();
                changed.extend(keys.map(|key| format!("`{key}` of target `{name}`")));
            }
            None => changed.push(format!("target `{name}`, which is gone")),
        }
    }
    let is_new = |(name, _): &&(&str, &toml::Table)| old.iter().all(|(other, _)| other != name);
    changed.extend(new.iter().filter(is_new).map(|(name, _)| format!("target `{name}`, which is new")));
    changed
}

fn differing<'a>(before: &'a toml::Table, after: &'a toml::Table, except: &[&str]) -> BTreeSet<&'a str> {
    let keys = before.keys().chain(after.keys()).map(String::as_str);
    keys.filter(|key| !except.contains(key) && before.get(*key) != after.get(*key)).collect()
}

fn targets(config: &toml::Table) -> Vec<(&str, &toml::Table)> {
    let targets = config.get("target").and_then(toml::Value::as_array).into_iter().flatten();
    targets
        .filter_map(toml::Value::as_table)
        .filter_map(|table| Some((table.get("name")?.as_str()?, table)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_restart_is_told_and_nothing_else() {
        let table = |text: &str| -> toml::Table { text.parse().unwrap() };
        let before = table(
            "journal = 'j'\nlisten = '1.2.3.4:5'\n[[target]]\nname = 'a'\nperiod = '1s'\nusers = { x = 5 }\n\
             [[target.healer]]\nname = 'forkbomb'\n[[target]]\nname = 'b'\n",
        );
        let after = table(
            "journal = 'k'\n[[target]]\nname = 'c'\n[[target]]\nname = 'a'\nperiod = '2s'\ndeadline = '1s'\n\
             limits = { processes = 9 }\n[[target.rule]]\nlayer = 'kernel'\n",
        );
        assert_eq!(
            needs_restart(&before, &after),
            [
                "`journal`",
                "`listen`",
                "`deadline` of target `a`",
                "`period` of target `a`",
                "target `b`, which is gone",
                "target `c`, which is new"
            ]
        );
        assert_eq!(needs_restart(&before, &before), [""; 0]);
    }
}
