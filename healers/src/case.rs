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
    /// The applications that are said to have failed.
    pub stuck: &'a [StuckApplication],
}

/// An application that is said to have failed: it stands still or died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckApplication {
    /// Its name.
    pub name: String,
    /// The process that attached, 0 if it lies outside the scope of the process table. The application can write this.
    pub pid: u32,
    /// When it attached, nanoseconds of the target's monotonic clock. The application can write this, too.
    pub attached_at: u64,
    /// It ended without saying that it leaves.
    pub died: bool,
    /// Its progress sensors that stand still for longer than they may.
    pub frozen: Vec<FrozenSensor>,
}

/// A progress sensor that stands still for longer than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrozenSensor {
    /// Its name.
    pub name: String,
    /// How long it certainly stood still.
    pub still: Duration,
    /// How long it may.
    pub limit: Duration,
}
