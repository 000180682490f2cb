//! How fast memory shrinks.

use backdoors_sensor_box::{SensorKind, SensorView};
use std::time::Duration;

/// What a rate is taken over, at least: the target tells of its memory every tenth of a second.
const WINDOW: Duration = Duration::from_millis(500);
/// Longer ago tells nothing.
const STALE: Duration = Duration::from_secs(10);

/// Available memory, at some time.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Duration,
    available: u64,
}

/// What was seen of it. Once there was time for it `base` is older than `last` by one to two windows.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    base: Option<Look>,
    /// The next base.
    middle: Option<Look>,
    last: Option<Look>,
}

impl Pace {
    pub(super) fn read(&mut self, now: Duration, sensors: &SensorView) {
        let Some(sensor) = sensors.sensor(SensorKind::MEMORY_AVAILABLE, 0) else { return };
        let look = Look { at: now, available: sensor.value };
        // A clock that goes back, and a pause, begin anew.
        let goes_on = |last: Look| now.checked_sub(last.at).is_some_and(|pause| pause < STALE);
        if !self.last.is_some_and(goes_on) {
            *self = Pace { base: Some(look), middle: Some(look), last: Some(look) };
            return;
        }
        self.last = Some(look);
        if self.middle.is_none_or(|middle| now - middle.at >= WINDOW) {
            self.base = self.middle;
            self.middle = Some(look);
        }
    }

    /// How long memory lasts at the rate at which it shrinks; no time if nobody knows.
    pub(super) fn lasts(&self) -> Duration {
        let (Some(base), Some(last)) = (self.base, self.last) else { return Duration::ZERO };
        let over = last.at.saturating_sub(base.at);
        if over < WINDOW {
            return Duration::ZERO;
        }
        if last.available == 0 {
            return Duration::ZERO;
        }
        let lost = base.available.saturating_sub(last.available);
        let seconds = last.available as f64 * over.as_secs_f64() / lost as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}
