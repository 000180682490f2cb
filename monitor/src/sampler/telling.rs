//! What the target's own audit ring is told besides commands: what was found and not done. It goes there as the reason of
//! a command that does nothing, given by the holder of the lease.
//!
//! Repairs go before: nothing of this is begun while one is under way or ordered, and what is not written yet makes way. What
//! is written keeps the slot until the target has looked at it, in the next tick of one that obeys commands: the next command
//! needs another number.

use super::Sampler;
use crate::repair::{Progress, Repair, Step};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{Command, FetchError};
use std::collections::VecDeque;
use std::time::Duration;

/// Time from the end of one to the next: the ring has room for so many only.
const PAUSE: Duration = Duration::from_secs(1);
/// Those that wait.
const MOST_WAITING: usize = 8;

/// What the target is to be told, and is being told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    waiting: VecDeque<String>,
    /// Those that found no room to wait in since the last that was begun.
    dropped: u32,
    under_way: Option<UnderWay>,
    not_before: Duration,
}

#[derive(Debug)]
struct UnderWay {
    text: String,
    repair: Repair,
    written: bool,
}

impl Telling {
    /// The slot and its acknowledgement were made anew.
    pub(super) fn made_anew(&mut self) {
        self.under_way = None;
    }

    fn end(&mut self, now: Duration) {
        self.under_way = None;
        self.not_before = now.saturating_add(PAUSE);
    }
}

impl Sampler {
    /// Has the target told, when there is time.
    pub(super) fn tell_target(&mut self, text: String) {
        // A target without a ring has nowhere to keep it, and the others tell what the holder of the lease decides.
        let keeps = self.link.as_ref().is_some_and(|link| link.region(RegionKind::AUDIT).is_some());
        if !keeps || self.token().is_none() {
            return;
        }
        if self.telling.waiting.len() >= MOST_WAITING {
            self.telling.dropped += 1;
            return;
        }
        self.telling.waiting.push_back(text);
    }

    /// Whether there is something to tell, or being told, now.
    pub(super) fn has_to_tell(&self, now: Duration) -> bool {
        self.telling.under_way.is_some() || self.tells_at().is_some_and(|at| now >= at)
    }

    /// When the next is to be told.
    pub(super) fn tells_at(&self) -> Option<Duration> {
        let free = self.running.is_none() && self.orders.is_empty();
        let may = free && !self.telling.waiting.is_empty() && self.token().is_some();
        may.then_some(self.telling.not_before)
    }

    /// Goes on telling. Returns when to look again if the slot is needed for it until then.
    pub(super) fn go_on_telling(&mut self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let wanted = self.running.is_some() || !self.orders.is_empty();
        if wanted && self.telling.under_way.as_ref().is_some_and(|under_way| !under_way.written) {
            self.telling.end(now);
        }
        if self.telling.under_way.is_none() && self.tells_at().is_some_and(|at| now >= at) {
            let mut text = self.telling.waiting.pop_front()?;
            let dropped = std::mem::take(&mut self.telling.dropped);
            if dropped > 0 {
                text = format!("({dropped} others are not told) {text}");
            }
            let repair = Repair::new(Command::NOTHING, now, self.config.patience);
            self.telling.under_way = Some(UnderWay { text, repair, written: false });
        }
        loop {
            let (now, token) = (self.clock.monotonic(), self.token());
            let under_way = self.telling.under_way.as_mut()?;
            match under_way.repair.step(now, token) {
                Step::Wait(until) => return Some(until),
                Step::Fetch => self.look_who_was_told(now),
                Step::Write { sequence, token } => {
                    let text = under_way.text.clone();
                    let written = self.write_command(now, &Command::NOTHING, sequence, token, &text);
                    let now = self.clock.monotonic();
                    let under_way = self.telling.under_way.as_mut()?;
                    match written {
                        Ok(()) => {
                            under_way.written = true;
                            under_way.repair.written(now);
                        }
                        Err(failed) if failed.may_have_changed => {
                            under_way.written = true;
                            under_way.repair.failed(now, true);
                        }
                        // It is not worth another attempt.
                        Err(_) => self.telling.end(now),
                    }
                }
                Step::Ended(_) => self.telling.end(now),
            }
        }
    }

    fn look_who_was_told(&mut self, now: Duration) {
        let fetched = self.fetch_acknowledgement(now);
        let now = self.clock.monotonic();
        let Some(under_way) = &mut self.telling.under_way else { return };
        match fetched {
            // The next command finds out, too, and sees to a new key.
            Ok(view) => {
                if let Some(Progress::NotAuthentic) = under_way.repair.acknowledgement(now, &view) {
                    self.telling.end(now);
                }
            }
            Err(FetchError::Decode(error)) => under_way.repair.unreadable(now, error),
            Err(FetchError::Access(_)) => under_way.repair.failed(now, false),
        }
    }
}
