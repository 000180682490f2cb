//! What is told of one target.

use super::ConfigError;
use super::rule::RuleConfig;
use super::safety::{BudgetConfig, SpareConfig};
use super::schema::WrittenDuration;
use super::service::ServiceConfig;
use crate::external::{CHILDREN, ExternalHealer};
use crate::guard::Spare;
use backdoors_healers::duration::{self, parse as parse_duration};
use backdoors_healers::external::{ExternalSettings, is_external};
use backdoors_healers::{COOLDOWN, GRACE, Healer, Limits, SettingsError, Users, registration};
pub use backdoors_monitor_api::Mode;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One target.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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
    /// Longest time between two samples, when all is calm. Shorter finds trouble sooner and costs both NICs and this
    /// machine's CPU more. Deadlines and false alarms may ask for shorter ones; see [`crate::pace`].
    #[serde(default = "default_period", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub period: Duration,
    /// Shortest time between two samples, whatever is asked for; a twentieth of `period`, but at least 1 ms, if absent.
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(with = "Option<WrittenDuration>")]
    pub fastest: Option<Duration>,
    /// PM(T): the probability, for each deadline, that silence accuses a healthy target. Smaller takes more samples
    /// where readings are lost.
    #[serde(default = "default_false_alarm")]
    pub false_alarm: f64,
    /// Longest wait for one remote access. Shorter tells a lost path sooner; too short mistakes load for loss.
    #[serde(default = "default_deadline", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub deadline: Duration,
    /// Connections made in advance. When one fails the next takes over, without help of the target's CPU.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Silence after which the target is told lost.
    #[serde(default = "default_lost_after", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub lost_after: Duration,
    /// Longest wait for the end of a repair.
    #[serde(default = "default_patience", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub patience: Duration,
    /// Limits in place of those the target announces: `sensor = limit` or `"sensor/instance" = limit`.
    #[serde(default)]
    pub limits: BTreeMap<String, LimitValue>,
    /// Names of the target's users.
    #[serde(default)]
    pub users: Users,
    /// How this monitor and others share the target.
    #[serde(default)]
    pub lease: LeaseConfig,
    /// How much its healers may do by themselves.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// Whom its healers may not strike.
    #[serde(default)]
    pub spare: SpareConfig,
    /// How long a proposal waits for a human after its healer confirmed it last.
    #[serde(default = "default_proposal_lifetime", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub proposal_lifetime: Duration,
    /// Its healers.
    #[serde(default, rename = "healer")]
    pub healers: Vec<HealerConfig>,
    /// Its services whose live sessions go on here if it fails.
    #[serde(default, rename = "service")]
    pub services: Vec<ServiceConfig>,
    /// What verdicts lead to. Without a rule they are told and nothing else.
    #[serde(default, rename = "rule")]
    pub rules: Vec<RuleConfig>,
}

/// How monitors share a target: one holds the lease and may repair, the others stand by.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// How long a lease lasts that is not renewed. Shorter lets a backup take over sooner and has the lease renewed
    /// more often.
    #[serde(with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub duration: Duration,
    /// How much this monitor is wanted to be the one that acts: the highest is. The same for all is first come, first
    /// served.
    pub preference: u8,
    /// How long a preferred monitor must be fit before it gets the lease back.
    #[serde(with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub take_back_after: Duration,
}

impl Default for LeaseConfig {
    fn default() -> LeaseConfig {
        LeaseConfig {
            duration: Duration::from_secs(3),
            preference: 0,
            take_back_after: Duration::from_secs(10),
        }
    }
}

/// How a target's memory is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderName {
    /// The software NIC.
    #[default]
    Emulated,
    /// An RDMA NIC, hardware or soft-RoCE.
    Verbs,
}

/// A limit as written: a number, or a duration such as `"500ms"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[serde(expecting = "a limit is a number, or a duration such as \"500ms\"")]
pub enum LimitValue {
    /// In the sensor's unit.
    Number(u64),
    /// A duration.
    Duration(String),
}

/// A healer for a target. Keys not listed here are the healer's own settings.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
pub struct HealerConfig {
    /// Name in the registry.
    pub name: String,
    /// What it may do.
    #[serde(default)]
    pub mode: Mode,
    /// Pause after it found a culprit, counted from the end of the repair. What the healer's registration says if absent.
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(with = "Option<WrittenDuration>")]
    pub cooldown: Option<Duration>,
    /// How long those whom its repair would kill have to end by themselves after SIGTERM; none: they are not asked. What
    /// the healer's registration says if absent.
    #[serde(default, deserialize_with = "some_duration")]
    #[schemars(with = "Option<WrittenDuration>")]
    pub grace: Option<Duration>,
    /// Its own settings.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}

impl HealerConfig {
    /// The program of an external healer.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        self.settings.get("command")?.as_array()?.first()?.as_str().map(PathBuf::from)
    }

    /// How long those whom its repair would kill have to end by themselves.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.grace.unwrap_or(registration(&self.name).map_or(GRACE, |line| line.grace))
    }

    /// How long it rests after a repair.
    #[must_use]
    pub fn cooldown(&self) -> Duration {
        self.cooldown.unwrap_or(registration(&self.name).map_or(COOLDOWN, |line| line.cooldown))
    }

    /// A relative path of a program starts at `folder`. A name without a slash is left to be refused.
    pub(super) fn find_program(&mut self, folder: &Path) {
        let command = self.settings.get_mut("command").and_then(toml::Value::as_array_mut);
        if let Some(toml::Value::String(program)) = command.and_then(|command| command.first_mut())
            && program.contains('/')
        {
            *program = folder.join(&*program).display().to_string();
        }
    }

    /// Makes the healer, for a target with these users.
    ///
    /// # Errors
    /// If there is none of this name and no command for it, or its settings are wrong.
    pub fn make(&self, users: &Users) -> Result<Box<dyn Healer>, SettingsError> {
        let settings = self.settings.clone();
        if is_external(&settings) {
            let settings = ExternalSettings::read(&self.name, settings)?;
            return Ok(Box::new(ExternalHealer::new(&self.name, settings, &CHILDREN)));
        }
        backdoors_healers::build(&self.name, settings, users)
    }
}

/// Longest time that victims may have to end by themselves.
pub const LONGEST_GRACE: Duration = Duration::from_secs(60);

/// A healer and what the configuration says about it.
pub type ConfiguredHealer = (HealerConfig, Box<dyn Healer>);

impl TargetConfig {
    /// The shortest time between two samples.
    #[must_use]
    pub fn fastest(&self) -> Duration {
        self.fastest.unwrap_or((self.period / 20).max(Duration::from_millis(1)))
    }

    /// Whom no healer may strike.
    ///
    /// # Errors
    /// [`ConfigError::BadSpare`].
    pub fn spare(&self) -> Result<Spare, ConfigError> {
        let bad = |problem| ConfigError::BadSpare { target: self.name.clone(), problem };
        self.spare.list(&self.users).map_err(bad)
    }

    /// The limits that override the target's.
    ///
    /// # Errors
    /// [`ConfigError::BadLimit`] or [`ConfigError::BadLimitValue`].
    pub fn limits(&self) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        for (sensor, value) in &self.limits {
            self.set_limit(&mut limits, sensor, value)?;
        }
        Ok(limits)
    }

    /// Adds a limit to `limits`.
    pub(super) fn set_limit(
        &self,
        limits: &mut Limits,
        sensor: &str,
        value: &LimitValue,
    ) -> Result<(), ConfigError> {
        let target = || self.name.clone();
        let number = match value {
            LimitValue::Number(number) => *number,
            LimitValue::Duration(text) => {
                parse_duration(text).map(crate::clock::nanoseconds).map_err(|problem| {
                    ConfigError::BadLimitValue { target: target(), sensor: sensor.to_owned(), problem }
                })?
            }
        };
        limits.set(sensor, number).map_err(|source| ConfigError::BadLimit { target: target(), source })
    }

    /// Makes the target's healers.
    ///
    /// # Errors
    /// [`ConfigError::BadHealer`].
    pub fn make_healers(&self) -> Result<Vec<ConfiguredHealer>, ConfigError> {
        self.healers
            .iter()
            .map(|config| {
                config
                    .make(&self.users)
                    .map(|healer| (config.clone(), healer))
                    .map_err(|source| ConfigError::BadHealer { target: self.name.clone(), source })
            })
            .collect()
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration::deserialize(deserializer).map(Some)
}

fn default_period() -> Duration {
    Duration::from_millis(100)
}

fn default_false_alarm() -> f64 {
    1e-6
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

fn default_proposal_lifetime() -> Duration {
    Duration::from_secs(600)
}
