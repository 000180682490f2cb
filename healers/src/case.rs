//! What a healer is shown.

use crate::Limits;
use backdoors_sensor_box::{Class, ProcessView, SensorKind, SensorView, Unit};
use std::time::Duration;

/// A sensor whose value is exceptional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Kind of the sensor.
    pub kind: SensorKind,
    /// CPU or user, as the kind says; 0 if there is only one such sensor.
    pub instance: u32,
    /// Class, which says what the limit means.
    pub class: Class,
    /// Unit of the sensor, if known.
    pub unit: Option<Unit>,
    /// Value when the event was raised, in `unit`. Of a pressure sensor the number of new events, of a progress sensor the
    /// nanoseconds without progress.
    pub value: u64,
    /// The limit it broke, in `unit`; of a progress sensor in nanoseconds.
    pub limit: u64,
}

/// One target in trouble, as it was read just now.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The monitor's monotonic clock.
    pub now: Duration,
    /// Name of the target.
    pub target: &'a str,
    /// The sensors that are exceptional and watched by the healer.
    pub events: &'a [Exceeded],
    /// All sensors.
    pub sensors: &'a SensorView,
    /// The process table.
    pub processes: &'a ProcessView,
    /// The limits in force: those of the sensors unless the monitor's configuration says otherwise.
    pub limits: &'a Limits,
}
