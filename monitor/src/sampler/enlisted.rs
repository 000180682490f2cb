//! Healers as screens list them.

use crate::clock::nanoseconds;
use crate::config::HealerConfig;
use backdoors_healers::external::is_external;
use backdoors_healers::{Applications, GRACE, Healer, REGISTRY, Registration, Users, registration};
use backdoors_monitor_api::Enlisted;
use backdoors_sensor_box::{Opcode, SensorKind};

/// A healer of a target.
pub(crate) fn enlisted(config: &HealerConfig, healer: &dyn Healer) -> Enlisted {
    let registered = registration(&config.name).filter(|_| !is_external(&config.settings));
    Enlisted {
        mode: Some(config.mode),
        cooldown_ns: Some(nanoseconds(config.cooldown())),
        grace_ns: nanoseconds(config.grace()),
        ..listed(healer, registered)
    }
}

/// The healers that are built in, with their default settings.
#[must_use]
pub fn built_in() -> Vec<Enlisted> {
    let with_defaults = |line: &Registration| {
        // That each builds from no settings is tested.
        let healer = (line.build)(toml::Table::new(), &Users::new()).ok()?;
        Some(listed(&*healer, Some(line)))
    };
    REGISTRY.iter().filter_map(with_defaults).collect()
}

fn listed(healer: &dyn Healer, registered: Option<&Registration>) -> Enlisted {
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
        // Whatever TOML can say, JSON can.
        settings: settings
            .into_iter()
            .filter_map(|(key, value)| Some((key, serde_json::to_value(value).ok()?)))
            .collect(),
    }
}
