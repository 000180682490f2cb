//! How an external healer is configured.

use crate::duration;
use crate::registry::{REGISTRY, SettingsError};
use backdoors_sensor_box::SensorKind;
use std::path::PathBuf;
use std::time::Duration;

/// The key that makes a healer an external one.
const COMMAND: &str = "command";
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
const LEAST_OUTPUT: usize = 64;
const MOST_OUTPUT: usize = 16 << 20;

/// An external healer's settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSettings {
    /// The program and its arguments. The program is given by its path; there is no search for it.
    pub command: Vec<String>,
    /// Names of the sensors whose events call it.
    pub watches: Vec<String>,
    /// How long it may take to answer.
    #[serde(default = "default_timeout", with = "duration")]
    pub timeout: Duration,
    /// How much it may answer, bytes.
    #[serde(default = "default_most_output")]
    pub most_output: usize,
}

/// Whether these are the settings of an external healer.
#[must_use]
pub fn is_external(settings: &toml::Table) -> bool {
    settings.contains_key(COMMAND)
}

impl ExternalSettings {
    /// Reads the settings of the healer `name`.
    ///
    /// # Errors
    /// If the name is taken or the settings are wrong. Whether the program is there is not looked at.
    pub fn read(name: &str, settings: toml::Table) -> Result<ExternalSettings, SettingsError> {
        let healer = || name.to_owned().into();
        let senseless = |problem: String| Err(SettingsError::Senseless { healer: healer(), problem });
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return senseless("a name is 1 to 64 letters, digits, dots, dashes or underscores".into());
        }
        if REGISTRY.iter().any(|registration| registration.name == name) {
            return senseless(
                "a built-in healer has this name and takes no `command`: give another name".into(),
            );
        }
        let settings: ExternalSettings = settings
            .try_into()
            .map_err(|source| SettingsError::Malformed { healer: healer(), source: Box::new(source) })?;
        if !(SHORTEST..=LONGEST).contains(&settings.timeout) {
            return senseless("`timeout` must be between 100ms and 60s".into());
        }
        if !(LEAST_OUTPUT..=MOST_OUTPUT).contains(&settings.most_output) {
            return senseless(format!(
                "`most_output` must be between {LEAST_OUTPUT} and {MOST_OUTPUT} bytes"
            ));
        }
        match settings.command.first() {
            None => return senseless("`command` is empty: name a program and its arguments".into()),
            Some(program) if !program.contains('/') => {
                return senseless(format!(
                    "`command` names `{program}`: give the program's path, with a slash"
                ));
            }
            Some(_) => {}
        }
        if settings.watches.is_empty() {
            return senseless(
                "`watches` is empty, so nothing would call it: name at least one sensor".into(),
            );
        }
        if let Some(unknown) = settings.watches.iter().find(|name| SensorKind::named(name).is_none()) {
            return senseless(format!(
                "`watches` names `{unknown}`, and there is no such sensor; `backdoors sensors TARGET` lists the names"
            ));
        }
        Ok(settings)
    }

    /// The sensors whose events call it.
    #[must_use]
    pub fn kinds(&self) -> Vec<SensorKind> {
        self.watches.iter().filter_map(|name| SensorKind::named(name)).collect()
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.command.first().map(PathBuf::from).unwrap_or_default()
    }
}

fn default_timeout() -> Duration {
    Duration::from_secs(2)
}

fn default_most_output() -> usize {
    64 << 10
}
