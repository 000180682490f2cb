//! The lease of the target, without which it obeys no command: what the state machine asks for, carried out.

use super::Sampler;
use crate::detector::Taken;
use crate::journal::What;
use crate::lease::{Action, Fitness, Lease, LeaseSettings, News};
use crate::link::read;
use crate::verdict::{Layer, State};
use backdoors_rdma::{AccessError, Operation, RemoteRange};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{FetchError, LeaseView, LeaseWord, Token};
use std::time::Duration;

/// Clocks of monitors that differ by more than a tenth in their speed are broken.
const MARGIN_SHARE: u32 = 10;

impl Sampler {
    /// Begins with the lease of a target that was reached: from `slot`, and anew if its memory was made anew.
    pub(super) fn know_lease(&mut self, slot: u32, made_anew: bool) {
        let same_slot = self.lease_slot.replace(slot) == Some(slot);
        if !same_slot || made_anew {
            self.lease_wants = None;
        }
        match &mut self.lease {
            Some(_) if same_slot && !made_anew => {}
            Some(lease) => lease.made_anew(slot),
            None => {
                let config = &self.config.lease;
                let settings = LeaseSettings {
                    duration: config.duration,
                    margin: config.duration / MARGIN_SHARE,
                    preference: config.preference,
                    take_back_after: config.take_back_after,
                };
                let mut lease = Lease::new(slot, settings);
                if self.resigned {
                    lease.resign();
                }
                self.lease = Some(lease);
            }
        }
    }

    /// Takes in the lease table as it came with a sample.
    pub(super) fn take_lease_table(&mut self, taken: Taken, bytes: &[u8]) {
        match (LeaseView::decode(bytes), &mut self.lease) {
            (Ok(table), Some(lease)) => lease.read(taken.started, taken.finished, &table),
            (Ok(_), None) => {}
            (Err(error), _) => tracing::debug!(target = %self.config.name, "lease: {error}"),
        }
    }

    /// Asks the lease what it wants of the target, if it is time to. It is left alone while the target cannot be read.
    pub(super) fn consider_lease(&mut self, now: Duration) {
        if self.lease_wants.is_some() || !self.is_read() || !self.may_wait() {
            return;
        }
        let (fitness, busy) = (self.fitness(), self.running.is_some());
        let Some(lease) = &mut self.lease else { return };
        if lease.due(now) > now {
            return;
        }
        lease.set_busy(busy);
        self.lease_wants = match lease.step(now, fitness) {
            Action::Wait(_) => None,
            action => Some((now, action)),
        };
    }

    /// Whether a request may wait for its answer. It finds no connection when a reading is under way on the only one that is left. And once a
    /// chance was missed, to wait for another answer that does not come would cost much of a short deadline.
    fn may_wait(&self) -> bool {
        let idle = self.link.as_ref().is_some_and(|link| link.connections() > self.reader.under_way());
        idle && (self.loss.run() == 0 || self.config.deadline * 8 < self.judge.tightest())
    }

    /// What a command must carry; `None` while this monitor does not hold the lease.
    pub(super) fn token(&self) -> Option<Token> {
        self.lease.as_ref()?.token(self.clock.monotonic())
    }

    /// The slot of another monitor that holds the lease.
    pub(super) fn other_holder(&self) -> Option<u32> {
        let (lease, link) = (self.lease.as_ref()?, self.link.as_ref()?);
        lease.view().holder.filter(|holder| *holder != link.slot())
    }

    /// Gives the lease up for good: this monitor stops.
    pub(super) fn resign(&mut self) {
        self.resigned = true;
        if let Some(lease) = &mut self.lease {
            lease.resign();
        }
    }

    /// Does what the lease wants, until it waits.
    pub(super) fn mind_lease(&mut self) {
        loop {
            self.consider_lease(self.clock.monotonic());
            let Some((asked, action)) = self.lease_wants.take() else { break };
            let done = self.carry_out(asked, &action);
            let finished = self.clock.monotonic();
            let Some(lease) = &mut self.lease else { break };
            match (done, action) {
                (Ok(Done::Table(table)), _) => lease.read(asked, finished, &table),
                (Ok(Done::Swap(found)), Action::CompareAndSwap { expected, .. }) => {
                    lease.swapped(asked, finished, expected, found);
                }
                (Ok(_), _) => lease.announced(finished),
                (Err(error), _) => {
                    tracing::debug!(target = %self.config.name, "lease: {error}");
                    lease.failed(finished);
                }
            }
        }
        let news = self.lease.as_mut().map(Lease::take_news).unwrap_or_default();
        for news in news {
            self.note(What::Lease { text: text(news) });
        }
        let standing = self.lease.as_ref().map(Lease::view);
        let token = self.token();
        let mut status = self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        status.lease = standing;
        status.holds_lease = token.is_some();
    }

    fn carry_out(&mut self, now: Duration, action: &Action) -> Result<Done, FetchError<String>> {
        self.with_region(now, RegionKind::LEASE, |link, region| {
            let outside = || AccessError::Invalid("the lease table is smaller than it must be");
            let word = |offset| -> Result<RemoteRange, FetchError<AccessError>> {
                region.range.slice(offset, 8).ok_or_else(|| FetchError::Access(outside()))
            };
            match action {
                Action::Read => {
                    let mut bytes = [0; LeaseView::BYTES];
                    read(link, region, 0, &mut bytes).map_err(FetchError::Access)?;
                    Ok(Done::Table(Box::new(LeaseView::decode(&bytes)?)))
                }
                Action::CompareAndSwap { expected, new } => {
                    let (at, mut found) = (word(LeaseView::LEASE_OFFSET)?, 0);
                    let (expected, new) = (expected.word(), new.word());
                    let swap = Operation::CompareAndSwap { at, expected, new, found: &mut found };
                    link.submit(&mut [swap]).map_err(FetchError::Access)?;
                    Ok(Done::Swap(LeaseWord::from_word(found)))
                }
                Action::Announce(candidacy) => {
                    let to = word(LeaseView::candidacy_offset(link.slot()))?;
                    let from = &candidacy.word().to_le_bytes();
                    link.submit(&mut [Operation::Write { to, from }]).map_err(FetchError::Access)?;
                    Ok(Done::Announced)
                }
                Action::Wait(_) => Ok(Done::Announced),
            }
        })
    }

    /// By the share of readings that come back in time; badly while this monitor is late for nearly everything.
    fn fitness(&self) -> Fitness {
        if self.lateness.standing().overloaded {
            return Fitness::of_share(0.0);
        }
        Fitness::of_share(self.answered)
    }

    fn is_read(&self) -> bool {
        let path = self.judge.verdicts().iter().find(|verdict| verdict.layer == Layer::Path);
        path.is_some_and(|path| path.state == State::Healthy)
    }
}

enum Done {
    Table(Box<LeaseView>),
    Swap(LeaseWord),
    Announced,
}

fn text(news: News) -> String {
    use crate::lease::Release;
    match news {
        News::Took { term, from: None } => format!("holds the lease, term {term}"),
        News::Took { term, from: Some(slot) } => {
            format!("holds the lease, term {term}: that of the monitor in slot {slot} had run out")
        }
        News::Released(Release::HandOver(slot)) => {
            format!("handed the lease over: the path is bad, and the monitor in slot {slot} is fitter")
        }
        News::Released(Release::TakeBack(slot)) => {
            format!("gave the lease back to the monitor in slot {slot}, which is preferred")
        }
        News::Released(Release::Resignation) => "gave the lease up: this monitor stops".to_owned(),
        News::Lost { to: Some(slot) } => format!("lost the lease to the monitor in slot {slot}"),
        News::Lost { to: None } => "lost the lease".to_owned(),
    }
}
