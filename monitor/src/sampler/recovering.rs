//! Recovering the target's live sessions to this machine, which waits for the link and for this machine's kernel.

use super::Sampler;
use super::order::OrderError;
use crate::clock::nanoseconds;
use crate::journal::What;
use crate::recovery::course::{Action, Course, Fencing, Reading, Spoken};
use crate::recovery::fence;
use crate::recovery::pull::{Found, PullError, Pulled, Regions, fetch_unsent, pull, service_number};
use crate::recovery::takeover::{Takeover, find_here};
use crate::recovery::{Report, Terms, row};
use backdoors_continuation_box::snapshot::ViewError;
use backdoors_monitor_api::SessionRow;
use backdoors_rdma::realtime::{schedule_first, schedule_ordinarily};
use backdoors_sensor_box::layout::RegionKind;
use std::sync::PoisonError;
use std::sync::mpsc::SyncSender;

/// Before all ordinary threads, and behind the NIC and whoever else is in a hurry by trade.
const PRIORITY: i32 = 1;

/// An order to recover the target's services.
#[derive(Debug)]
pub struct RecoverOrder {
    /// How.
    pub terms: Terms,
    /// Who ordered it, for the journal.
    pub by: String,
    /// Where the answer goes; none if a rule ordered it.
    pub reply: Option<SyncSender<Result<Report, OrderError>>>,
}

impl Sampler {
    /// Carries out the recoveries that were ordered.
    pub(super) fn recover(&mut self) {
        while let Some(RecoverOrder { terms, by, reply }) = self.recoveries.pop_front() {
            let report = self.may_recover(terms).map(|()| self.take_over(terms));
            match &report {
                Ok(report) => self.note(What::SessionsRecovered { by, report: report.clone() }),
                Err(error) => self.note(What::NotBegun {
                    by,
                    order: format!("backdoors recover {}", self.config.name),
                    reason: error.to_string(),
                }),
            }
            // Whoever asked may have gone.
            if let Some(reply) = reply {
                drop(reply.try_send(report));
            }
        }
    }

    fn may_recover(&self, terms: Terms) -> Result<(), OrderError> {
        if self.config.services.is_empty() {
            return Err(OrderError::NoServices);
        }
        if terms.dry_run {
            return Ok(());
        }
        self.other_holder().map_or(Ok(()), |slot| Err(OrderError::NotTheHolder(slot)))
    }

    fn take_over(&mut self, terms: Terms) -> Report {
        // Clients wait, and those that are served already would take all the time that the others need. What else this machine does
        // can wait for the fraction of a second that it takes.
        let goes_first = if terms.dry_run { Ok(()) } else { schedule_first(PRIORITY) };
        let report = self.follow_course(terms);
        if let Err(error) = goes_first.and_then(|()| schedule_ordinarily()) {
            tracing::debug!(%error, "a recovery was not scheduled before what else runs here");
        }
        report
    }

    fn follow_course(&mut self, terms: Terms) -> Report {
        let mut course = Course::new(self.clock.monotonic(), terms);
        let mut takeover = Takeover::default();
        let services = self.config.services.clone();
        loop {
            let action = course.next();
            match action {
                Action::Prepare => {
                    let outcome = takeover.prepare(&services);
                    course.prepared(self.clock.monotonic(), outcome);
                }
                Action::Look => {
                    let outcome = match self.link.as_deref_mut() {
                        Some(link) => fence::fenced(link).map_err(|error| error.to_string()),
                        None => Err("there is no connection".to_owned()),
                    };
                    course.looked(outcome);
                }
                Action::Fence => {
                    let fencing = self.fence();
                    course.fenced(self.clock.monotonic(), fencing);
                }
                Action::Pull => {
                    takeover.forget();
                    let outcome = self.pull_and_plan(&mut takeover).and_then(|mut reading| {
                        if terms.dry_run || course.was_announced() {
                            find_here(&mut reading.candidates)?;
                        }
                        Ok(reading)
                    });
                    course.pulled(self.clock.monotonic(), outcome);
                }
                Action::Rebuild => {
                    let outcomes = takeover.rebuild(course.left());
                    course.rebuilt(self.clock.monotonic(), outcomes);
                }
                Action::Announce => {
                    let outcome = takeover.announce(&services);
                    course.announced(self.clock.monotonic(), outcome);
                }
                Action::Resume => {
                    let spoken = takeover.resume(course.left());
                    let now = self.clock.monotonic();
                    let spoken = spoken.into_iter().map(|(index, at, outcome)| Spoken {
                        index,
                        at: now.saturating_sub(at.elapsed()),
                        outcome,
                    });
                    course.resumed(spoken.collect());
                }
                Action::Fetch => {
                    let outcome = self.fetch_unsent(&mut takeover).map_err(|error| error.to_string());
                    course.fetched(outcome);
                }
                Action::Begin => {
                    let outcomes = takeover.begin(course.left());
                    course.begun(self.clock.monotonic(), outcomes);
                }
                Action::Undo => {
                    takeover = Takeover::default();
                    let outcome = if course.must_lift() { self.lift_fence() } else { Ok(()) };
                    course.undone(self.clock.monotonic(), outcome);
                }
                Action::End => return course.report(&self.config.name),
            }
        }
    }

    fn fence(&mut self) -> Fencing {
        let Some(link) = self.link.as_deref_mut() else {
            return Fencing::Fails("there is no connection".to_owned());
        };
        match fence::set(link) {
            Ok(_) => Fencing::Holds,
            Err(error) => Fencing::Fails(error.to_string()),
        }
    }

    fn lift_fence(&mut self) -> Result<(), String> {
        let link = self.link.as_deref_mut().ok_or("the fence was not lifted: there is no connection")?;
        fence::lift(link).map_err(|error| format!("the fence was not lifted: {error}"))
    }

    /// The target's monotonic clock now, or ahead of it, nanoseconds: it stood where it was last seen to move at most two
    /// periods before that was seen.
    fn target_clock(&self) -> u64 {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.clock.monotonic().saturating_sub(status.clock_moved) + 2 * self.config.period;
        status.view.clock.saturating_add(nanoseconds(since))
    }

    fn found(&mut self) -> Result<Vec<Pulled>, PullError> {
        let services = self.config.services.clone();
        let link =
            self.link.as_deref_mut().ok_or(PullError::Access(backdoors_rdma::AccessError::Poisoned))?;
        let mut all = Vec::new();
        for service in &services {
            let region = |kind| link.region(kind).ok_or(PullError::NotCaptured);
            let (sessions, received) = (region(RegionKind::SESSIONS)?, region(RegionKind::RECEIVED)?);
            let (number, boxes) = service_number(link, &service.name)?;
            let regions = Regions { sessions, received, boxes: Some(boxes) };
            all.push(pull(link, &regions, number)?);
        }
        Ok(all)
    }

    fn pull_and_plan(&mut self, takeover: &mut Takeover) -> Result<Reading, String> {
        let found = self.found().map_err(|error| error.to_string())?;
        let clock = self.target_clock();
        let mut reading = Reading::default();
        for (service, pulled) in found.into_iter().enumerate() {
            let replaced = |found: &Found| matches!(found.boxed, Some(Err(ViewError::Replaced)));
            reading.is_torn |= pulled.sessions.iter().any(replaced);
            // They are read anew for each service, and are the same.
            reading.unreadable = pulled.unreadable.into_iter().map(str::to_owned).collect();
            reading.candidates.extend(takeover.plan(service, pulled.sessions, clock));
        }
        Ok(reading)
    }

    fn fetch_unsent(&mut self, takeover: &mut Takeover) -> Result<(), PullError> {
        for (number, service) in (0..).zip(&self.config.services) {
            let (sessions, unsent) = takeover.unsent(number);
            if unsent.is_empty() {
                continue;
            }
            let link =
                self.link.as_deref_mut().ok_or(PullError::Access(backdoors_rdma::AccessError::Poisoned))?;
            let (_, boxes) = service_number(link, &service.name)?;
            for (index, bytes) in sessions.into_iter().zip(fetch_unsent(link, &boxes, &unsent)?) {
                if let Some(bytes) = bytes {
                    takeover.complete(index, &bytes);
                }
            }
        }
        Ok(())
    }

    /// The sessions of the target's services, as they are found now.
    pub(super) fn sessions(&mut self) -> Result<Vec<SessionRow>, String> {
        if self.config.services.is_empty() {
            return Err(OrderError::NoServices.to_string());
        }
        let found = self.found().map_err(|error| error.to_string())?;
        let clock = self.target_clock();
        let names = self.config.services.iter().map(|service| service.name.clone());
        let rows = names
            .zip(found)
            .flat_map(|(name, found)| found.sessions.into_iter().map(move |found| row(&name, found, clock)));
        Ok(rows.collect())
    }
}
