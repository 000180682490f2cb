//! How late this monitor itself is. Pure.
//!
//! A monitor that does not get its processor sees stale values and overdue answers, and would accuse the healthy. Lifeguard (Dadgar,
//! Phillips, Currey, 2018, section IV-A, "local health aware probe") keeps a score of signs that a member is itself slow, saturating at
//! S = 8, and multiplies its timeouts by score + 1. Adapted here: the sign is a round that ran later than it was due by more than a
//! tolerance, which needs no messages; one very late round counts as much as the number of doublings by which it was late; and the score
//! falls by one for each stretch of punctual rounds, by time, because rounds may be a millisecond apart or a second.
//!
//! Deadlines are multiplied by [`Lateness::multiplier`]. While the score is at its bound the monitor accuses nobody.

pub use backdoors_monitor_api::Standing;
use std::time::Duration;

/// What a monitor tolerates of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LatenessSettings {
    /// Delay of a round that is never late. Longer than what a timer of the system is usually late by.
    pub tolerance: Duration,
    /// The bound of the score. Higher widens deadlines further under overload, and delays detection as much.
    pub bound: u32,
    /// Stretch of punctual rounds that lowers the score by one. Shorter trusts a monitor sooner after a pause.
    pub recovery: Duration,
}

impl Default for LatenessSettings {
    fn default() -> LatenessSettings {
        LatenessSettings {
            tolerance: Duration::from_millis(5),
            bound: 8,
            recovery: Duration::from_millis(500),
        }
    }
}

/// Keeps the score.
#[derive(Clone, Debug)]
pub struct Lateness {
    settings: LatenessSettings,
    tolerance: Duration,
    score: u32,
    punctual_since: Option<Duration>,
    late_share: f64,
    worst: f64,
    late_rounds: u64,
    last: Duration,
}

/// A delay of this part of the tightest deadline is tolerated.
const DEADLINE_PARTS: u32 = 20;

/// Rounds over which the share of late ones is told.
const ROUNDS: f64 = 256.0;

impl Lateness {
    /// A monitor that was never late.
    #[must_use]
    pub fn new(settings: LatenessSettings) -> Lateness {
        Lateness {
            tolerance: settings.tolerance,
            settings,
            score: 0,
            punctual_since: None,
            late_share: 0.0,
            worst: 0.0,
            late_rounds: 0,
            last: Duration::ZERO,
        }
    }

    /// Tolerates a twentieth of the tightest deadline, but not less than the settings say: what is late by less than that
    /// hardly moves the moment at which the deadline is found missed.
    pub fn judge_by(&mut self, deadline: Duration) {
        self.tolerance = self.settings.tolerance.max(deadline / DEADLINE_PARTS);
    }

    /// Takes in that a round due at `due` ran at `ran`, both on the monitor's clock. Returns by how much it was late, if it was:
    /// that long nobody could be heard.
    pub fn round(&mut self, due: Duration, ran: Duration) -> Option<Duration> {
        if ran < self.last {
            // The clock went back: no telling how late anything is. Begin a new stretch.
            self.punctual_since = None;
        }
        self.last = ran;
        let late = ran.saturating_sub(due);
        let is_late = late > self.tolerance;
        self.late_share += (f64::from(u8::from(is_late)) - self.late_share) / ROUNDS;
        self.worst = (self.worst * (1.0 - 1.0 / ROUNDS)).max(late.as_nanos() as f64);
        if !is_late {
            self.recover(ran);
            return None;
        }
        self.late_rounds += 1;
        self.punctual_since = None;
        let times = late.as_nanos() / self.tolerance.as_nanos().max(1);
        let doublings = times.max(1).ilog2();
        self.score = self.score.saturating_add(doublings.max(1)).min(self.settings.bound);
        Some(late)
    }

    fn recover(&mut self, now: Duration) {
        let since = *self.punctual_since.get_or_insert(now);
        if self.score > 0 && now.saturating_sub(since) >= self.settings.recovery {
            self.score -= 1;
            self.punctual_since = Some(now);
        }
    }

    /// What deadlines are multiplied by.
    #[must_use]
    pub fn multiplier(&self) -> f64 {
        f64::from(self.score) + 1.0
    }

    /// What is published.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            score: self.score,
            multiplier: self.multiplier(),
            overloaded: self.score >= self.settings.bound,
            late_share: self.late_share,
            worst_ns: self.worst as u64,
            late_rounds: self.late_rounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn lateness() -> Lateness {
        Lateness::new(LatenessSettings::default())
    }

    #[test]
    fn what_hardly_matters_to_the_tightest_deadline_is_tolerated() {
        let mut lateness = lateness();
        lateness.judge_by(at(1000));
        assert_eq!(lateness.round(at(100), at(150)), None);
        assert!(lateness.round(at(200), at(251)).is_some());
        lateness.judge_by(at(10));
        assert!(lateness.round(at(300), at(306)).is_some());
    }

    #[test]
    fn a_punctual_monitor_widens_nothing() {
        let mut lateness = lateness();
        for round in 0..1000 {
            assert_eq!(lateness.round(at(round * 10), at(round * 10 + 4)), None);
        }
        assert_eq!(lateness.multiplier(), 1.0);
        assert_eq!(lateness.standing().late_rounds, 0);
        assert_eq!(lateness.standing().worst_ns, 4_000_000);
    }

    #[test]
    fn each_late_round_widens_deadlines_up_to_the_bound() {
        let mut lateness = lateness();
        for round in 0..20u32 {
            assert_eq!(
                lateness.round(at(0), at(6 + u64::from(round) % 3)),
                Some(at(6 + u64::from(round) % 3))
            );
            assert_eq!(lateness.standing().score, (round + 1).min(8));
        }
        assert!(lateness.standing().overloaded);
        assert_eq!(lateness.multiplier(), 9.0);
    }

    #[test]
    fn one_long_pause_counts_as_much_as_its_length_in_doublings() {
        let mut lateness = lateness();
        lateness.round(at(0), at(90));
        assert_eq!(lateness.standing().score, 4);
        lateness.round(at(100), at(10_100));
        assert!(lateness.standing().overloaded);
    }

    #[test]
    fn trust_comes_back_step_by_step_with_punctual_rounds() {
        let mut lateness = lateness();
        lateness.round(at(0), at(10_000));
        assert_eq!(lateness.standing().score, 8);
        let mut now = 10_000;
        let mut scores = Vec::new();
        while lateness.standing().score > 0 {
            lateness.round(at(now), at(now));
            scores.push(lateness.standing().score);
            now += 10;
            assert!(now < 20_000, "it must recover");
        }
        assert!(scores.windows(2).all(|pair| pair[1] + 1 >= pair[0]));
        assert!(now >= 14_000, "one step in 500 ms, not sooner: {now}");
        assert!(lateness.standing().late_share > 0.0);
    }

    #[test]
    fn a_clock_that_goes_back_is_not_late() {
        let mut lateness = lateness();
        lateness.round(at(10_000), at(10_000));
        assert_eq!(lateness.round(at(10_010), at(5)), None);
        assert_eq!(lateness.multiplier(), 1.0);
    }

    proptest! {
        #[test]
        fn the_multiplier_stays_between_one_and_the_bound(rounds in prop::collection::vec((0u64..10_000, 0u64..10_000), 0..200)) {
            let mut lateness = lateness();
            for (due, ran) in rounds {
                lateness.round(at(due), at(ran));
                prop_assert!((1.0..=9.0).contains(&lateness.multiplier()));
                prop_assert!((0.0..=1.0).contains(&lateness.standing().late_share));
            }
        }
    }
}
