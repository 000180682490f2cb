//! Tells which sensors are exceptional (thesis, table 3.1). Pure: it is fed views and times, and returns events.

use crate::pace::{Nearest, Nearness};
use backdoors_healers::{Exceeded, Limits};
use backdoors_sensor_box::{Class, SensorKind, SensorReading, SensorView};
use std::collections::HashMap;
use std::time::Duration;

/// What a sample changed. Every event is raised once and cleared once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A sensor became exceptional.
    Raised(Exceeded),
    /// A sensor is no longer exceptional, or is no longer there.
    Cleared {
        /// Kind of the sensor.
        kind: SensorKind,
        /// CPU or user, by kind.
        instance: u32,
        /// The value it has now, or had when it was last seen.
        value: u64,
        /// How long it was exceptional.
        lasted: Duration,
    },
    /// Samples were so far apart that nothing can be said about progress in between. The monitor was late or the
    /// path was gone: no reason to accuse the target.
    Late {
        /// Time between the two samples.
        gap: Duration,
    },
}

/// Compares each view of one target's sensors with those before it and with the limits.
#[derive(Debug)]
pub struct Detector {
    limits: Limits,
    late_after: Duration,
    /// Limits of progress sensors are stretched by this; see [`Detector::widen`].
    width: f64,
    last_sample: Option<Duration>,
    tracks: Vec<Track>,
    outlook: Outlook,
}

/// What the last view says about when to look again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// When the first of the progress sensors that ever moved misses its deadline, unless it moves.
    pub deadline: Option<Duration>,
    /// The level, floor or pressure sensor nearest its limit.
    pub nearest: Option<Nearest>,
}

/// When a reading was made: between these two moments of the monitor's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// It was asked for: what it shows was there then or later.
    pub started: Duration,
    /// It was there: what it shows was there then or earlier.
    pub finished: Duration,
}

/// A reading that took no time.
impl From<Duration> for Taken {
    fn from(now: Duration) -> Taken {
        Taken { started: now, finished: now }
    }
}

/// One sensor over time.
#[derive(Clone, Copy, Debug)]
struct Track {
    kind: SensorKind,
    instance: u32,
    value: u64,
    /// When the value was first seen as it is.
    changed: Duration,
    /// It was seen to change at least once.
    moved: bool,
    /// Of a pressure sensor: events up to here were told already, or happened before the first sample.
    baseline: u64,
    raised: Option<(Duration, Exceeded)>,
}

impl Detector {
    /// A detector that puts `limits` in place of those of the sensors. If samples are more than `late_after`
    /// apart, the time in between does not count as time without progress.
    #[must_use]
    pub fn new(limits: Limits, late_after: Duration) -> Detector {
        Detector {
            limits,
            late_after,
            width: 1.0,
            last_sample: None,
            tracks: Vec::new(),
            outlook: Outlook::default(),
        }
    }

    /// The limits that override those of the sensors.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Puts other limits in place; what is exceptional by them is told at the next view.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The sensors that are exceptional now.
    pub fn exceeded(&self) -> impl Iterator<Item = &Exceeded> {
        self.tracks.iter().filter_map(|track| track.raised.as_ref().map(|(_, exceeded)| exceeded))
    }

    /// What the last view says about when to look again.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// Stretches the limits of progress sensors by `width`, at least 1: a monitor that is late itself accuses later.
    pub fn widen(&mut self, width: f64) {
        self.width = width.max(1.0);
    }

    /// Takes in a view, and appends what it changed to `events`.
    ///
    /// A value counts as still from the end of the first reading that showed it to the beginning of the last one:
    /// it was there for longer, and a slow path adds nothing.
    pub fn feed(&mut self, taken: impl Into<Taken>, view: &SensorView, events: &mut Vec<Event>) {
        let taken = taken.into();
        if let Some(last) = self.last_sample.replace(taken.started) {
            let gap = taken.started.saturating_sub(last);
            if gap > self.late_after {
                events.push(Event::Late { gap });
                // What is exceptional stays so until it moves: a gap is no progress either.
                for track in self.tracks.iter_mut().filter(|track| track.raised.is_none()) {
                    track.changed = taken.finished;
                }
            }
        }
        let same_sensors = self.tracks.len() == view.sensors.len()
            && self.tracks.iter().zip(&view.sensors).all(|(track, reading)| track.is_of(reading));
        if !same_sensors {
            self.rearrange(taken.finished, view, events);
        }
        let mut outlook = Outlook::default();
        let mut nearness = Nearness::default();
        for (track, reading) in self.tracks.iter_mut().zip(&view.sensors) {
            let limit = track.feed(taken, reading, &self.limits, self.width, events);
            if let Some(limit) = limit {
                track.look_ahead(reading, limit, &mut outlook, &mut nearness);
            }
        }
        self.outlook = Outlook { nearest: nearness.nearest(), ..outlook };
    }

    /// Forgets all sensors, clearing their events: the target made them anew.
    pub fn forget(&mut self, now: Duration, events: &mut Vec<Event>) {
        events.extend(self.tracks.drain(..).filter_map(|track| track.cleared(now)));
        self.last_sample = None;
    }

    /// Brings the tracks into the order of the view; sensors come and go with users.
    fn rearrange(&mut self, now: Duration, view: &SensorView, events: &mut Vec<Event>) {
        let mut old: HashMap<(SensorKind, u32), Track> = HashMap::new();
        for track in self.tracks.drain(..) {
            // A damaged box may hold an id twice.
            let twin = old.insert((track.kind, track.instance), track);
            events.extend(twin.and_then(|twin| twin.cleared(now)));
        }
        self.tracks.extend(view.sensors.iter().map(|reading| {
            old.remove(&(reading.kind, reading.instance)).unwrap_or_else(|| Track::new(now, reading))
        }));
        events.extend(old.into_values().filter_map(|track| track.cleared(now)));
    }
}

impl Track {
    fn new(now: Duration, reading: &SensorReading) -> Track {
        Track {
            kind: reading.kind,
            instance: reading.instance,
            value: reading.value,
            changed: now,
            moved: false,
            baseline: reading.value,
            raised: None,
        }
    }

    fn is_of(&self, reading: &SensorReading) -> bool {
        self.kind == reading.kind && self.instance == reading.instance
    }

    /// Returns the limit in force.
    fn feed(
        &mut self,
        taken: Taken,
        reading: &SensorReading,
        limits: &Limits,
        width: f64,
        events: &mut Vec<Event>,
    ) -> Option<u64> {
        let now = taken.finished;
        if reading.value != self.value {
            self.changed = now;
            self.moved = true;
            self.value = reading.value;
        }
        // A counter that went back was started anew.
        self.baseline = self.baseline.min(reading.value);
        let announced = limits.of(reading.kind, reading.instance, reading.limit);
        let limit = match reading.class {
            Class::Progress => announced.map(|limit| (limit as f64 * width) as u64),
            Class::Level | Class::Floor | Class::Pressure => announced,
        };
        let broken = limit.and_then(|limit| Some((self.broken(taken.started, reading, limit)?, limit)));
        match (broken, &mut self.raised) {
            (Some((value, limit)), Some((_, exceeded))) => {
                exceeded.limit = limit;
                if reading.class == Class::Pressure {
                    // More came: they belong to the event that is already told.
                    exceeded.value = exceeded.value.saturating_add(value);
                    self.baseline = reading.value;
                } else {
                    exceeded.value = value;
                }
            }
            (Some((value, limit)), None) => {
                let exceeded = Exceeded {
                    kind: reading.kind,
                    instance: reading.instance,
                    class: reading.class,
                    unit: reading.unit,
                    value,
                    limit,
                };
                self.baseline = reading.value;
                self.raised = Some((now, exceeded));
                events.push(Event::Raised(exceeded));
            }
            (None, Some(_)) => {
                events.extend(self.cleared(now));
                self.raised = None;
            }
            (None, None) => {}
        }
        limit
    }

    fn look_ahead(
        &self,
        reading: &SensorReading,
        limit: u64,
        outlook: &mut Outlook,
        nearness: &mut Nearness,
    ) {
        if reading.class != Class::Progress {
            nearness.add(reading, limit, reading.value.saturating_sub(self.baseline));
        } else if self.moved && self.raised.is_none() {
            // What never moved has no rhythm to watch; it is told when its limit is over all the same.
            let deadline = self.changed.saturating_add(Duration::from_nanos(limit));
            outlook.deadline = Some(outlook.deadline.map_or(deadline, |other| other.min(deadline)));
        }
    }

    /// The number that breaks the limit, as [`Exceeded::value`] tells it.
    fn broken(&self, now: Duration, reading: &SensorReading, limit: u64) -> Option<u64> {
        match reading.class {
            Class::Progress => {
                let still = u64::try_from(now.saturating_sub(self.changed).as_nanos()).unwrap_or(u64::MAX);
                (still > 0 && still >= limit).then_some(still)
            }
            Class::Level => (reading.value > limit).then_some(reading.value),
            Class::Floor => (reading.value < limit).then_some(reading.value),
            Class::Pressure => {
                let new = reading.value.saturating_sub(self.baseline);
                (new > limit).then_some(new)
            }
        }
    }

    fn cleared(&self, now: Duration) -> Option<Event> {
        let (since, _) = self.raised?;
        Some(Event::Cleared {
            kind: self.kind,
            instance: self.instance,
            value: self.value,
            lasted: now.saturating_sub(since),
        })
    }
}

#[cfg(test)]
mod tests;
