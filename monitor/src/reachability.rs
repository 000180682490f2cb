//! Whether a target's memory can be read. Pure.

use std::time::Duration;

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Read for the first time.
    Connected,
    /// Not readable for so long that it is told.
    Lost {
        /// Time since the last good reading, or since the first attempt.
        silence: Duration,
    },
    /// Readable again after it had been told lost.
    Recovered {
        /// Time since the last good reading before.
        silence: Duration,
    },
}

/// Follows the readings of one target.
#[derive(Debug)]
pub struct Reachability {
    patience: Duration,
    last_good: Option<Duration>,
    first_attempt: Option<Duration>,
    lost: bool,
}

impl Reachability {
    /// Tells a target lost when nothing could be read for `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Reachability {
        Reachability { patience, last_good: None, first_attempt: None, lost: false }
    }

    /// Whether the target is told lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Time of the last good reading.
    #[must_use]
    pub fn last_good(&self) -> Option<Duration> {
        self.last_good
    }

    /// Takes in a good reading.
    pub fn good(&mut self, now: Duration) -> Option<Change> {
        let before = self.last_good.replace(now);
        let since = before.or(self.first_attempt).unwrap_or(now);
        match (std::mem::take(&mut self.lost), before) {
            (true, Some(_)) => Some(Change::Recovered { silence: now.saturating_sub(since) }),
            (_, None) => Some(Change::Connected),
            (false, Some(_)) => None,
        }
    }

    /// Takes in a failed attempt.
    pub fn bad(&mut self, now: Duration) -> Option<Change> {
        let first = *self.first_attempt.get_or_insert(now);
        let silence = now.saturating_sub(self.last_good.unwrap_or(first));
        if self.lost || silence < self.patience {
            return None;
        }
        self.lost = true;
        Some(Change::Lost { silence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_target_is_told_lost_once_and_recovered_once() {
        let mut reachability = Reachability::new(at(300));
        assert_eq!(reachability.good(at(0)), Some(Change::Connected));
        assert_eq!(reachability.good(at(100)), None);
        assert_eq!(reachability.bad(at(399)), None);
        assert_eq!(reachability.bad(at(400)), Some(Change::Lost { silence: at(300) }));
        assert_eq!(reachability.bad(at(500)), None);
        assert_eq!(reachability.good(at(1100)), Some(Change::Recovered { silence: at(1000) }));
        assert_eq!(reachability.good(at(1200)), None);
    }

    #[test]
    fn a_short_silence_is_not_told() {
        let mut reachability = Reachability::new(at(300));
        reachability.good(at(0));
        assert_eq!(reachability.bad(at(200)), None);
        assert_eq!(reachability.good(at(250)), None);
    }

    #[test]
    fn a_target_that_never_answered_is_told_lost_and_then_connected() {
        let mut reachability = Reachability::new(at(300));
        assert_eq!(reachability.bad(at(1000)), None);
        assert_eq!(reachability.bad(at(1300)), Some(Change::Lost { silence: at(300) }));
        assert_eq!(reachability.good(at(1400)), Some(Change::Connected));
    }
}
