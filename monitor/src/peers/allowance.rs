//! How much is done for others in a time. Pure.

use std::time::Duration;

/// A bucket that fills at a fixed rate, up to a bound. Work takes out of it, and waits when it is empty.
#[derive(Debug)]
pub struct Allowance {
    /// What is left; below zero by less than one piece of work.
    left: f64,
    /// What it holds at most.
    burst: f64,
    /// What it gains in a second.
    rate: f64,
    since: Duration,
}

impl Allowance {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: f64, burst: f64, now: Duration) -> Allowance {
        Allowance { left: burst, burst, rate, since: now }
    }

    /// How long work that costs so much must wait. A clock that stands still or goes back makes nobody wait longer than
    /// for twice this.
    pub fn charge(&mut self, now: Duration, cost: f64) -> Duration {
        let gained = now.saturating_sub(self.since).as_secs_f64() * self.rate;
        self.since = now;
        self.left = (self.left + gained).clamp(-cost, self.burst) - cost;
        Duration::from_secs_f64((-self.left / self.rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_waits_as_told_gets_no_more_than_the_rate_and_a_burst(
            work in prop::collection::vec((0u32..300, 0u64..50_000), 1..200)
        ) {
            let mut allowance = Allowance::new(1000.0, 500.0, Duration::ZERO);
            let (mut now, mut done) = (Duration::ZERO, 0.0);
            for (cost, pause) in work {
                now += Duration::from_micros(pause);
                now += allowance.charge(now, f64::from(cost));
                done += f64::from(cost);
                prop_assert!(done <= 500.0 + now.as_secs_f64() * 1000.0 + 1e-3, "{done} in {now:?}");
            }
        }

        #[test]
        fn no_clock_makes_anybody_wait_for_ever(times in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut allowance = Allowance::new(1000.0, 500.0, Duration::ZERO);
            for time in times {
                let pause = allowance.charge(Duration::from_nanos(time), 100.0);
                prop_assert!(pause <= Duration::from_millis(201), "{pause:?}");
            }
        }
    }

    #[test]
    fn who_keeps_to_the_rate_never_waits() {
        let mut allowance = Allowance::new(1000.0, 10.0, Duration::ZERO);
        for step in 0..1000 {
            assert_eq!(allowance.charge(Duration::from_millis(step), 1.0), Duration::ZERO);
        }
    }
}
