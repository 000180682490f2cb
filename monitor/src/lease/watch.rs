//! How long something was watched.

use std::time::Duration;

/// Time during which something stayed as it is, as far as it was looked at. A long time without a look counts only up
/// to a bound: a monitor that was paused, or whose clock jumped ahead, has seen nothing of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    seen: Duration,
    counted_to: Duration,
}

impl Watch {
    /// A watch that begins when the first look was answered, at `now`.
    pub(super) fn begun(now: Duration) -> Watch {
        Watch { seen: Duration::ZERO, counted_to: now }
    }

    /// Takes in that it was still the same when a look was asked for, at `asked_at`.
    pub(super) fn look(&mut self, asked_at: Duration, most: Duration) {
        self.seen = self.seen.saturating_add(asked_at.saturating_sub(self.counted_to).min(most));
        self.counted_to = self.counted_to.max(asked_at);
    }

    /// For how long.
    pub(super) fn seen(&self) -> Duration {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_clock_counts_no_more_than_one_gap() {
        let second = Duration::from_secs;
        let mut watch = Watch::begun(second(10));
        watch.look(second(11), second(2));
        assert_eq!(watch.seen(), second(1));
        watch.look(second(4000), second(2));
        assert_eq!(watch.seen(), second(3));
        // One that was asked before, or at the same time, adds nothing.
        watch.look(second(4000), second(2));
        watch.look(second(12), second(2));
        assert_eq!(watch.seen(), second(3));
    }
}
