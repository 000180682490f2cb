//! From what happened to the payload of a frame.

use super::applications;
use super::moment::{failure_number, kind};
use super::varint::{difference, put, put_differences, put_text};
use crate::clock::nanoseconds;
use crate::judge::{Failure, Terms};
use backdoors_sensor_box::{ApplicationView, SensorReading, SensorView};
use std::time::Duration;

/// Readings from one keyframe to the next, so that damage costs no more.
const READINGS_PER_KEYFRAME: u32 = 64;

/// Makes payloads. It keeps what differences are made to; its memory is reused.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    payload: Vec<u8>,
    /// The last reading that was encoded.
    last: SensorView,
    /// Readings since the last keyframe; `None` if the next one must be a keyframe.
    since_keyframe: Option<u32>,
    last_applications: Vec<ApplicationView>,
    applications_since_keyframe: Option<u32>,
    missed: String,
}

impl Encoder {
    /// The payload of the last frame.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Forgets what was encoded: what comes must be understood by itself.
    pub fn forget(&mut self) {
        self.since_keyframe = None;
        self.applications_since_keyframe = None;
        self.missed.clear();
    }

    fn begin(&mut self, after: u64) -> &mut Vec<u8> {
        self.payload.clear();
        put(&mut self.payload, after);
        &mut self.payload
    }

    /// A reading that took `took` and was there `after` nanoseconds.
    pub fn reading(&mut self, after: u64, took: u64, view: &SensorView) -> u8 {
        put(self.begin(after), took);
        match &mut self.since_keyframe {
            Some(readings) if *readings < READINGS_PER_KEYFRAME && same_shape(&self.last, view) => {
                *readings += 1;
                differences(&mut self.payload, &self.last, view);
                self.last.clock = view.clock;
                for (last, reading) in self.last.sensors.iter_mut().zip(&view.sensors) {
                    last.value = reading.value;
                }
                kind::READING
            }
            _ => {
                whole(&mut self.payload, view);
                self.since_keyframe = Some(0);
                // Not `clone_from` of the view: that would drop the memory of the list.
                let mut sensors = std::mem::take(&mut self.last.sensors);
                sensors.clone_from(&view.sensors);
                let SensorView { generation, capabilities, clock, tick_period, cpus, unknown, sensors: _ } =
                    *view;
                self.last =
                    SensorView { generation, capabilities, clock, tick_period, cpus, unknown, sensors };
                kind::KEYFRAME
            }
        }
    }

    /// What was read of the applications.
    pub fn applications(&mut self, after: u64, took: u64, views: &[ApplicationView]) -> u8 {
        put(self.begin(after), took);
        match &mut self.applications_since_keyframe {
            Some(readings)
                if *readings < READINGS_PER_KEYFRAME
                    && applications::same_shape(&self.last_applications, views) =>
            {
                *readings += 1;
                applications::put_values(&mut self.payload, &self.last_applications, views);
                applications::copy_values(&mut self.last_applications, views);
                kind::APPLICATION_VALUES
            }
            _ => {
                applications::put_whole(&mut self.payload, views);
                self.applications_since_keyframe = Some(0);
                self.last_applications = views.to_vec();
                kind::APPLICATIONS
            }
        }
    }

    pub fn missed(&mut self, after: u64, took: u64, how: Failure, reason: &str) -> u8 {
        let payload = self.begin(after);
        put(payload, took);
        payload.push(failure_number(how));
        if self.missed == reason && !reason.is_empty() {
            return kind::MISSED_AGAIN;
        }
        self.missed.clear();
        self.missed.push_str(reason);
        put_text(&mut self.payload, reason);
        kind::MISSED
    }

    pub fn probe(&mut self, after: u64, outcome: Result<u64, (Failure, &str)>) -> u8 {
        let payload = self.begin(after);
        match outcome {
            Ok(round_trip) => {
                put(payload, round_trip);
                kind::ANSWERED
            }
            Err((how, reason)) => {
                payload.push(failure_number(how));
                put_text(payload, reason);
                kind::NOT_ANSWERED
            }
        }
    }

    pub fn terms(&mut self, after: u64, terms: &Terms) -> u8 {
        let payload = self.begin(after);
        let Terms { period, wait, chances, loss, standing } = terms;
        for number in [
            nanoseconds(*period),
            nanoseconds(*wait),
            u64::from(*chances),
            loss.to_bits(),
            u64::from(standing.score),
            standing.multiplier.to_bits(),
            u64::from(standing.overloaded),
            standing.late_share.to_bits(),
            standing.worst_ns,
            standing.late_rounds,
        ] {
            put(payload, number);
        }
        kind::TERMS
    }

    pub fn period(&mut self, after: u64, period: Duration, why: &str) -> u8 {
        let payload = self.begin(after);
        put(payload, nanoseconds(period));
        put_text(payload, why);
        kind::PERIOD
    }

    /// A frame of a kind whose payload is text.
    pub fn text(&mut self, after: u64, kind: u8, text: &str) -> u8 {
        put_text(self.begin(after), text);
        kind
    }
}

/// Whether `view` can be told as differences to `last`.
fn same_shape(last: &SensorView, view: &SensorView) -> bool {
    let same = |last: &SensorReading, reading: &SensorReading| {
        (last.kind, last.instance, last.class, last.unit, last.limit)
            == (reading.kind, reading.instance, reading.class, reading.unit, reading.limit)
    };
    (last.generation, last.capabilities, last.tick_period, last.cpus, last.unknown)
        == (view.generation, view.capabilities, view.tick_period, view.cpus, view.unknown)
        && last.sensors.len() == view.sensors.len()
        && last.sensors.iter().zip(&view.sensors).all(|(last, reading)| same(last, reading))
}

/// The clock, then every value.
fn differences(payload: &mut Vec<u8>, last: &SensorView, view: &SensorView) {
    put(payload, difference(last.clock, view.clock));
    let values = last.sensors.iter().zip(&view.sensors).map(|(last, reading)| (last.value, reading.value));
    put_differences(payload, values);
}

fn whole(payload: &mut Vec<u8>, view: &SensorView) {
    for number in [
        view.generation,
        view.capabilities,
        view.clock,
        view.tick_period,
        u64::from(view.cpus),
        view.unknown as u64,
        view.sensors.len() as u64,
    ] {
        put(payload, number);
    }
    for reading in &view.sensors {
        put(payload, u64::from(reading.kind.0));
        put(payload, u64::from(reading.instance));
        payload.push(reading.class as u8 | reading.unit.map_or(0, |unit| unit as u8) << 4);
        // No limit is the largest number, which wraps to 0.
        put(payload, reading.limit.map_or(0, |limit| limit.wrapping_add(1)));
        put(payload, reading.value);
    }
}
