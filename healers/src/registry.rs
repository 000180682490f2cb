//! All healers there are.

use crate::{ForkBomb, Healer, MemoryHog, Runaway, StuckApplications};
use backdoors_sensor_box::Opcode;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// One line of the registry.
#[derive(Clone, Copy)]
pub struct Registration {
    /// Name in the configuration.
    pub name: &'static str,
    /// Makes the healer from its settings. The table holds what the configuration says about this healer, without
    /// the monitor's own keys.
    pub build: Build,
    /// What its repairs may consist of.
    pub may: &'static [Opcode],
    /// How long its victims have to end by themselves unless the configuration says otherwise.
    pub grace: Duration,
    /// How long it rests after a repair unless the configuration says otherwise.
    pub cooldown: Duration,
    /// What it is against, in a line.
    pub about: &'static str,
}

/// How long victims have to end by themselves where nothing else is said.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long a healer rests after a repair where nothing else is said.
pub const COOLDOWN: Duration = Duration::from_secs(5);

/// Makes a healer from its settings and the names of the target's users.
pub type Build = fn(toml::Table, &Users) -> Result<Box<dyn Healer>, SettingsError>;

/// The healers: one line each.
pub const REGISTRY: &[Registration] = &[
    Registration {
        name: ForkBomb::NAME,
        build: ForkBomb::build,
        may: ForkBomb::MAY,
        // A bomb makes use of any.
        grace: Duration::ZERO,
        cooldown: COOLDOWN,
        about: ForkBomb::ABOUT,
    },
    Registration {
        name: MemoryHog::NAME,
        build: MemoryHog::build,
        may: MemoryHog::MAY,
        grace: GRACE,
        // Killed children that come again fill memory within a second, and the kernel's own killer does not look for their
        // parent. The target tells of its memory every tenth of a second.
        cooldown: Duration::from_millis(500),
        about: MemoryHog::ABOUT,
    },
    Registration {
        name: Runaway::NAME,
        build: Runaway::build,
        may: Runaway::MAY,
        grace: GRACE,
        cooldown: COOLDOWN,
        about: Runaway::ABOUT,
    },
    Registration {
        name: StuckApplications::NAME,
        build: StuckApplications::build,
        may: StuckApplications::MAY,
        grace: GRACE,
        cooldown: COOLDOWN,
        about: StuckApplications::ABOUT,
    },
];

/// The line of the healer that is called `name`.
#[must_use]
pub fn registration(name: &str) -> Option<&'static Registration> {
    REGISTRY.iter().find(|registration| registration.name == name)
}

/// Names of a target's users, as the monitor's configuration gives them. The monitor's own user database says
/// nothing about another machine.
pub type Users = BTreeMap<String, u32>;

/// Why a healer could not be made. The configuration must be corrected.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No such healer.
    #[error("no healer is called `{name}`; there are: {known}; one of your own needs a `command`")]
    UnknownHealer {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A setting is unknown or has the wrong type.
    #[error("healer `{healer}`: {source}")]
    Malformed {
        /// The healer.
        healer: Cow<'static, str>,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// A setting has a value that makes no sense.
    #[error("healer `{healer}`: {problem}")]
    Senseless {
        /// The healer.
        healer: Cow<'static, str>,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// Reads the settings of a built-in healer.
pub(crate) fn read_settings<T: serde::de::DeserializeOwned>(
    healer: &'static str,
    settings: toml::Table,
) -> Result<T, SettingsError> {
    settings
        .try_into()
        .map_err(|source| SettingsError::Malformed { healer: healer.into(), source: Box::new(source) })
}

/// Makes the healer called `name`.
///
/// # Errors
/// If there is none or its settings are wrong.
pub fn build(name: &str, settings: toml::Table, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
    let Some(registration) = registration(name) else {
        let known: Vec<_> = REGISTRY.iter().map(|registration| registration.name).collect();
        return Err(SettingsError::UnknownHealer { name: name.to_owned(), known: known.join(", ") });
    };
    (registration.build)(settings, users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_healer_builds_from_empty_settings_under_its_own_name() {
        for registration in REGISTRY {
            let healer = build(registration.name, toml::Table::new(), &Users::new()).unwrap();
            assert_eq!(healer.name(), registration.name);
            let is_called = !healer.watches().is_empty()
                || healer.looks_every().is_some()
                || healer.applications() != crate::Applications::None;
            assert!(is_called, "{}", registration.name);
            assert!(!registration.may.is_empty() && !registration.about.is_empty());
            // What is in force builds the same healer again.
            let again = build(registration.name, healer.settings(), &Users::new()).unwrap();
            assert_eq!(again.settings(), healer.settings());
        }
    }

    #[test]
    fn an_unknown_healer_is_an_error_that_lists_the_known_ones() {
        let error = build("snake-oil", toml::Table::new(), &Users::new()).err().unwrap();
        assert_eq!(
            error.to_string(),
            "no healer is called `snake-oil`; there are: forkbomb, memory-hog, runaway, stuck-application; one of your own needs a `command`"
        );
    }
}
