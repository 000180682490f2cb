//! Applications, by the progress sensors they set themselves.

use super::still::Still;
use backdoors_sensor_box::{ApplicationSensor, ApplicationState, ApplicationView, Class};
use std::time::Duration;

/// Shortest deadline that is taken seriously.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Clone, Debug)]
pub(super) struct Application {
    pub name: String,
    pub state: ApplicationState,
    pub sensors: Vec<Progress>,
    generation: u64,
    present: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub name: String,
    pub still: Still,
    pub limit: Duration,
}

/// What the sensors say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standstill {
    /// None was seen to move yet.
    Unseen,
    /// Every sensor moves within its limit.
    None,
    /// This sensor is over its limit as it is, but not as the monitor's lateness widens it.
    Held,
    /// This sensor stood still for too long.
    Frozen(usize),
}

impl Application {
    fn of(view: &ApplicationView, now: Duration) -> Application {
        let sensors = judged(view).filter_map(|sensor| {
            let limit = Duration::from_nanos(sensor.limit?);
            Some(Progress { name: sensor.name.clone(), still: Still::new(sensor.value, now), limit })
        });
        Application {
            name: view.name.clone(),
            state: view.state,
            sensors: sensors.collect(),
            generation: view.generation,
            present: true,
        }
    }

    /// Whether it was seen to run after `since`.
    pub fn ran(&self, since: Duration) -> bool {
        self.state == ApplicationState::Attached
            && self.sensors.iter().any(|sensor| sensor.still.moved() && sensor.still.changed() > since)
    }

    /// Whether it was seen to run, and no limit has run out since.
    pub fn gets_on(&self, asked: Duration) -> bool {
        self.state == ApplicationState::Attached
            && self
                .sensors
                .iter()
                .any(|sensor| sensor.still.moved() && sensor.still.still(asked) < sensor.limit)
    }

    /// Whether it ran after `since` and runs still.
    pub fn runs(&self, asked: Duration, since: Duration) -> bool {
        self.state == ApplicationState::Attached
            && self.sensors.iter().any(|sensor| sensor.still.moves(asked, since))
    }

    pub fn standstill(&self, asked: Duration, widened: impl Fn(Duration) -> Duration) -> Standstill {
        let mut found = Standstill::None;
        for (index, sensor) in self.sensors.iter().enumerate() {
            let still = sensor.still.still(asked);
            if still >= widened(sensor.limit) {
                return Standstill::Frozen(index);
            }
            if still >= sensor.limit {
                found = Standstill::Held;
            } else if !sensor.still.moved() && found == Standstill::None {
                found = Standstill::Unseen;
            }
        }
        if self.sensors.is_empty() { Standstill::Unseen } else { found }
    }
}

/// The shortest of the usual intervals of those sensors in the list that what was read of all applications shows to have moved.
pub(super) fn moved(list: &[Application], views: &[ApplicationView]) -> Option<Duration> {
    let moved = views.iter().enumerate().flat_map(|(place, view)| {
        let is_it = |known: &&Application| known.name == view.name && known.generation == view.generation;
        let known = list.get(place).filter(is_it).or_else(|| list.iter().find(is_it));
        let sensors = known.map_or(&[][..], |known| &known.sensors);
        sensors.iter().zip(judged(view)).filter(|(known, sensor)| known.still.value() != sensor.value)
    });
    moved.filter_map(|(known, _)| known.still.beat()).min()
}

/// The sensors that have a deadline.
fn judged(view: &ApplicationView) -> impl Iterator<Item = &ApplicationSensor> + Clone {
    view.sensors.iter().filter(|sensor| {
        sensor.class == Class::Progress
            && sensor.limit.is_some_and(|limit| Duration::from_nanos(limit) >= SHORTEST)
    })
}

/// Brings the list up to date with what was read of all applications. Names that are no longer there are removed; the order of the others
/// stays. Returns whether applications came or went.
pub(super) fn take_in(list: &mut Vec<Application>, views: &[ApplicationView], now: Duration) -> bool {
    list.iter_mut().for_each(|application| application.present = false);
    let mut changed = false;
    for (place, view) in views.iter().enumerate() {
        let is_it = |application: &Application| application.name == view.name;
        let index =
            if list.get(place).is_some_and(is_it) { Some(place) } else { list.iter().position(is_it) };
        let Some(application) = index.map(|index| &mut list[index]) else {
            list.push(Application::of(view, now));
            changed = true;
            continue;
        };
        if application.generation != view.generation {
            *application = Application::of(view, now);
            continue;
        }
        application.present = true;
        application.state = view.state;
        let progress = judged(view);
        let mut same = true;
        let mut seen = 0;
        for (known, sensor) in application.sensors.iter_mut().zip(progress.clone()) {
            same &= known.name == sensor.name;
            seen += 1;
            known.limit = Duration::from_nanos(sensor.limit.unwrap_or(u64::MAX));
            known.still.see(sensor.value, now);
        }
        // The same generation with other sensors is damage; begin anew with what is there.
        if !same || seen != application.sensors.len() || progress.count() != seen {
            *application = Application::of(view, now);
        }
    }
    let before = list.len();
    list.retain(|application| application.present);
    changed || list.len() != before
}
