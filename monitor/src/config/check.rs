//! Whether a configuration that could be read makes sense.

use super::problem::Step::{self, Item, Key};
use super::read::Reading;
use super::target::{HealerConfig, LONGEST_GRACE, LimitValue, TargetConfig};
use super::{ApiConfig, Config, ConfigError, parse_duration};
use crate::clock::nanoseconds;
use crate::peers::PeerConfigError;
use backdoors_healers::{Limits, SettingsError, Users};
use backdoors_sensor_box::layout::NO_LIMIT;
use backdoors_sensor_box::{Class, Instance, SensorKind, Unit};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// Shortest time in which something must change, nanoseconds: kernels tick that often.
const SHORTEST_LIMIT: u64 = 1_000_000;

/// Adds what is wrong to `reading`; `can_run` says whether a program can be run.
pub(super) fn check(
    config: &mut Config,
    reading: &mut Reading<'_>,
    can_run: impl Fn(&Path) -> Result<(), String>,
) {
    if let Err(error) = crate::peers::config::check(&config.name, &config.peers) {
        let place = place_of_peer(config, &error);
        reading.add(&place, &error.into());
    }
    if let Some(Err((error, index))) = config.api.as_ref().map(ApiConfig::check) {
        let place = index.map_or(vec![], |index| vec![Item(index), Key("name")]);
        reading.add(&[&[Key("api"), Key("client")], &*place].concat(), &error.into());
    }
    let mut names = BTreeSet::new();
    for (index, target) in config.targets.iter().enumerate() {
        let mut add = |steps: &[Step<'_>], error: ConfigError| {
            reading.add(&[&[Key("target"), Item(index)], steps].concat(), &error);
        };
        if !names.insert(&target.name) {
            add(&[Key("name")], ConfigError::BadName(target.name.clone()));
        }
        check_target(target, &mut add);
        check_healers(target, &can_run, &mut add);
        check_rules(target, &can_run, &mut add);
        check_services(target, &can_run, &mut add);
    }
}

/// Adds a problem at the end of these steps from the target on.
type Add<'a> = &'a mut dyn FnMut(&[Step<'_>], ConfigError);

fn place_of_peer(config: &Config, error: &PeerConfigError) -> Vec<Step<'static>> {
    let (name, key) = match error {
        PeerConfigError::BadName(name) | PeerConfigError::SameName(name) | PeerConfigError::OwnName(name) => {
            (name, "name")
        }
        PeerConfigError::BadAddress { peer, .. } => (peer, "address"),
        PeerConfigError::TooMany(_) => return vec![Key("peer")],
    };
    // Of two of one name the second is too many.
    match config.peers.iter().rposition(|peer| peer.name == *name) {
        Some(index) => vec![Key("peer"), Item(index), Key(key)],
        None => vec![Key("peer")],
    }
}

fn check_target(target: &TargetConfig, add: Add<'_>) {
    if !super::is_name(&target.name) {
        add(&[Key("name")], ConfigError::BadName(target.name.clone()));
    }
    let within = |least: Duration, value: Duration, most: Duration| (least..=most).contains(&value);
    let (ms, hour) = (Duration::from_millis, Duration::from_secs(3600));
    let checks = [
        ("period", within(ms(1), target.period, hour), "between 1ms and 1h"),
        ("deadline", within(ms(1), target.deadline, Duration::from_secs(60)), "between 1ms and 60s"),
        (
            "fastest",
            within(Duration::from_micros(100), target.fastest(), target.period),
            "between 100us and `period`",
        ),
        ("false_alarm", (1e-12..=0.5).contains(&target.false_alarm), "between 1e-12 and 0.5"),
        ("lease.duration", within(ms(100), target.lease.duration, hour), "between 100ms and 1h"),
        ("connections", (1..=16).contains(&target.connections), "between 1 and 16"),
        (
            "proposal_lifetime",
            within(Duration::from_secs(1), target.proposal_lifetime, hour * 24),
            "between 1s and 24h",
        ),
    ];
    for (key, is_good, must) in checks {
        // A wrong period was told; that the default of `fastest` does not fit into it follows.
        let follows = key == "fastest" && target.fastest.is_none();
        if !is_good && !follows {
            let steps: Vec<Step<'_>> = key.split('.').map(Key).collect();
            add(&steps, ConfigError::OutOfRange { target: target.name.clone(), key, must });
        }
    }
    for (key, must) in target.budget.wrong() {
        let steps: Vec<Step<'_>> = key.split('.').map(Key).collect();
        add(&steps, ConfigError::OutOfRange { target: target.name.clone(), key, must });
    }
    if let Err(error) = target.spare() {
        add(&[Key("spare")], error);
    }
    let mut limits = Limits::default();
    for (sensor, value) in &target.limits {
        let set = target.set_limit(&mut limits, sensor, value);
        let sensible = set.and_then(|()| {
            let (target, sensor_name) = (target.name.clone(), sensor.clone());
            senseless(sensor, value).map_or(Ok(()), |problem| {
                Err(ConfigError::BadLimitValue { target, sensor: sensor_name, problem })
            })
        });
        if let Err(error) = sensible {
            add(&[Key("limits"), Key(sensor)], error);
        }
    }
}

/// Why a limit that can be read makes no sense for its sensor.
fn senseless(sensor: &str, value: &LimitValue) -> Option<String> {
    let (name, instance) = sensor.split_once('/').map_or((sensor, None), |(name, one)| (name, Some(one)));
    let line = SensorKind::named(name)?.description()?;
    let is_time = line.class == Class::Progress || line.unit == Unit::Nanoseconds;
    if instance.is_some() && line.instance == Instance::Machine {
        return Some(format!("there is one `{name}` on a machine: leave out what follows the slash"));
    }
    match value {
        LimitValue::Duration(text) if !is_time => {
            Some(format!("`{text}` is a duration, and this sensor counts something else: write a number"))
        }
        LimitValue::Number(nanoseconds) if line.class == Class::Progress && *nanoseconds < SHORTEST_LIMIT => {
            Some(format!("{nanoseconds} ns are too short: write at least 1ms, with the unit"))
        }
        LimitValue::Duration(text)
            if line.class == Class::Progress
                && parse_duration(text).is_ok_and(|limit| nanoseconds(limit) < SHORTEST_LIMIT) =>
        {
            Some(format!("`{text}` is too short: write at least 1ms"))
        }
        // Where some are usual, none is no limit.
        LimitValue::Number(0) if line.class == Class::Level && line.limit != 0 && line.limit != NO_LIMIT => {
            Some("0 would always be exceeded: write how many may be there".to_owned())
        }
        _ => None,
    }
}

fn check_healers(target: &TargetConfig, can_run: impl Fn(&Path) -> Result<(), String>, add: Add<'_>) {
    for (index, healer) in target.healers.iter().enumerate() {
        for (key, source) in wrong_settings(healer, &target.users) {
            let mut steps = vec![Key("healer"), Item(index)];
            steps.extend(key.as_deref().map(Key));
            add(&steps, ConfigError::BadHealer { target: target.name.clone(), source });
        }
        if healer.grace() > LONGEST_GRACE {
            let (target, key, must) = (target.name.clone(), "healer.grace", "at most 60s");
            let steps = [Key("healer"), Item(index), Key("grace")];
            add(&steps, ConfigError::OutOfRange { target, key, must });
        }
        if let Some(program) = healer.program().filter(|program| program.is_absolute())
            && let Err(problem) = can_run(&program)
        {
            let program = program.display().to_string();
            let error = ConfigError::NoProgram { target: target.name.clone(), program, problem };
            add(&[Key("healer"), Item(index), Key("command")], error);
        }
    }
}

/// What is wrong with a healer's settings, each with the key that is to blame: without it the complaint is another one.
fn wrong_settings(healer: &HealerConfig, users: &Users) -> Vec<(Option<String>, SettingsError)> {
    let mut healer = healer.clone();
    let mut wrong = Vec::new();
    loop {
        let error = match healer.make(users) {
            Ok(_) => return wrong,
            Err(error @ SettingsError::UnknownHealer { .. }) => {
                wrong.push((Some("name".to_owned()), error));
                return wrong;
            }
            Err(error) => error,
        };
        let complaint = error.to_string();
        let is_missed = |(key, _): &(Option<String>, _)| {
            key.as_ref().is_some_and(|key| complaint.contains(&format!("missing field `{key}`")))
        };
        if wrong.iter().any(is_missed) {
            // It was there, and was told.
            return wrong;
        }
        let is_to_blame = |key: &&String| {
            let mut without = healer.clone();
            without.settings.remove(*key);
            without.make(users).err().is_none_or(|other| other.to_string() != complaint)
        };
        // Without its command an external healer is none, so that is blamed last.
        let (commands, others): (Vec<&String>, Vec<&String>) =
            healer.settings.keys().partition(|key| *key == "command");
        let blamed = others.into_iter().chain(commands).find(is_to_blame).cloned();
        let goes_on = blamed.as_deref().is_some_and(|key| key != "command");
        if let Some(key) = &blamed {
            healer.settings.remove(key);
        }
        wrong.push((blamed, error));
        if !goes_on {
            return wrong;
        }
    }
}

fn check_rules(target: &TargetConfig, can_run: impl Fn(&Path) -> Result<(), String>, add: Add<'_>) {
    let healers: Vec<&str> = target.healers.iter().map(|healer| healer.name.as_str()).collect();
    for (index, rule) in target.rules.iter().enumerate() {
        if let Err(problem) = rule.check(&healers, !target.services.is_empty()) {
            let error = ConfigError::BadRule { target: target.name.clone(), layer: rule.layer, problem };
            add(&[Key("rule"), Item(index)], error);
        }
        // What is named without a path is looked for when it is run.
        if let Some(program) = rule.run.first().filter(|program| program.starts_with('/'))
            && let Err(problem) = can_run(Path::new(program))
        {
            let error =
                ConfigError::NoProgram { target: target.name.clone(), program: program.clone(), problem };
            add(&[Key("rule"), Item(index), Key("run")], error);
        }
    }
}

fn check_services(target: &TargetConfig, can_run: impl Fn(&Path) -> Result<(), String>, add: Add<'_>) {
    let mut names = BTreeSet::new();
    for (index, service) in target.services.iter().enumerate() {
        let bad = |problem: &str| ConfigError::BadService {
            target: target.name.clone(),
            service: service.name.clone(),
            problem: problem.to_owned(),
        };
        let place = [Key("service"), Item(index)];
        if !names.insert(&service.name) {
            add(&place, bad("there are two of that name"));
        }
        if service.addresses.is_empty() {
            add(&place, bad("it has no addresses that could move"));
        }
        if let Some(program) = service.announce.first().filter(|program| program.starts_with('/'))
            && let Err(problem) = can_run(Path::new(program))
        {
            let error =
                ConfigError::NoProgram { target: target.name.clone(), program: program.clone(), problem };
            add(&[Key("service"), Item(index), Key("announce")], error);
        }
    }
}

/// Whether a file can be run as a program.
pub(super) fn is_executable(program: &Path) -> Result<(), String> {
    match std::fs::metadata(program) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("does not exist: install it, or correct its path".to_owned())
        }
        Err(error) => Err(format!("cannot be looked at: {error}")),
        Ok(file) if !file.is_file() => Err("is no file: name a program".to_owned()),
        Ok(file) if file.permissions().mode() & 0o111 == 0 => {
            Err("is not executable: `chmod +x` makes it so".to_owned())
        }
        Ok(_) => Ok(()),
    }
}
