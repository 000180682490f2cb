//! Time, as the shell around the state machines reads it.

pub use backdoors_sensor_box::date::rfc3339;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A clock that can be replaced by one that tests turn by hand.
pub trait Clock: Send {
    /// Monotonic time, `CLOCK_MONOTONIC`.
    fn monotonic(&self) -> Duration;
    /// Time since 1970 UTC.
    fn wall(&self) -> Duration;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        read(ClockId::Monotonic)
    }

    fn wall(&self) -> Duration {
        read(ClockId::Realtime)
    }
}

fn read(clock: ClockId) -> Duration {
    // Neither clock is before its origin on a machine that runs today.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// Nanoseconds; times beyond the year 2554 stop there.
#[must_use]
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_clock_moves_forward() {
        let before = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= before);
        assert!(SystemClock.wall() > Duration::from_secs(1_700_000_000));
    }
}
