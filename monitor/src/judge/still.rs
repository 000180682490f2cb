//! One value that must not stand still.

use std::time::Duration;

/// Follows a progress counter. Times are the monitor's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Still {
    value: u64,
    /// When the reading that first showed the value had come in: it is at least this old.
    changed: Duration,
    /// Mean interval between the changes that were seen, once there were two.
    beat: Option<Duration>,
    moved: bool,
}

impl Still {
    pub fn new(value: u64, now: Duration) -> Still {
        Still { value, changed: now, beat: None, moved: false }
    }

    /// Takes a value in that had come by `now`. Any change is progress: a counter that went back was started anew.
    pub fn see(&mut self, value: u64, now: Duration) -> bool {
        if value == self.value {
            return false;
        }
        self.value = value;
        if self.moved {
            let interval = now.saturating_sub(self.changed);
            self.beat = Some(self.beat.map_or(interval, |beat| (beat * 7 + interval) / 8));
        }
        self.moved = true;
        self.changed = now;
        true
    }

    /// How long it had certainly stood still when a reading was asked for at `asked`. What was read may be as old as that, so the
    /// time the answer took proves nothing.
    pub fn still(&self, asked: Duration) -> Duration {
        asked.saturating_sub(self.changed)
    }

    pub fn changed(&self) -> Duration {
        self.changed
    }

    pub fn value(&self) -> u64 {
        self.value
    }

    /// Whether it was ever seen to move.
    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Whether it moved at `since` or later, and not longer ago than twice its usual interval.
    pub fn moves(&self, asked: Duration, since: Duration) -> bool {
        let usual = self.beat.unwrap_or(Duration::ZERO).saturating_mul(2);
        self.moved && self.changed >= since && self.still(asked) <= usual
    }

    /// When something around this must have been seen to run, to prove that only this stopped, `limit` after it was last seen to move. What stopped
    /// together with it may have been seen a little later for the last time, but hardly so near the limit. `beat` is the usual interval of what
    /// proves; if the limit is not much longer than that, the proof must be younger than the limit.
    pub fn proof_since(&self, limit: Duration, beat: Option<Duration>) -> Duration {
        let two_beats = beat.unwrap_or(Duration::ZERO).saturating_mul(2);
        let after = if two_beats <= limit / 2 { limit - two_beats } else { limit };
        self.changed.saturating_add(after)
    }

    pub fn beat(&self) -> Option<Duration> {
        self.beat
    }

    /// Time that nobody watched does not count.
    pub fn excuse(&mut self, unwatched: Duration, now: Duration) {
        self.changed = self.changed.saturating_add(unwatched).min(now);
    }

    /// Begins to watch anew, at this value.
    pub fn begin(&mut self, now: Duration) {
        self.changed = now;
        self.beat = None;
    }

    /// How sure it is that a counter that stood still for so long has stopped: if changes came at random, at the mean interval that was seen, so long
    /// a pause would come with probability e^(-still/interval). That is pessimistic for a clockwork. `usual` stands in for an interval that was never seen.
    pub fn certainty(&self, still: Duration, usual: Option<Duration>) -> f64 {
        match self.beat.or(usual) {
            Some(beat) => 1.0 - (-still.as_secs_f64() / beat.as_secs_f64().max(1e-6)).exp(),
            None => 0.5,
        }
    }
}
