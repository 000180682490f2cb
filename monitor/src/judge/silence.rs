//! A target that cannot be read: is it the path, or the host?
//!
//! What is told apart by what:
//! - A refusal, or bytes that make no sense, are an answer: path and host are there.
//! - A zero-length probe is answered by the NIC without touching memory. If it is, the path is slow, and nobody is condemned.
//! - Another monitor that read the target well *after* this one had begun to miss has another path: this one is cut.
//! - Other monitors for whom it fell silent before that, and a deadline ago or longer: it is the host.
//! - When nobody read it, and another monitor does again, it was the host, and the host is back. What was missed before says nothing of the own path,
//!   which is given as much time as if it had just fallen silent.
//! - With no second view, path and host are equally likely.

use super::outside::{Failure, Terms};
use crate::peers::Opinion;
use std::time::Duration;

/// Probability that another monitor's path to the same target is cut at the same time by the same cause. A guess on the safe side: networks share
/// switches. Each further monitor that agrees multiplies the odds for the host by 1/q.
pub(super) const SHARED_PATH: f64 = 0.1;

/// How long an opinion is worth anything, at least.
const FRESH: Duration = Duration::from_secs(2);
/// Opinions that are kept.
const MOST_OPINIONS: usize = 16;

/// What silence means, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing was tried yet.
    Nothing,
    /// It was read, or it has not been silent for long enough.
    Within,
    /// The NIC answers, but with refusals or nonsense.
    Answers,
    /// The machine answers, but nobody serves its memory.
    Closed,
    /// Nothing could be asked.
    NotAsked,
    /// Probes are answered, readings are not.
    Slow,
    /// Others read it.
    OnlyMe,
    /// Others read it when this monitor did no longer, and do no longer either.
    OnlyMeAtFirst,
    /// Nobody read it for a while; others do again.
    Back,
    /// So many others cannot read it either.
    Nobody(u32),
    /// No second view, or none that decides.
    Alone,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Silence {
    /// When the last good reading was asked for, or the first that failed.
    since: Option<Duration>,
    last_good: Option<Duration>,
    /// Chances missed since.
    pub misses: u32,
    /// When the first of them was asked for.
    first_miss: Option<Duration>,
    last_failure: Option<Failure>,
    /// When the last answer of any kind came.
    answered: Option<Duration>,
    /// When a probe was last answered, and how long that took.
    pub probe: Option<(Duration, Duration)>,
    pub probes_missed: u32,
    pub opinions: Vec<Opinion>,
    /// In this silence others were found not to read it either.
    unread_by_all: bool,
    /// When others were found to read it again after that.
    back: Option<Duration>,
}

impl Silence {
    pub fn good(&mut self, asked: Duration) {
        if self.last_good.is_none_or(|last| asked >= last) {
            self.since = Some(asked);
            self.last_good = Some(asked);
        }
        self.misses = 0;
        self.first_miss = None;
        self.last_failure = None;
        self.probes_missed = 0;
        (self.unread_by_all, self.back) = (false, None);
    }

    pub fn missed(&mut self, asked: Duration, now: Duration, how: Failure) {
        if self.last_good.is_some_and(|last| asked < last) {
            // Overtaken by a later reading that succeeded.
            return;
        }
        self.since.get_or_insert(asked);
        self.last_failure = Some(how);
        match how {
            Failure::Silent => {
                self.misses = self.misses.saturating_add(1);
                self.first_miss.get_or_insert(asked);
            }
            Failure::Refused | Failure::Damaged | Failure::Closed => self.answered = Some(now),
            Failure::NotAsked => {}
        }
    }

    pub fn probed(&mut self, now: Duration, answer: Result<Duration, Failure>) {
        match answer {
            Ok(took) => {
                self.probe = Some((now, took));
                self.probes_missed = 0;
            }
            Err(Failure::NotAsked) => {}
            Err(_) => self.probes_missed = self.probes_missed.saturating_add(1),
        }
    }

    /// Takes in what others say at `now`, all of it, `deadline` being T as in [`Silence::meaning`].
    pub fn heard(&mut self, opinions: &[Opinion], now: Duration, deadline: Duration) {
        self.opinions.clear();
        self.opinions.extend(opinions.iter().take(MOST_OPINIONS).cloned());
        let Some(first_miss) = self.first_miss else { return };
        let since = || self.opinions.iter().filter(|opinion| opinion.asked > first_miss);
        // Nobody's usual samples come half a deadline apart.
        let read = since().any(|opinion| opinion.last_good_age.is_some_and(|age| age < deadline / 2));
        let unread =
            since().any(|opinion| !opinion.late && opinion.last_good_age.is_some_and(|age| age >= deadline));
        if !read && unread {
            self.unread_by_all = true;
        } else if read && self.unread_by_all {
            self.unread_by_all = false;
            self.back = Some(now);
            self.misses = 0;
            self.first_miss = None;
        }
    }

    /// How long nothing was read.
    pub fn lasted(&self, now: Duration) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    pub fn ever_read(&self) -> bool {
        self.last_good.is_some()
    }

    pub fn last_failure(&self) -> Option<Failure> {
        self.last_failure
    }

    /// When it will have lasted for `deadline`.
    pub fn due(&self, deadline: Duration) -> Option<Duration> {
        Some(self.since?.saturating_add(deadline))
    }

    pub fn excuse(&mut self, unwatched: Duration, now: Duration) {
        let later = |time: Duration| time.saturating_add(unwatched).min(now);
        self.since = self.since.map(later);
        self.back = self.back.map(later);
        // A pause may have eaten the answers to chances taken before it.
        self.misses = 0;
        self.first_miss = None;
    }

    pub fn begin(&mut self) {
        *self = Silence { last_good: None, ..Silence::default() };
    }

    /// Whether a probe or the word of others would help: half of the deadline or of the chances are gone.
    pub fn is_doubtful(&self, now: Duration, deadline: Duration, terms: &Terms) -> bool {
        self.misses > 0 && (self.lasted(now) >= deadline / 2 || self.misses >= terms.chances.div_ceil(2))
    }

    /// What it means at `now`, `deadline` being T as widened by the monitor's lateness.
    pub fn meaning(&self, now: Duration, deadline: Duration, terms: &Terms) -> Meaning {
        let Some(since) = self.since else { return Meaning::Nothing };
        if self.last_failure.is_none() || now.saturating_sub(since) < deadline {
            return Meaning::Within;
        }
        let recent = |time: Duration| time > since && now.saturating_sub(time) <= deadline;
        let answered = self.answered.is_some_and(recent);
        let just_back = |back| now.saturating_sub(back) < deadline || self.misses < terms.chances;
        if !answered && self.back.is_some_and(just_back) {
            return Meaning::Back;
        }
        if answered && self.misses < terms.chances {
            return match self.last_failure {
                Some(Failure::Closed) => Meaning::Closed,
                Some(Failure::NotAsked | Failure::Silent) => Meaning::Within,
                _ => Meaning::Answers,
            };
        }
        if self.misses < terms.chances {
            let asked_nothing = self.misses == 0 && self.last_failure == Some(Failure::NotAsked);
            return if asked_nothing { Meaning::NotAsked } else { Meaning::Within };
        }
        if answered && self.last_failure != Some(Failure::Silent) {
            return if self.last_failure == Some(Failure::Closed) {
                Meaning::Closed
            } else {
                Meaning::Answers
            };
        }
        let first_miss = self.first_miss.unwrap_or(since);
        if self.probe.is_some_and(|(at, _)| at > first_miss && recent(at)) {
            return Meaning::Slow;
        }
        self.second_view(now, deadline, first_miss)
    }

    fn second_view(&self, now: Duration, deadline: Duration, first_miss: Duration) -> Meaning {
        let fresh = FRESH.max(deadline.saturating_mul(2));
        let mut agree = 0;
        for opinion in &self.opinions {
            let (Some(age), Some(good)) = (opinion.last_good_age, opinion.last_good()) else { continue };
            if now.saturating_sub(opinion.at) > fresh || opinion.at > now {
                continue;
            }
            // Late enough that the target cannot have died in between: half a deadline of chances had been missed here by then.
            if good >= first_miss.saturating_add(deadline / 2) {
                let reads_still = now.saturating_sub(good) < deadline.saturating_mul(2);
                return if reads_still { Meaning::OnlyMe } else { Meaning::OnlyMeAtFirst };
            }
            // That a late monitor read it is true; that it did not says something of the monitor.
            if age >= deadline && opinion.nic_answers != Some(true) && !opinion.late {
                agree += 1;
            }
        }
        if agree > 0 { Meaning::Nobody(agree) } else { Meaning::Alone }
    }
}
