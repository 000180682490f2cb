//! When to call a peer again that could not be reached. Pure.

use std::time::Duration;

/// Longest first pause.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(3);
/// Pause after which a peer is called again when its opinion is wanted at once.
const WANTED: Duration = Duration::from_millis(200);
/// A conversation that lasted so long was a good one: the pauses begin anew with the shortest.
const GOOD: Duration = Duration::from_secs(5);

/// Pauses that double, each by chance between the half and the whole of its length, so that monitors that lost each
/// other at the same moment do not call in step.
#[derive(Debug)]
pub struct Backoff {
    random: u64,
    pause: Duration,
    called: Duration,
    next: Duration,
}

impl Backoff {
    /// Calls at once. `seed` makes the chance.
    #[must_use]
    pub fn new(seed: u64, now: Duration) -> Backoff {
        Backoff { random: seed, pause: FIRST, called: now, next: now }
    }

    /// Time of the next call; sooner if the peer's opinion is `wanted` now. A clock that was set back does not make the
    /// pause longer.
    #[must_use]
    pub fn due(&self, now: Duration, wanted: bool) -> Duration {
        let sooner = if wanted { self.next.min(self.called.saturating_add(WANTED)) } else { self.next };
        sooner.min(now.saturating_add(LONGEST))
    }

    /// A call begins.
    pub fn calls(&mut self, now: Duration) {
        self.called = now;
    }

    /// The call, or the conversation that came of it, is over.
    pub fn ended(&mut self, now: Duration) {
        if now.saturating_sub(self.called) >= GOOD {
            self.pause = FIRST;
        }
        let half = self.pause / 2;
        self.next = now.saturating_add(half).saturating_add(half.mul_f64(self.chance()));
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// A number from 0 to 1, by splitmix64 (Steele, Lea and Flood 2014).
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let mut backoff = Backoff::new(1, at(0));
        assert_eq!(backoff.due(at(0), false), at(0));
        let mut now = at(0);
        for longest in [100, 200, 400, 800, 1600, 3000, 3000] {
            backoff.calls(now);
            backoff.ended(now);
            let pause = backoff.due(now, false) - now;
            assert!((at(longest / 2)..=at(longest)).contains(&pause), "{pause:?} of {longest} ms");
            now += pause;
        }
    }

    #[test]
    fn a_wanted_opinion_is_asked_for_sooner_but_not_in_a_rush() {
        let mut backoff = Backoff::new(1, at(0));
        for _ in 0..6 {
            backoff.calls(at(1000));
            backoff.ended(at(1000));
        }
        assert!(backoff.due(at(1000), false) >= at(2500));
        assert_eq!(backoff.due(at(1000), true), at(1200));
    }

    #[test]
    fn a_conversation_that_lasted_makes_the_pause_short_again() {
        let mut backoff = Backoff::new(1, at(0));
        for _ in 0..6 {
            backoff.ended(at(0));
        }
        backoff.calls(at(10_000));
        backoff.ended(at(15_000));
        assert!(backoff.due(at(15_000), false) <= at(15_100));
    }

    #[test]
    fn two_monitors_do_not_call_in_step() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed, at(0));
            let pause = |_| {
                backoff.ended(at(0));
                backoff.due(at(0), false)
            };
            (0..5).map(pause).collect::<Vec<_>>()
        };
        assert_ne!(pauses(1), pauses(2));
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_the_next_call_is_no_further_than_the_longest_pause(
            seed: u64,
            times in prop::collection::vec(any::<u64>(), 1..30),
            wanted: bool,
        ) {
            let mut backoff = Backoff::new(seed, Duration::ZERO);
            for time in times {
                let now = Duration::from_nanos(time);
                prop_assert!(backoff.due(now, wanted) <= now + LONGEST);
                backoff.calls(now);
                backoff.ended(now);
            }
        }
    }
}
