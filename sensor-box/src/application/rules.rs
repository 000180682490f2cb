//! What an application may show and offer: rules that the application's library checks first, and the agent in any case.

use super::{MAX_APPLICATION_SENSORS, NAME_BYTES, SENSORS_PER_HOOK};
use crate::catalogue::{Class, Unit};
use crate::layout::NO_LIMIT;
use core::time::Duration;

/// Shortest deadline of a progress sensor. No monitor can look often enough for a shorter one.
pub const MIN_PROGRESS_LIMIT: Duration = Duration::from_millis(1);
/// Longest deadline of a progress sensor. A longer one is a mistake, not a promise.
pub const MAX_PROGRESS_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A sensor that an application wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorSpec<'a> {
    /// Name: 1 to 32 letters, digits, `.`, `_` or `-` of ASCII, with a letter or digit first.
    pub name: &'a str,
    /// Class.
    pub class: Class,
    /// What its value counts.
    pub unit: Unit,
    /// Limit in its unit, for a progress sensor a deadline in nanoseconds. [`NO_LIMIT`]: evidence only; not for
    /// progress sensors.
    pub limit: u64,
}

impl<'a> SensorSpec<'a> {
    /// A value that must change at least every `limit`, 1 ms to 1 day.
    #[must_use]
    pub fn progress(name: &'a str, limit: Duration) -> SensorSpec<'a> {
        // What does not fit is far beyond the longest limit, and refused as such.
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        SensorSpec { name, class: Class::Progress, unit: Unit::Count, limit }
    }

    /// A value that must stay at or below `limit`; 0 is a limit, too.
    #[must_use]
    pub fn level(name: &'a str, limit: u64) -> SensorSpec<'a> {
        SensorSpec { name, class: Class::Level, unit: Unit::Count, limit }
    }

    /// A value that must stay at or above `limit`, at least 1. It starts at the limit.
    #[must_use]
    pub fn floor(name: &'a str, limit: u64) -> SensorSpec<'a> {
        SensorSpec { name, class: Class::Floor, unit: Unit::Count, limit }
    }

    /// A count of bad events, of which `limit` may come before an event is raised; 0 is a limit, too.
    #[must_use]
    pub fn pressure(name: &'a str, limit: u64) -> SensorSpec<'a> {
        SensorSpec { name, class: Class::Pressure, unit: Unit::Count, limit }
    }

    /// The same sensor with another unit.
    #[must_use]
    pub fn in_unit(self, unit: Unit) -> SensorSpec<'a> {
        SensorSpec { unit, ..self }
    }

    /// Its value before the application sets it: one that is in order.
    #[must_use]
    pub fn first_value(&self) -> u64 {
        if self.class == Class::Floor && self.limit != NO_LIMIT { self.limit } else { 0 }
    }
}

/// A hook that an application offers: a word by which monitors have something done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookSpec<'a> {
    /// Name, as those of sensors.
    pub name: &'a str,
    /// Least word that it takes.
    pub least: u64,
    /// Greatest word that it takes.
    pub most: u64,
}

/// What is wrong with an application's names or limits. Nothing was done; a retry with the same cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A name that no screen, journal or configuration could carry.
    #[error(
        "{what} name {name:?} {why}: a name has 1 to {NAME_BYTES} letters, digits, '.', '_' or '-', a letter or digit first"
    )]
    Name {
        /// Whose name: `application`, `sensor` or `hook`.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing to show.
    #[error("no sensors and no hooks: an application has one at least")]
    Nothing,
    /// More than a region has room for.
    #[error("{0} sensors, but an application has at most {MAX_APPLICATION_SENSORS}")]
    TooManySensors(usize),
    /// More hooks than a region has room for beside the sensors.
    #[error(
        "{sensors} sensors and {hooks} hooks, but an application has room for {MAX_APPLICATION_SENSORS} sensors, and a hook \
         takes that of {SENSORS_PER_HOOK}"
    )]
    TooManyHooks {
        /// Sensors.
        sensors: usize,
        /// Hooks.
        hooks: usize,
    },
    /// Two sensors that nobody could tell apart.
    #[error("two sensors are named {0:?}: give each its own name")]
    Repeated(String),
    /// Two hooks that nobody could tell apart.
    #[error("two hooks are named {0:?}: give each its own name")]
    RepeatedHook(String),
    /// A hook that takes no word at all.
    #[error("hook {name:?} takes {least} at least and {most} at most, which no word is: exchange them")]
    Range {
        /// The hook.
        name: String,
        /// Its least word.
        least: u64,
        /// Its greatest word.
        most: u64,
    },
    /// A deadline that nobody can hold, or that says nothing.
    #[error(
        "progress sensor {name:?} has a limit of {limit} ns, but limits of progress sensors are 1 ms to 1 day"
    )]
    Deadline {
        /// The sensor.
        name: String,
        /// Its limit, nanoseconds.
        limit: u64,
    },
    /// A limit that looks like a negative number.
    #[error(
        "sensor {name:?} has a limit of {limit}, {} as a signed number: give one up to {}, or {NO_LIMIT} for none",
        .limit.cast_signed(), i64::MAX
    )]
    Negative {
        /// The sensor.
        name: String,
        /// Its limit.
        limit: u64,
    },
    /// A floor that no value can fall below.
    #[error("floor sensor {0:?} has a limit of 0, which no value is below: give one of at least 1")]
    Floor(String),
}

/// Checks what an application wants to show.
///
/// # Errors
/// See [`SpecError`].
pub fn check(application: &str, sensors: &[SensorSpec<'_>], hooks: &[HookSpec<'_>]) -> Result<(), SpecError> {
    check_name("application", application)?;
    if sensors.is_empty() && hooks.is_empty() {
        return Err(SpecError::Nothing);
    }
    if sensors.len() > MAX_APPLICATION_SENSORS {
        return Err(SpecError::TooManySensors(sensors.len()));
    }
    if !fit(sensors.len(), hooks.len()) {
        return Err(SpecError::TooManyHooks { sensors: sensors.len(), hooks: hooks.len() });
    }
    for (index, sensor) in sensors.iter().enumerate() {
        check_name("sensor", sensor.name)?;
        check_limit(sensor)?;
        if sensors.iter().take(index).any(|other| other.name == sensor.name) {
            return Err(SpecError::Repeated(sensor.name.into()));
        }
    }
    for (index, hook) in hooks.iter().enumerate() {
        check_name("hook", hook.name)?;
        check_range(hook)?;
        if hooks.iter().take(index).any(|other| other.name == hook.name) {
            return Err(SpecError::RepeatedHook(hook.name.into()));
        }
    }
    Ok(())
}

/// Whether a region has room for so many.
pub(super) fn fit(sensors: usize, hooks: usize) -> bool {
    hooks.saturating_mul(SENSORS_PER_HOOK).saturating_add(sensors) <= MAX_APPLICATION_SENSORS
}

pub(super) fn check_range(hook: &HookSpec<'_>) -> Result<(), SpecError> {
    let HookSpec { name, least, most } = *hook;
    if least <= most { Ok(()) } else { Err(SpecError::Range { name: name.into(), least, most }) }
}

fn check_name(what: &'static str, name: &str) -> Result<(), SpecError> {
    let wrong = |why| Err(SpecError::Name { what, name: name.into(), why });
    let Some(first) = name.bytes().next() else { return wrong("is empty") };
    if name.len() > NAME_BYTES {
        return wrong("is too long");
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return wrong("has other characters");
    }
    if !first.is_ascii_alphanumeric() {
        return wrong("begins with neither");
    }
    Ok(())
}

pub(super) fn check_limit(sensor: &SensorSpec<'_>) -> Result<(), SpecError> {
    let (name, limit) = (|| String::from(sensor.name), sensor.limit);
    match sensor.class {
        Class::Progress => {
            if !(MIN_PROGRESS_LIMIT..=MAX_PROGRESS_LIMIT).contains(&Duration::from_nanos(limit)) {
                return Err(SpecError::Deadline { name: name(), limit });
            }
        }
        _ if limit == NO_LIMIT => {}
        _ if limit > i64::MAX as u64 => return Err(SpecError::Negative { name: name(), limit }),
        Class::Floor if limit == 0 => return Err(SpecError::Floor(name())),
        Class::Level | Class::Floor | Class::Pressure => {}
    }
    Ok(())
}

/// The name in a field padded with zeros, if it is one.
pub(super) fn name_of<'a>(what: &'static str, field: &'a [u8; NAME_BYTES]) -> Result<&'a str, SpecError> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
    let (name, padding) = field.split_at(end);
    let text = core::str::from_utf8(name).ok().filter(|_| padding.iter().all(|&byte| byte == 0));
    let Some(text) = text else {
        let name = String::from_utf8_lossy(field).into_owned();
        return Err(SpecError::Name { what, name, why: "has other characters" });
    };
    check_name(what, text).map(|()| text)
}

/// A checked name as a field.
pub(super) fn field_of(name: &str) -> [u8; NAME_BYTES] {
    let mut field = [0; NAME_BYTES];
    for (to, from) in field.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    field
}

#[cfg(test)]
mod tests;
