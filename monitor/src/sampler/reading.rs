//! Readings under way: started when they are due, taken in when they are there. Nothing here waits.

use super::Sampler;
use crate::detector::Taken;
use crate::judge::Failure;
use crate::link::{Link, failure};
use backdoors_rdma::{AccessError, RemoteRange, Request, Ticket};
use backdoors_sensor_box::fetch;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{ApplicationState, LeaseView};
use std::sync::Arc;
use std::time::Duration;

/// Requests of one target, and the memory they need.
#[derive(Debug, Default)]
pub(super) struct Reader {
    under_way: Vec<UnderWay>,
    bytes: Vec<u8>,
    parts: Arc<[Part]>,
    ranges: Vec<RemoteRange>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: Ticket,
    started: Duration,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A sample of these parts. `missed`: its time ran out, and that was counted.
    Sample {
        parts: Arc<[Part]>,
        missed: bool,
    },
    Probe,
}

/// A region, and how much of its beginning is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub kind: u32,
    pub generation: u64,
    pub range: RemoteRange,
    /// Bytes of the whole region.
    pub region: u64,
}

impl Reader {
    /// When the sample that has waited longest will have waited for `patience`, among those not yet counted missed.
    pub(super) fn impatient_at(&self, patience: Duration) -> Option<Duration> {
        self.under_way
            .iter()
            .filter(|request| matches!(request.what, What::Sample { missed: false, .. }))
            .map(|request| request.started.saturating_add(patience))
            .min()
    }

    /// Counts a sample as missed that has waited for `patience`; returns when it was asked for.
    fn give_up_waiting(&mut self, now: Duration, patience: Duration) -> Option<Duration> {
        self.under_way.iter_mut().find_map(|request| match &mut request.what {
            What::Sample { missed, .. } if !*missed && now.saturating_sub(request.started) >= patience => {
                *missed = true;
                Some(request.started)
            }
            _ => None,
        })
    }

    /// Requests that wait for their answers.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Probes under way.
    pub(super) fn probes(&self) -> usize {
        self.under_way.iter().filter(|request| matches!(request.what, What::Probe)).count()
    }

    /// Samples under way.
    pub(super) fn samples(&self) -> usize {
        self.under_way.iter().filter(|request| matches!(request.what, What::Sample { .. })).count()
    }

    /// Forgets what went over a link that was given up; returns when the samples among it were asked for that were
    /// not yet counted missed.
    pub(super) fn clear(&mut self) -> Vec<Duration> {
        let asked = |request: UnderWay| match request.what {
            What::Sample { missed: false, .. } => Some(request.started),
            _ => None,
        };
        self.under_way.drain(..).filter_map(asked).collect()
    }

    /// Puts the parts in place of those read so far, unless they are the same.
    fn set_parts(&mut self, parts: impl Iterator<Item = Part> + Clone) {
        if !self.parts.iter().copied().eq(parts.clone()) {
            self.parts = parts.collect();
            self.ranges.clear();
            self.ranges.extend(self.parts.iter().map(|part| part.range));
        }
    }
}

impl Sampler {
    /// Starts a sample. `Err` says why there is none.
    pub(super) fn start_sample(&mut self, now: Duration) -> Result<(), AccessError> {
        let may_sample = self.link.as_ref().is_some_and(|link| self.may_sample(link.connections()));
        let Some(link) = self.link.as_deref_mut() else { return Err(AccessError::Poisoned) };
        let no_box = AccessError::Invalid("the target's directory lists no sensor box");
        let sensors = part(link, RegionKind::SENSORS, self.fetcher.wants()).ok_or(no_box)?;
        let left = |kind: &u32| !self.left.contains(kind);
        let applications = self.application_kinds.iter().copied().filter(left);
        let applications = applications.filter_map(|kind| part(link, kind, usize::MAX));
        let directory = link.directory_sequence().map(|(range, sequence)| Part {
            kind: DIRECTORY,
            generation: sequence,
            range,
            region: range.length,
        });
        let reader = &mut self.reader;
        let lease = part(link, RegionKind::LEASE, LeaseView::BYTES);
        reader.set_parts(directory.into_iter().chain([sensors]).chain(lease).chain(applications));
        if !may_sample {
            return Err(AccessError::Busy);
        }
        let ticket = link.start(Request::Read(&reader.ranges), self.config.deadline)?;
        let what = What::Sample { parts: Arc::clone(&reader.parts), missed: false };
        reader.under_way.push(UnderWay { ticket, started: now, what });
        Ok(())
    }

    /// Counts chances as missed that were not answered in time. Their answers still count as readings, if they come.
    pub(super) fn lose_patience(&mut self, now: Duration) {
        let patience = self.patience();
        while let Some(asked) = self.reader.give_up_waiting(now, patience) {
            self.missed(asked, now, Failure::Silent, format!("no answer within {patience:?}"));
        }
    }

    /// Asks the target's NIC whether it is there at all.
    pub(super) fn start_probe(&mut self, now: Duration, deadline: Duration) {
        let Some(link) = self.link.as_deref_mut() else { return };
        match link.start(Request::Probe, deadline) {
            Ok(ticket) => {
                self.reader.under_way.push(UnderWay { ticket, started: now, what: What::Probe });
            }
            Err(error) => {
                tracing::debug!(target = %self.config.name, "cannot probe: {error}");
                self.consider_link(now);
            }
        }
    }

    /// Takes in what is there.
    pub(super) fn receive(&mut self) {
        loop {
            let Some(link) = self.link.as_deref_mut() else { return };
            let mut bytes = std::mem::take(&mut self.reader.bytes);
            let ended = link.poll(&mut bytes);
            if let Some((ticket, result)) = &ended {
                self.take_ended(*ticket, result.as_ref().map(|()| bytes.as_slice()));
            }
            self.reader.bytes = bytes;
            if ended.is_none() {
                return;
            }
        }
    }

    fn take_ended(&mut self, ticket: Ticket, result: Result<&[u8], &AccessError>) {
        let under_way = &mut self.reader.under_way;
        let Some(index) = under_way.iter().position(|request| request.ticket == ticket) else { return };
        let UnderWay { started, what, .. } = under_way.swap_remove(index);
        let finished = self.clock.monotonic();
        match what {
            What::Probe => {
                if let Err(error) = result {
                    self.draw_consequences(finished, error);
                }
                let took = finished.saturating_sub(started);
                self.judge_probe(finished, result.map(|_| took).map_err(|e| (failure(e), e.to_string())));
            }
            What::Sample { parts, missed } => match result {
                Ok(bytes) => self.take_sample(Taken { started, finished }, &parts, bytes, missed),
                Err(error) => {
                    self.draw_consequences(finished, error);
                    if !missed {
                        self.missed(started, finished, failure(error), error.to_string());
                    }
                }
            },
        }
    }

    fn take_sample(&mut self, taken: Taken, parts: &[Part], bytes: &[u8], missed: bool) {
        if self.last_started.is_some_and(|last| taken.started < last) {
            // A later reading was quicker: this one says nothing new.
            return;
        }
        let mut rest = bytes;
        self.applications.begin();
        for part in parts {
            let length = usize::try_from(part.range.length).unwrap_or(usize::MAX);
            let Some((bytes, behind)) = rest.split_at_checked(length) else { return };
            rest = behind;
            match part.kind {
                DIRECTORY => {
                    if bytes.try_into().is_ok_and(|word| u64::from_le_bytes(word) != part.generation) {
                        self.refresh_wanted = true;
                    }
                }
                RegionKind::LEASE => self.take_lease_table(taken, bytes),
                RegionKind::SENSORS => match self.fetcher.take(part.region, bytes) {
                    Ok(fetch::Taken::View) => {}
                    Ok(fetch::Taken::Again) => {
                        if let Err(error) = self.start_sample(taken.finished) {
                            self.missed(taken.started, taken.finished, failure(&error), error.to_string());
                        }
                        return;
                    }
                    Err(error) => {
                        let transient = matches!(error, backdoors_sensor_box::DecodeError::Torn { .. });
                        self.not_a_box(taken, error.to_string(), transient);
                        return;
                    }
                },
                kind => {
                    if let Err(error) = self.applications.take(kind, part.generation, bytes) {
                        // It is being laid out, or the directory has changed since.
                        tracing::debug!(target = %self.config.name, "application {kind:#x}: {error}");
                    }
                }
            }
        }
        self.applications.finish();
        self.last_started = Some(taken.started);
        self.take_in(taken, missed);
    }

    /// Learns which applications there are, after the directory was read.
    pub(super) fn find_applications(&mut self) {
        let kinds = RegionKind::APPLICATION_FIRST..RegionKind::APPLICATION_FIRST + RegionKind::APPLICATIONS;
        self.left.clear();
        self.application_kinds.clear();
        if let Some(link) = &self.link {
            self.application_kinds.extend(link.kinds().into_iter().filter(|kind| kinds.contains(kind)));
        }
    }

    /// Stops reading applications that said they leave: their regions are about to be retired.
    pub(super) fn let_go(&mut self) {
        for (kind, view) in self.applications.of_kinds() {
            if view.state == ApplicationState::Left && !self.left.contains(&kind) {
                self.left.push(kind);
            }
        }
    }
}

/// Stands for the directory among the kinds of parts.
const DIRECTORY: u32 = 0;

fn part(link: &dyn Link, kind: u32, bytes: usize) -> Option<Part> {
    let region = link.region(kind)?;
    let length = region.range.length.min(bytes as u64);
    let range = region.range.slice(0, length)?;
    Some(Part { kind, generation: region.generation, range, region: region.range.length })
}
