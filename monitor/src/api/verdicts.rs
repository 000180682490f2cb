//! Verdicts and applications, as the API answers them.

use super::protocol::{ApplicationRow, SensorRow, VerdictRow, VerdictsAnswer};
use crate::sampler::{Status, class_name, unit_name};
use crate::verdict::{Layer, State, Verdict};
use backdoors_sensor_box::{ApplicationView, Class};
use std::time::Duration;

/// What `status` says of the layers.
pub(super) fn verdicts(status: &Status, now: Duration) -> VerdictsAnswer {
    let row = |verdict: &Verdict| VerdictRow {
        layer: verdict.layer,
        subject: verdict.subject.clone(),
        state: verdict.state,
        // What was never judged has no beginning.
        since_ms: if verdict.since.is_zero() { 0 } else { milliseconds(now.saturating_sub(verdict.since)) },
        confidence: verdict.confidence,
        evidence: verdict.evidence.clone(),
    };
    VerdictsAnswer {
        target: status.name.clone(),
        overall: worst(&status.verdicts).map_or(State::Unknown, |verdict| verdict.state),
        layers: status.verdicts.iter().map(row).collect(),
        lateness: status.standing,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The worst verdict in a few words.
pub(super) fn in_short(status: &Status) -> String {
    match worst(&status.verdicts) {
        None => State::Unknown.name().to_owned(),
        Some(Verdict { state: state @ (State::Healthy | State::Unknown), .. }) => state.name().to_owned(),
        Some(Verdict { layer: Layer::Application, subject: Some(name), state, .. }) => {
            format!("{name} {state}")
        }
        Some(Verdict { layer, state, .. }) => format!("{layer} {state}"),
    }
}

fn worst(verdicts: &[Verdict]) -> Option<&Verdict> {
    let of = |state| verdicts.iter().find(|verdict| verdict.state == state);
    of(State::Failed).or_else(|| of(State::Suspect)).or_else(|| of(State::Healthy))
}

/// An application and its sensors.
pub(super) fn application(view: &ApplicationView) -> ApplicationRow {
    let sensors = view.sensors.iter().map(|sensor| SensorRow {
        name: format!("{}/{}", view.name, sensor.name),
        kind: 0,
        instance: 0,
        user_name: None,
        class: class_name(sensor.class).to_owned(),
        unit: unit_name(sensor.unit).to_owned(),
        value: sensor.value,
        limit: sensor.limit,
        exceeded: match (sensor.class, sensor.limit) {
            (Class::Level, Some(limit)) => sensor.value > limit,
            (Class::Floor, Some(limit)) => sensor.value < limit,
            _ => false,
        },
    });
    ApplicationRow {
        name: view.name.clone(),
        pid: view.pid,
        state: view.state.name().to_owned(),
        sensors: sensors.collect(),
    }
}
