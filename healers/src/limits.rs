//! Limits that the monitor's configuration puts in place of those the target announces.

use backdoors_sensor_box::SensorKind;
use std::collections::BTreeMap;

/// Overrides of sensor limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    kinds: BTreeMap<SensorKind, u64>,
    instances: BTreeMap<(SensorKind, u32), u64>,
}

/// A limit in the configuration that names no sensor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The name is not in the catalogue.
    #[error("no sensor is called `{0}`; `backdoors sensors TARGET` lists the names")]
    UnknownSensor(String),
    /// What follows the slash is not a number.
    #[error("`{0}`: after the slash stands the number of a CPU or a user")]
    BadInstance(String),
}

impl Limits {
    /// Sets the limit of `name`, a sensor's name from the catalogue, or of one instance of it, as in
    /// `user.processes/1001`.
    ///
    /// # Errors
    /// If there is no such sensor; nothing is changed then.
    pub fn set(&mut self, name: &str, limit: u64) -> Result<(), LimitError> {
        let (kind, instance) = match name.split_once('/') {
            Some((kind, instance)) => (kind, Some(instance)),
            None => (name, None),
        };
        let kind = SensorKind::named(kind).ok_or_else(|| LimitError::UnknownSensor(kind.to_owned()))?;
        match instance {
            None => self.kinds.insert(kind, limit),
            Some(text) => {
                let instance = text.parse().map_err(|_| LimitError::BadInstance(name.to_owned()))?;
                self.instances.insert((kind, instance), limit)
            }
        };
        Ok(())
    }

    /// The limit in force for a sensor that announces `declared`; `None` if there is none.
    #[must_use]
    pub fn of(&self, kind: SensorKind, instance: u32, declared: Option<u64>) -> Option<u64> {
        if !self.instances.is_empty()
            && let Some(limit) = self.instances.get(&(kind, instance))
        {
            return Some(*limit);
        }
        self.kinds.get(&kind).copied().or(declared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_particular_limit_is_in_force() {
        let mut limits = Limits::default();
        assert_eq!(limits.of(SensorKind::USER_PROCESSES, 1000, Some(7)), Some(7));
        limits.set("user.processes", 200).unwrap();
        limits.set("user.processes/1001", 500).unwrap();
        assert_eq!(limits.of(SensorKind::USER_PROCESSES, 1000, Some(7)), Some(200));
        assert_eq!(limits.of(SensorKind::USER_PROCESSES, 1001, Some(7)), Some(500));
        assert_eq!(limits.of(SensorKind::PROCESSES, 1001, Some(7)), Some(7));
    }

    #[test]
    fn a_limit_for_an_unknown_sensor_is_an_error() {
        let mut limits = Limits::default();
        assert_eq!(limits.set("nonsense", 1), Err(LimitError::UnknownSensor("nonsense".into())));
        assert_eq!(
            limits.set("user.processes/bob", 1),
            Err(LimitError::BadInstance("user.processes/bob".into()))
        );
        assert_eq!(limits, Limits::default());
    }
}
