//! How near sensors are to their limits.

use super::percent;
use backdoors_sensor_box::{Class, SensorKind, SensorReading};
use std::fmt;

/// The sensor nearest its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Kind of the sensor.
    pub kind: SensorKind,
    /// CPU or user, by kind.
    pub instance: u32,
    /// How near: 0 far away, 1 at its limit or over it.
    pub share: f64,
}

impl fmt::Display for Nearest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = crate::sampler::sensor_name(self.kind, self.instance);
        if self.share >= 1.0 {
            write!(formatter, "{name} is over its limit")
        } else {
            write!(formatter, "{name} is at {} % of its limit", percent(self.share))
        }
    }
}

/// Finds the nearest among the sensors of one reading.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nearness {
    nearest: Option<Nearest>,
}

impl Nearness {
    /// Takes in a sensor with the limit in force. `new_events` is, of a pressure sensor, what came since the last event was told.
    /// Progress sensors are not near or far: they have deadlines.
    pub fn add(&mut self, reading: &SensorReading, limit: u64, new_events: u64) {
        let share = match reading.class {
            Class::Progress => return,
            Class::Level => over(reading.value, limit),
            Class::Pressure => over(new_events, limit),
            Class::Floor if reading.value < limit => 1.0,
            // One more than the value, so that a sensor of only 0 and 1 is not at its limit when it is 1.
            Class::Floor => limit as f64 / (reading.value as f64 + 1.0),
        };
        if self.nearest.is_none_or(|nearest| share > nearest.share) {
            self.nearest = Some(Nearest { kind: reading.kind, instance: reading.instance, share });
        }
    }

    /// The nearest sensor; `None` if none has a limit.
    #[must_use]
    pub fn nearest(&self) -> Option<Nearest> {
        self.nearest
    }
}

fn over(value: u64, limit: u64) -> f64 {
    if value > limit { 1.0 } else { value as f64 / (limit as f64 + 1.0) }
}
