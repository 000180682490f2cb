//! Time that counts against nobody.

use super::finding::{Cause, Finding};
use super::{AGENT_PLACE, FIRST_APPLICATION, Judge};
use std::time::Duration;

impl Judge {
    /// Sets right what unwatched time would distort.
    pub(super) fn watch(&mut self, asked: Duration, now: Duration) {
        if now < self.now {
            // The clock went back. Times before mean nothing any more.
            self.begin_anew(now);
        }
        self.now = now;
        let last = self.last_asked.unwrap_or(asked);
        self.last_asked = Some(asked.max(last));
        let unwatched = asked.saturating_sub(last).saturating_sub(self.watched);
        if !unwatched.is_zero() {
            self.silence.excuse(unwatched, asked);
            self.excuse_readings(unwatched, asked);
        }
    }

    /// Adds `time` to every beginning of a standstill.
    pub(super) fn excuse_readings(&mut self, time: Duration, asked: Duration) {
        self.kernel.excuse(time, asked);
        self.excuse_inside(time, asked);
    }

    pub(super) fn excuse_inside(&mut self, time: Duration, asked: Duration) {
        self.user_moved = self.user_moved.map(|moved| moved.saturating_add(time).min(asked));
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.excuse(time, asked);
        }
        for sensor in self.applications.iter_mut().flat_map(|application| &mut application.sensors) {
            sensor.still.excuse(time, asked);
        }
    }

    fn begin_anew(&mut self, now: Duration) {
        (self.last_asked, self.last_read, self.doubted, self.user_moved) = (None, None, None, None);
        self.silence.begin();
        self.kernel.begin(now);
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.begin(now);
        }
        for sensor in self.applications.iter_mut().flat_map(|application| &mut application.sensors) {
            sensor.still.begin(now);
        }
        for place in 0..self.verdicts.len() {
            self.say(place, Finding::unknown(Cause::NothingYet), now);
        }
    }

    /// Something in user space that moves about every `usual` is about to be seen to move, in a reading that has come at `now`. If all of it
    /// stood still before, for longer than that, that counts against nobody in it: programs that were starved together do not move again at the same moment. Whoever has
    /// been found to stand still alone is not excused.
    pub(super) fn user_space_moves(&mut self, usual: Duration, now: Duration) {
        let Some(moved) = self.user_moved.replace(now) else { return };
        let stood = now.saturating_sub(moved);
        if stood <= usual.saturating_mul(2) {
            return;
        }
        let excused = stood.saturating_sub(usual);
        let alone = |place: usize| {
            matches!(self.causes[place].0, Cause::AgentStuck | Cause::AgentDead | Cause::ApplicationFrozen(_))
        };
        if let Some(heartbeat) = &mut self.heartbeat
            && !alone(AGENT_PLACE)
        {
            heartbeat.excuse(excused, now);
        }
        for (index, application) in self.applications.iter_mut().enumerate() {
            if !alone(FIRST_APPLICATION + index) {
                application.sensors.iter_mut().for_each(|sensor| sensor.still.excuse(excused, now));
            }
        }
    }
}
