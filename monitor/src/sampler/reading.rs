//! Readings under way: started when they are due, taken in when they are there. Nothing here waits.

use super::Sampler;
use crate::detector::Taken;
use crate::link::Link;
use backdoors_rdma::{AccessError, RemoteRange, Request, Ticket};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{FetchError, fetch};
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
    /// The samples that were not answered while it was their turn; each is told once.
    pub(super) fn overdue(&mut self) -> usize {
        let mut count = 0;
        for request in &mut self.under_way {
            if let What::Sample { missed, .. } = &mut request.what
                && !std::mem::replace(missed, true)
            {
                count += 1;
            }
        }
        count
    }

    pub(super) fn is_probing(&self) -> bool {
        self.under_way.iter().any(|request| matches!(request.what, What::Probe))
    }

    /// Forgets what went over a link that was given up.
    pub(super) fn clear(&mut self) {
        self.under_way.clear();
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
    pub(super) fn start_sample(&mut self, now: Duration) -> Result<(), FetchError<AccessError>> {
        let no_box =
            || FetchError::Access(AccessError::Invalid("the target's directory lists no sensor box"));
        let Some(link) = self.link.as_deref_mut() else {
            return Err(FetchError::Access(AccessError::Poisoned));
        };
        let sensors = part(link, RegionKind::SENSORS, self.fetcher.wants()).ok_or_else(no_box)?;
        self.reader.set_parts(std::iter::once(sensors));
        self.start_parts(now)
    }

    fn start_parts(&mut self, now: Duration) -> Result<(), FetchError<AccessError>> {
        let Some(link) = self.link.as_deref_mut() else {
            return Err(FetchError::Access(AccessError::Poisoned));
        };
        let reader = &mut self.reader;
        let ticket =
            link.start(Request::Read(&reader.ranges), self.config.deadline).map_err(FetchError::Access)?;
        let what = What::Sample { parts: Arc::clone(&reader.parts), missed: false };
        reader.under_way.push(UnderWay { ticket, started: now, what });
        Ok(())
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
            What::Probe => self.probed(finished, result.map(|_| finished.saturating_sub(started))),
            What::Sample { parts, missed } => match result {
                Ok(bytes) => self.take_sample(Taken { started, finished }, &parts, bytes, missed),
                Err(error) => {
                    self.draw_consequences(finished, error);
                    if !missed {
                        self.missed(finished, error.to_string());
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
        for part in parts {
            let length = usize::try_from(part.range.length).unwrap_or(usize::MAX);
            let Some((bytes, behind)) = rest.split_at_checked(length) else { return };
            rest = behind;
            if part.kind == RegionKind::SENSORS {
                match self.fetcher.take(part.region, bytes) {
                    Ok(fetch::Taken::View) => {}
                    Ok(fetch::Taken::Again) => {
                        let again = self.start_sample(taken.finished);
                        if let Err(error) = again {
                            self.missed(taken.finished, error.to_string());
                        }
                        return;
                    }
                    Err(error) => {
                        let transient = matches!(error, backdoors_sensor_box::DecodeError::Torn { .. });
                        self.not_a_box(taken.finished, error.to_string(), transient);
                        return;
                    }
                }
            }
        }
        self.last_started = Some(taken.started);
        self.take_in(taken, missed);
    }
}

fn part(link: &dyn Link, kind: u32, bytes: usize) -> Option<Part> {
    let region = link.region(kind)?;
    let length = region.range.length.min(bytes as u64);
    let range = region.range.slice(0, length)?;
    Some(Part { kind, generation: region.generation, range, region: region.range.length })
}
