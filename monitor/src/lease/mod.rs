//! Which of several monitors acts on a target: the lease, as a state machine without I/O.
//!
//! It says what to read, to write and to compare-and-swap in the target's lease table, and is told what came of it.
//! [`Lease::token`] is what a command must carry. Two things keep two monitors from acting at once. Time: a holder
//! thinks itself one only for [`LeaseSettings::duration`] since it *asked* for its last renewal, and others take an
//! expired lease only after they have *watched* its word stand still for longer. And the target: it obeys a command
//! only while the token is the lease's. The second holds whatever clocks do, whoever is paused, and whichever requests
//! are lost, late or carried out though nobody heard of it; the first only spares useless commands.

mod rivals;
mod settings;
#[cfg(test)]
mod tests;
mod watch;
mod words;

pub use settings::{Fitness, LeaseSettings};
pub use words::{Action, News, Release, Standing};

use backdoors_sensor_box::{Candidacy, LeaseView, LeaseWord, Token};
use rivals::Rivals;
use std::time::Duration;
use watch::Watch;

#[derive(Clone, Copy, Debug)]
struct Held {
    token: Token,
    /// Not to be used from then on.
    until: Duration,
    renew_at: Duration,
}

/// A compare-and-swap that was asked for.
#[derive(Clone, Copy, Debug)]
struct Swap {
    asked_at: Duration,
    expected: LeaseWord,
    new: LeaseWord,
    release: Option<Release>,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Read(Duration),
    Announce(Duration),
    Swap(Swap),
}

/// The lease of one target, as the monitor in one of its slots sees it.
#[derive(Debug)]
pub struct Lease {
    slot: u32,
    settings: LeaseSettings,
    /// The lease word as last seen, and how long it stood still.
    seen: Option<(LeaseWord, Watch)>,
    /// What was read before a compare-and-swap was answered tells nothing any more.
    fresh_from: Duration,
    held: Option<Held>,
    asked: Option<Asked>,
    /// A compare-and-swap of which nobody knows whether it was carried out.
    doubt: Option<Swap>,
    own: Candidacy,
    rivals: Rivals,
    /// Since when this monitor is not fit.
    unfit: Option<Watch>,
    busy: bool,
    resigned: bool,
    announce_at: Duration,
    read_at: Duration,
    retry_at: Duration,
    due: Duration,
    news: Vec<News>,
    /// The term of which it was told that this monitor holds it.
    told: Option<u32>,
    /// Why it was asked to be given up since it was renewed last. Whether it then became another's by that, or because
    /// it ran out before anybody heard of it: this monitor did not act any more.
    releasing: Option<Release>,
}

impl Lease {
    /// The lease as the monitor in `slot` knows it at first: not at all.
    #[must_use]
    pub fn new(slot: u32, settings: LeaseSettings) -> Lease {
        Lease {
            slot,
            settings,
            seen: None,
            fresh_from: Duration::ZERO,
            held: None,
            asked: None,
            doubt: None,
            own: Candidacy { preference: settings.preference, fitness: 0, beats: 0 },
            rivals: Rivals::new(slot),
            unfit: None,
            busy: false,
            resigned: false,
            announce_at: Duration::ZERO,
            read_at: Duration::ZERO,
            retry_at: Duration::ZERO,
            due: Duration::ZERO,
            news: Vec::new(),
            told: None,
            releasing: None,
        }
    }

    /// Forgets everything: the target's regions, and so the table, were made anew, or this monitor was given another
    /// slot.
    pub fn made_anew(&mut self, slot: u32) {
        let news = std::mem::take(&mut self.news);
        let (busy, resigned) = (self.busy, self.resigned);
        *self = Lease { news, busy, resigned, ..Lease::new(slot, self.settings) };
    }

    /// When to call [`Lease::step`] again.
    #[must_use]
    pub fn due(&self, now: Duration) -> Duration {
        self.due.max(now)
    }

    /// What a command must carry; `None` unless this monitor certainly holds the lease, by its own clock.
    #[must_use]
    pub fn token(&self, now: Duration) -> Option<Token> {
        let giving_up = |swap: &Swap| swap.release.is_some();
        let asked = matches!(&self.asked, Some(Asked::Swap(swap)) if giving_up(swap));
        let held = self.held.filter(|held| now < held.until)?;
        (!asked && !self.doubt.as_ref().is_some_and(giving_up)).then_some(held.token)
    }

    /// How things stand.
    #[must_use]
    pub fn view(&self) -> Standing {
        let word = self.seen.map_or(LeaseWord::default(), |(word, _)| word);
        Standing { holder: word.holder(), term: word.term(), held_until: self.held.map(|held| held.until) }
    }

    /// Hands out what happened since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether a command is under way: then the lease is not given up of one's own accord, which would stop it.
    pub fn set_busy(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// This monitor stops: the lease is given up unless it is busy, and never taken again.
    pub fn resign(&mut self) {
        self.resigned = true;
        self.due = Duration::ZERO;
    }

    /// What to do at `now`, being so fit.
    pub fn step(&mut self, now: Duration, fitness: Fitness) -> Action {
        self.judge_self(now, fitness);
        if let Some(asked) = &self.asked {
            let lost_at = asked.at().saturating_add(self.settings.duration);
            if now < lost_at {
                return self.wait(lost_at);
            }
            self.failed(now);
        }
        if now < self.retry_at {
            return self.wait(self.retry_at);
        }
        let Some((word, unchanged)) = self.seen.filter(|_| self.doubt.is_none()) else {
            return self.ask_to_read(now);
        };
        if let Some((new, release)) = self.wanted(now, word, unchanged.seen()) {
            let swap = Swap { asked_at: now, expected: word, new, release };
            self.fresh_from = now;
            self.releasing = release.or(self.releasing);
            self.asked = Some(Asked::Swap(swap));
            return Action::CompareAndSwap { expected: word, new };
        }
        // A holder need not say that it would like to be one.
        let announces = word.holder() != Some(self.slot) && !self.resigned;
        if announces && now >= self.announce_at {
            self.announce_at = now.saturating_add(self.period());
            self.own.beats = self.own.next_beat();
            self.asked = Some(Asked::Announce(now));
            return Action::Announce(self.own);
        }
        if now >= self.read_at {
            return self.ask_to_read(now);
        }
        let renewal = self.held.map_or(Duration::MAX, |held| held.renew_at);
        let announcement = if announces { self.announce_at } else { Duration::MAX };
        self.wait(self.read_at.min(renewal).min(announcement))
    }

    /// Takes in the table as read, asked for at `asked_at` and answered at `now`; asked for by [`Lease::step`] or not.
    pub fn read(&mut self, asked_at: Duration, now: Duration, table: &LeaseView) {
        if matches!(self.asked, Some(Asked::Read(at)) if at == asked_at) {
            self.asked = None;
        }
        if asked_at < self.fresh_from {
            return;
        }
        self.due = now;
        self.fresh_from = asked_at;
        self.read_at = now.saturating_add(self.period());
        if self.own.beats == 0 {
            // Goes on where an earlier process of this monitor stopped, so that the word changes at once.
            self.own.beats =
                table.candidacies.get(self.slot as usize).copied().flatten().map_or(0, |own| own.beats);
        }
        let (patience, most) = (self.expiry(), self.gap());
        self.rivals.read(asked_at, now, table, patience, most);
        if let Some(swap) = self.doubt.take() {
            if table.lease == swap.new {
                self.carried_out(&swap);
            } else if swap.release.is_some() {
                // It may be carried out yet; but not once the word has been renewed.
                self.held = None;
            }
        }
        self.see(asked_at, now, table.lease);
    }

    /// Takes in that the compare-and-swap asked for at `asked_at` was answered at `now`: it found `found`. Answers to
    /// others than the last one asked for are ignored.
    pub fn swapped(&mut self, asked_at: Duration, now: Duration, expected: LeaseWord, found: LeaseWord) {
        let Some(Asked::Swap(swap)) = self.asked else { return };
        if swap.asked_at != asked_at || swap.expected != expected {
            return;
        }
        self.asked = None;
        self.due = now;
        self.fresh_from = now;
        if found == expected {
            self.carried_out(&swap);
        }
        self.see(asked_at, now, if found == expected { swap.new } else { found });
    }

    /// Takes in that the candidacy was written.
    pub fn announced(&mut self, now: Duration) {
        if matches!(self.asked, Some(Asked::Announce(_))) {
            self.asked = None;
            self.due = now;
        }
    }

    /// Takes in that the last thing asked for failed: it may have been carried out all the same.
    pub fn failed(&mut self, now: Duration) {
        if let Some(Asked::Swap(swap)) = self.asked.take() {
            self.doubt = Some(swap);
        }
        self.retry_at = now.saturating_add(self.settings.duration / 8);
        self.due = self.retry_at;
    }

    /// What the lease word should become.
    fn wanted(
        &self,
        now: Duration,
        word: LeaseWord,
        unchanged: Duration,
    ) -> Option<(LeaseWord, Option<Release>)> {
        if word.holder() == Some(self.slot) {
            if let Some(release) = self.release() {
                return Some((word.released(), Some(release)));
            }
            let held = self.held.filter(|held| now < held.renew_at);
            return held.is_none().then(|| (word.renewed(), None));
        }
        if self.resigned || self.own.fitness == Fitness::UNFIT.0 {
            return None;
        }
        let expiry = if word.holder().is_some() { self.expiry() } else { Duration::ZERO };
        // Those that come before have their turn first, each for the time of a lease.
        let turn = self.settings.duration.saturating_mul(self.rivals.before(&self.own, self.expiry()));
        (unchanged >= expiry.saturating_add(turn)).then(|| (word.taken_by(self.slot), None))
    }

    fn release(&self) -> Option<Release> {
        if self.busy {
            return None;
        }
        if self.resigned {
            return Some(Release::Resignation);
        }
        let preferred = self.own.preference.checked_add(1);
        let preferred = preferred.and_then(|least| self.rivals.fit_for(self.settings.take_back_after, least));
        if let Some(slot) = preferred {
            return Some(Release::TakeBack(slot));
        }
        let long_unfit = self.unfit.is_some_and(|unfit| unfit.seen() >= self.settings.duration);
        let fitter = self.rivals.fit_for(self.settings.duration, 0).filter(|_| long_unfit);
        fitter.map(Release::HandOver)
    }

    fn judge_self(&mut self, now: Duration, fitness: Fitness) {
        if Fitness(self.own.fitness).is_good() != fitness.is_good() {
            self.announce_at = now;
        }
        self.own.fitness = fitness.0;
        let gap = self.gap();
        match &mut self.unfit {
            _ if fitness.is_good() => self.unfit = None,
            Some(unfit) => unfit.look(now, gap),
            None => self.unfit = Some(Watch::begun(now)),
        }
    }

    /// Takes in the lease word as it was at some time between `asked_at` and `now`.
    fn see(&mut self, asked_at: Duration, now: Duration, word: LeaseWord) {
        let gap = self.gap();
        match &mut self.seen {
            Some((known, unchanged)) if *known == word => unchanged.look(asked_at, gap),
            seen => *seen = Some((word, Watch::begun(now))),
        }
        self.held = self.held.filter(|held| word.token() == Some(held.token));
        if word.holder() != Some(self.slot) {
            match (self.releasing.take(), self.told.take()) {
                (Some(release), _) => self.news.push(News::Released(release)),
                (None, Some(_)) => self.news.push(News::Lost { to: word.holder() }),
                (None, None) => {}
            }
        }
    }

    /// A compare-and-swap was carried out at some time since it was asked for.
    fn carried_out(&mut self, swap: &Swap) {
        if swap.release.is_some() {
            self.held = None;
        } else if let Some(token) = swap.new.token() {
            if self.told.replace(token.term()) != Some(token.term()) {
                let from = swap.expected.holder().filter(|holder| *holder != self.slot);
                self.news.push(News::Took { term: token.term(), from });
            }
            self.releasing = None;
            let until = swap.asked_at.saturating_add(self.settings.duration);
            let renew_at = swap.asked_at.saturating_add(self.period());
            self.held = Some(Held { token, until, renew_at });
        }
    }

    fn ask_to_read(&mut self, now: Duration) -> Action {
        self.asked = Some(Asked::Read(now));
        Action::Read
    }

    fn wait(&mut self, until: Duration) -> Action {
        self.due = until;
        Action::Wait(until)
    }

    /// Between two renewals, announcements, readings.
    fn period(&self) -> Duration {
        self.settings.duration / 3
    }

    /// Longest time between two readings that counts in full.
    fn gap(&self) -> Duration {
        self.settings.duration / 2
    }

    /// How long a lease, or a candidate, must stand still to be over.
    fn expiry(&self) -> Duration {
        self.settings.duration.saturating_add(self.settings.margin)
    }
}

impl Asked {
    fn at(&self) -> Duration {
        match self {
            Asked::Read(at) | Asked::Announce(at) => *at,
            Asked::Swap(swap) => swap.asked_at,
        }
    }
}
