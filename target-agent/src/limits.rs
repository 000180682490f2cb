//! Limits of sensors: the catalogue's, unless the configuration says otherwise.

use crate::pressure::MemorySize;
use backdoors_sensor_box::{CATALOGUE, SensorKind};
use std::collections::BTreeMap;

/// Limits by sensor kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits(BTreeMap<SensorKind, u64>);

/// A name that no sensor has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no sensor {name:?} to limit; there are {}", known())]
pub struct UnknownSensor {
    /// The name.
    pub name: String,
}

impl Limits {
    /// The limits that `given` names, each in its sensor's unit.
    ///
    /// # Errors
    /// [`UnknownSensor`] for a name that is not in the catalogue.
    pub fn new(given: &BTreeMap<String, u64>) -> Result<Limits, UnknownSensor> {
        let mut limits = BTreeMap::new();
        for (name, limit) in given {
            let kind = SensorKind::named(name).ok_or_else(|| UnknownSensor { name: name.clone() })?;
            limits.insert(kind, *limit);
        }
        Ok(Limits(limits))
    }

    /// Adds the limit that goes by the machine's size, unless it was given: `memory.available` may fall to a twentieth of all
    /// memory.
    #[must_use]
    pub fn for_machine(mut self, size: Option<MemorySize>) -> Limits {
        if let Some(size) = size {
            self.0.entry(SensorKind::MEMORY_AVAILABLE).or_insert(size.total / 20);
        }
        self
    }

    /// The limit of sensors of this kind.
    #[must_use]
    pub fn of(&self, kind: SensorKind) -> u64 {
        let default = || kind.description().map_or(backdoors_sensor_box::layout::NO_LIMIT, |line| line.limit);
        self.0.get(&kind).copied().unwrap_or_else(default)
    }
}

fn known() -> String {
    CATALOGUE.iter().map(|line| line.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_given_is_the_catalogues() {
        let limits = Limits::new(&BTreeMap::from([("user.processes".into(), 7)])).unwrap();
        assert_eq!(limits.of(SensorKind::USER_PROCESSES), 7);
        assert_eq!(limits.of(SensorKind::PROCESSES), SensorKind::PROCESSES.description().unwrap().limit);
    }

    #[test]
    fn the_limit_of_available_memory_goes_by_the_machine_unless_given() {
        let size = MemorySize { total: 1000, ..MemorySize::default() };
        let default = Limits::default().for_machine(Some(size));
        assert_eq!(default.of(SensorKind::MEMORY_AVAILABLE), 50);
        let given = Limits::new(&BTreeMap::from([("memory.available".into(), 7)])).unwrap();
        assert_eq!(given.for_machine(Some(size)).of(SensorKind::MEMORY_AVAILABLE), 7);
    }

    #[test]
    fn a_name_no_sensor_has_is_an_error_that_lists_the_names_there_are() {
        let error = Limits::new(&BTreeMap::from([("user.process".into(), 7)])).unwrap_err();
        assert!(error.to_string().contains("user.processes"), "{error}");
    }
}
