//! The sensors of the targets: a family for each line of the catalogue.

use super::page::Page;
use crate::sampler::Status;
use backdoors_sensor_box::{CATALOGUE, Class, Instance, SensorDescription, SensorReading, Unit};
use prometheus_client::registry;
use std::fmt;

/// Most sensors of one kind of one target that have series: those of its first CPUs or users.
pub(super) const MOST_INSTANCES: usize = 64;

pub(super) fn tell(page: &mut Page<'_>, statuses: &[Status]) -> fmt::Result {
    for line in CATALOGUE {
        let (name, unit) = named(line);
        let samples = of_kind(statuses, line)
            .map(|(status, reading)| (labels(line, status, reading), value(line, reading.value)));
        match line.class {
            Class::Progress | Class::Pressure => page.counter(&name, line.meaning, unit, samples)?,
            Class::Level | Class::Floor => page.gauge(&name, line.meaning, unit, samples)?,
        }
    }
    let exceeded =
        statuses.iter().map(|status| ([("target", status.name.as_str())], status.exceeded.len() as f64));
    page.gauge(
        "backdoors_target_sensors_exceeded",
        "Sensors of the target that are beyond their limits.",
        None,
        exceeded,
    )?;
    let left_out =
        statuses.iter().map(|status| ([("target", status.name.as_str())], left_out(status) as f64));
    page.gauge(
        "backdoors_target_sensors_left_out",
        "Sensors of the target that have no series here, because it has too many of a kind.",
        None,
        left_out,
    )
}

fn of_kind<'a>(
    statuses: &'a [Status],
    line: &'a SensorDescription,
) -> impl Iterator<Item = (&'a Status, &'a SensorReading)> {
    let of_target = move |status: &'a Status| {
        let own = status.view.sensors.iter().filter(move |reading| reading.kind == line.kind);
        own.take(MOST_INSTANCES).map(move |reading| (status, reading))
    };
    statuses.iter().flat_map(of_target)
}

fn left_out(status: &Status) -> usize {
    let of = |line: &SensorDescription| {
        status.view.sensors.iter().filter(|reading| reading.kind == line.kind).count()
    };
    CATALOGUE.iter().map(|line| of(line).saturating_sub(MOST_INSTANCES)).sum()
}

fn named(line: &SensorDescription) -> (String, Option<registry::Unit>) {
    let unit = match line.unit {
        Unit::Count => None,
        Unit::PerSecond => Some(registry::Unit::Other("per_second".to_owned())),
        Unit::Bytes => Some(registry::Unit::Bytes),
        Unit::Nanoseconds => Some(registry::Unit::Seconds),
    };
    (format!("backdoors_target_{}", line.name.replace('.', "_")), unit)
}

fn value(line: &SensorDescription, value: u64) -> f64 {
    if line.unit == Unit::Nanoseconds { value as f64 / 1e9 } else { value as f64 }
}

fn labels(line: &SensorDescription, status: &Status, reading: &SensorReading) -> Vec<(&'static str, String)> {
    let mut labels = vec![("target", status.name.clone())];
    labels.extend(match line.instance {
        Instance::Machine => None,
        Instance::Cpu => Some(("cpu", reading.instance.to_string())),
        Instance::User => Some(("user", reading.instance.to_string())),
    });
    labels
}
