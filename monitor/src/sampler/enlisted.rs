//! Healers as screens list them.

use crate::clock::nanoseconds;
use crate::config::{HealerConfig, Mode};
use backdoors_healers::external::is_external;
use backdoors_healers::{Applications, GRACE, Healer, REGISTRY, Registration, Users, registration};
use backdoors_sensor_box::{Opcode, SensorKind};
use serde::{Deserialize, Serialize};

/// A healer: what it watches, what it may do, and its settings in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    pub settings: toml::Table,
}

impl Enlisted {
    /// A healer of a target.
    #[must_use]
    pub fn of(config: &HealerConfig, healer: &dyn Healer) -> Enlisted {
        let registered = registration(&config.name).filter(|_| !is_external(&config.settings));
        Enlisted {
            mode: Some(config.mode),
            cooldown_ns: Some(nanoseconds(config.cooldown())),
            grace_ns: nanoseconds(config.grace()),
            ..Enlisted::new(healer, registered)
        }
    }

    /// The healers that are built in, with their default settings.
    #[must_use]
    pub fn built_in() -> Vec<Enlisted> {
        let with_defaults = |line: &Registration| {
            // That each builds from no settings is tested.
            let healer = (line.build)(toml::Table::new(), &Users::new()).ok()?;
            Some(Enlisted::new(&*healer, Some(line)))
        };
        REGISTRY.iter().filter_map(with_defaults).collect()
    }

    fn new(healer: &dyn Healer, registered: Option<&Registration>) -> Enlisted {
        let settings = healer.settings();
        let command = || {
            let words = settings.get("command").and_then(toml::Value::as_array).into_iter().flatten();
            words.filter_map(toml::Value::as_str).collect::<Vec<_>>().join(" ")
        };
        let all = || Opcode::ALL.iter().map(|(_, name)| (*name).to_owned()).collect();
        let sensor = |kind: &SensorKind| kind.description().map(|line| line.name.to_owned());
        Enlisted {
            name: healer.name().to_owned(),
            external: registered.is_none(),
            about: registered.map_or_else(command, |line| line.about.to_owned()),
            mode: None,
            cooldown_ns: None,
            grace_ns: nanoseconds(registered.map_or(GRACE, |line| line.grace)),
            watches: healer.watches().iter().filter_map(sensor).collect(),
            applications: match healer.applications() {
                Applications::None => None,
                Applications::All => Some("*".to_owned()),
                Applications::Named(name) => Some(name.to_owned()),
            },
            looks_every_ns: healer.looks_every().map(nanoseconds),
            may: registered
                .map_or_else(all, |line| line.may.iter().map(|opcode| opcode.name().to_owned()).collect()),
            settings,
        }
    }
}
