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

    /// How much memory is lost a second, bytes, and what was available last; `None` if nobody knows.
    fn loss(&self) -> Option<(f64, u64)> {
        let (base, last) = (self.base?, self.last?);
        let over = last.at.saturating_sub(base.at);
        let lost = base.available.saturating_sub(last.available);
        (over >= WINDOW).then(|| (lost as f64 / over.as_secs_f64(), last.available))
    }

    /// How long memory lasts at the rate at which it shrinks; no time if nobody knows.
    pub(super) fn lasts(&self) -> Duration {
        match self.loss() {
            None | Some((_, 0)) => Duration::ZERO,
            Some((rate, available)) => {
                Duration::try_from_secs_f64(available as f64 / rate).unwrap_or(Duration::MAX)
            }
        }
    }

    /// How fast memory shrinks, bytes a second, if it is gone within this time.
    pub(super) fn rush(&self, within: Duration) -> Option<f64> {
        let (rate, available) = self.loss()?;
        (rate > 0.0 && available as f64 <= rate * within.as_secs_f64()).then_some(rate)
    }
}
