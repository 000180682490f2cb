//! Levels, floors and pressures of applications: which are exceptional (thesis, table 3.1). Their progress is the
//! [`crate::judge`]'s to follow. Pure.

use backdoors_sensor_box::{ApplicationView, Class, Unit};
use std::time::Duration;

/// What a reading of the applications changed. Every event is raised once and cleared once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `application/sensor`.
    pub sensor: String,
    /// Class.
    pub class: Class,
    /// Unit, if known.
    pub unit: Option<Unit>,
    /// The value, or of a pressure sensor what was added.
    pub value: u64,
    /// What became of it.
    pub to: To,
}

/// What became of a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// It is beyond this limit.
    Exceptional(u64),
    /// It no longer is, after this time.
    Usual(Duration),
}

/// Follows the applications of one target.
#[derive(Debug, Default)]
pub struct Levels {
    applications: Vec<Application>,
}

#[derive(Debug)]
struct Application {
    name: String,
    generation: u64,
    tracks: Vec<Track>,
    present: bool,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    /// Of a pressure sensor: what was told already, or was there before the first reading.
    baseline: u64,
    raised: Option<Duration>,
}

impl Levels {
    /// Takes in what was read of all applications, and appends what it changed.
    pub fn feed(&mut self, now: Duration, views: &[ApplicationView], changes: &mut Vec<Change>) {
        self.applications.iter_mut().for_each(|application| application.present = false);
        for view in views {
            let known = self.applications.iter().position(|application| {
                application.name == view.name
                    && application.generation == view.generation
                    && application.tracks.len() == view.sensors.len()
            });
            let index = known.unwrap_or_else(|| {
                self.applications.push(Application::of(view));
                self.applications.len() - 1
            });
            if let Some(application) = self.applications.get_mut(index) {
                application.present = true;
                application.feed(now, view, changes);
            }
        }
        // What an application that is gone had raised ends with it; nothing of it can be exceptional any more.
        self.applications.retain(|application| application.present);
    }
}

impl Application {
    fn of(view: &ApplicationView) -> Application {
        let tracks = view.sensors.iter().map(|sensor| Track { baseline: sensor.value, raised: None });
        Application {
            name: view.name.clone(),
            generation: view.generation,
            tracks: tracks.collect(),
            present: true,
        }
    }

    fn feed(&mut self, now: Duration, view: &ApplicationView, changes: &mut Vec<Change>) {
        for (track, sensor) in self.tracks.iter_mut().zip(&view.sensors) {
            let Some(limit) = sensor.limit else { continue };
            // A counter that went back was started anew.
            track.baseline = track.baseline.min(sensor.value);
            let beyond = match sensor.class {
                Class::Progress => continue,
                Class::Level => (sensor.value > limit).then_some(sensor.value),
                Class::Floor => (sensor.value < limit).then_some(sensor.value),
                Class::Pressure => {
                    let new = sensor.value - track.baseline;
                    (new > limit).then_some(new)
                }
            };
            let (value, to) = match (beyond, track.raised) {
                (Some(value), None) => {
                    track.raised = Some(now);
                    (value, To::Exceptional(limit))
                }
                (None, Some(since)) => {
                    track.raised = None;
                    (sensor.value, To::Usual(now.saturating_sub(since)))
                }
                (Some(_), Some(_)) => {
                    track.baseline = sensor.value;
                    continue;
                }
                (None, None) => continue,
            };
            track.baseline = sensor.value;
            let name = format!("{}/{}", view.name, sensor.name);
            changes.push(Change { sensor: name, class: sensor.class, unit: sensor.unit, value, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::LocalWords;
    use backdoors_sensor_box::application::{
        ApplicationRegion, Attachment, Request, SensorSpec, region_bytes,
    };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// An application with a level, a floor and a pressure sensor of these values.
    fn view(generation: u64, values: [u64; 3]) -> ApplicationView {
        let specs = [
            SensorSpec::level("queue", 10),
            SensorSpec::floor("workers", 2),
            SensorSpec::pressure("errors", 3),
        ];
        let words = LocalWords::zeroed(region_bytes(3, 0));
        let attachment = Attachment { generation, ..Attachment::default() };
        let (sensors, values) = (specs.to_vec(), values.to_vec());
        let asked = Request { name: "web", sensors, values, ..Request::default() };
        ApplicationRegion::lay_out(&words, &asked, &attachment).unwrap();
        ApplicationView::decode(&words.bytes()).unwrap()
    }

    fn feed(levels: &mut Levels, now: Duration, values: [u64; 3]) -> Vec<(String, To)> {
        let mut changes = Vec::new();
        levels.feed(now, &[view(1, values)], &mut changes);
        changes.into_iter().map(|change| (change.sensor, change.to)).collect()
    }

    #[test]
    fn a_level_of_an_application_is_told_once_when_it_is_beyond_its_limit_and_once_when_it_no_longer_is() {
        let mut levels = Levels::default();
        assert_eq!(feed(&mut levels, at(0), [10, 2, 7]), []);
        assert_eq!(feed(&mut levels, at(1), [11, 2, 7]), [("web/queue".to_owned(), To::Exceptional(10))]);
        assert_eq!(feed(&mut levels, at(2), [12, 2, 7]), []);
        assert_eq!(feed(&mut levels, at(5), [3, 2, 7]), [("web/queue".to_owned(), To::Usual(at(4)))]);
    }

    #[test]
    fn floors_and_pressures_of_an_application_are_told_too() {
        let mut levels = Levels::default();
        assert_eq!(feed(&mut levels, at(0), [0, 2, 7]), []);
        assert_eq!(feed(&mut levels, at(1), [0, 1, 7]), [("web/workers".to_owned(), To::Exceptional(2))]);
        assert_eq!(feed(&mut levels, at(2), [0, 1, 11]), [("web/errors".to_owned(), To::Exceptional(3))]);
        assert_eq!(feed(&mut levels, at(3), [0, 1, 11]), [("web/errors".to_owned(), To::Usual(at(1)))]);
    }

    #[test]
    fn an_application_that_attaches_anew_begins_anew() {
        let mut levels = Levels::default();
        let mut changes = Vec::new();
        levels.feed(at(0), &[view(1, [0, 2, 100])], &mut changes);
        levels.feed(at(1), &[view(2, [0, 2, 0])], &mut changes);
        levels.feed(at(2), &[view(2, [0, 2, 3])], &mut changes);
        assert_eq!(changes, []);
    }
}
