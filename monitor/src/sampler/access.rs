//! Reaching the target: opening links, reading regions, and what to do when that fails.

use super::{LONGEST_BACKOFF, REFRESH_PAUSE, Sampler};
use crate::judge::Failure;
use crate::link::{Link, LinkError, Region, read};
use backdoors_rdma::{AccessError, Operation};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{
    AcknowledgementView, AuditView, Command, EncodedCommand, FetchError, ProcessView, Seal, Token,
    fetch_acknowledgement, fetch_audit, fetch_processes,
};
use std::time::Duration;

/// Samples leave this part of the connections alone.
const SPARED_SHARE: usize = 4;

/// A write that failed.
pub(super) struct WriteFailed {
    /// Whether it may have arrived all the same.
    pub may_have_changed: bool,
}

impl Sampler {
    /// Fetches the process table.
    pub(super) fn fetch_processes(&mut self, now: Duration) -> Result<ProcessView, FetchError<String>> {
        let view = self.with_region(now, RegionKind::PROCESSES, |link, region| {
            fetch_processes(region.range.length, |offset, into| read(link, region, offset, into))
        })?;
        match self.generation {
            Some(expected) if expected != view.generation => {
                let found = view.generation;
                Err(self.failed(now, FetchError::Access(AccessError::Gone { expected, found })))
            }
            _ => Ok(view),
        }
    }

    /// Fetches the audit ring.
    pub(super) fn fetch_audit(&mut self, now: Duration) -> Result<AuditView, FetchError<String>> {
        self.with_region(now, RegionKind::AUDIT, |link, region| {
            fetch_audit(region.range.length, |offset, into| read(link, region, offset, into))
        })
    }

    /// Fetches this monitor's acknowledgement.
    pub(super) fn fetch_acknowledgement(
        &mut self,
        now: Duration,
    ) -> Result<AcknowledgementView, FetchError<String>> {
        self.with_region(now, RegionKind::ACKNOWLEDGEMENTS, |link, region| {
            fetch_acknowledgement(link.slot(), |offset, into| read(link, region, offset, into))
        })
    }

    /// Writes a command, or without a `token` a vote for it, into this monitor's slot: its body, and behind it the sequence that makes it valid.
    pub(super) fn write_command(
        &mut self,
        now: Duration,
        command: &Command,
        sequence: u64,
        token: Option<Token>,
        reason: &str,
    ) -> Result<(), WriteFailed> {
        let mut may_have_changed = false;
        let written = self.with_region(now, RegionKind::COMMAND, |link, region| {
            let seal = Seal { key: link.command_key(), slot: link.slot(), generation: region.generation };
            let command = match token {
                Some(token) => command.encode(sequence, token, &seal, reason),
                None => command.encode_vote(sequence, &seal, reason),
            };
            let slice = |offset, bytes: &[u8]| {
                let outside = AccessError::Invalid("the command slot is smaller than a command");
                region.range.slice(offset, bytes.len() as u64).ok_or(FetchError::Access(outside))
            };
            let body = slice(0, &command.body)?;
            let sequence = slice(EncodedCommand::SEQUENCE_OFFSET, &command.sequence)?;
            let mut batch = [
                Operation::Write { to: body, from: &command.body },
                Operation::Write { to: sequence, from: &command.sequence },
            ];
            link.submit(&mut batch).map_err(|error| {
                may_have_changed = error.may_have_changed();
                FetchError::Access(error)
            })
        });
        written.map_err(|_| WriteFailed { may_have_changed })
    }

    /// Has a link opened if there is none, or too little of it is left, and it is time to try. `Err` says why there is
    /// still none.
    pub(super) fn connect(&mut self, now: Duration) -> Result<(), LinkError> {
        let left = self.link.as_ref().map_or(0, |link| link.connections());
        if left > self.spared() {
            return Ok(());
        }
        let opened = self.open(now);
        // What is left of a link is better than none.
        if self.link.is_some() { Ok(()) } else { opened }
    }

    fn open(&mut self, now: Duration) -> Result<(), LinkError> {
        if !self.opening {
            if now < self.open_at {
                // Nobody is being asked.
                return Err(LinkError { reason: self.last_problem(), failure: Failure::NotAsked });
            }
            self.linker.begin();
            self.opening = true;
        }
        let Some(opened) = self.linker.finished() else {
            return Err(LinkError { reason: self.last_problem(), failure: Failure::Silent });
        };
        self.opening = false;
        match opened {
            Ok(link) => {
                self.drop_requests(now);
                self.know_lease(link.slot(), false);
                self.link = Some(link);
                self.links += 1;
                self.refresh_wanted = false;
                self.dial_failed = false;
                self.find_applications();
                Ok(())
            }
            Err(error) => {
                self.dial_failed = true;
                self.put_off(self.clock.monotonic());
                Err(error)
            }
        }
    }

    /// Connections that samples leave alone as long as there are others: for probes, which tell a slow path from a dead
    /// one, and for what cannot wait. A path that loses readings must not use up all of them.
    pub(super) fn spared(&self) -> usize {
        match self.config.connections {
            0 | 1 => 0,
            several => (several / SPARED_SHARE).max(1),
        }
    }

    /// Whether a sample may have one of the `left` connections that work.
    pub(super) fn may_sample(&self, left: usize) -> bool {
        let samples = self.reader.samples();
        if left > self.spared() {
            samples + self.spared() < left
        } else if left > 1 {
            samples == 0
        } else {
            // The very last one is for probes, unless no others can be had.
            self.dial_failed && self.reader.probes() == 0
        }
    }

    fn drop_requests(&mut self, now: Duration) {
        for asked in self.reader.clear() {
            self.missed(asked, now, Failure::Silent, "the connection was lost".to_owned());
        }
    }

    /// Works on a region that must be of the generation of the sensor box.
    pub(super) fn with_region<T>(
        &mut self,
        now: Duration,
        kind: u32,
        work: impl FnOnce(&mut dyn Link, &Region) -> Result<T, FetchError<AccessError>>,
    ) -> Result<T, FetchError<String>> {
        let Some(link) = self.link.as_deref_mut() else {
            return Err(FetchError::Access(self.last_problem()));
        };
        let worked = match (link.region(kind), self.generation) {
            (None, _) => {
                self.refresh_wanted = true;
                return Err(FetchError::Access(format!(
                    "the target's directory lists no region of kind {kind}"
                )));
            }
            (Some(region), Some(expected)) if region.generation != expected => {
                Err(FetchError::Access(AccessError::Gone { expected, found: region.generation }))
            }
            (Some(region), _) => work(link, &region),
        };
        worked.map_err(|error| self.failed(now, error))
    }

    /// Draws the consequences of a failure, and puts it in words.
    fn failed(&mut self, now: Duration, error: FetchError<AccessError>) -> FetchError<String> {
        match error {
            FetchError::Decode(error) => FetchError::Decode(error),
            FetchError::Access(error) => {
                self.draw_consequences(now, &error);
                FetchError::Access(error.to_string())
            }
        }
    }

    /// What a failure means for directory and link.
    pub(super) fn draw_consequences(&mut self, now: Duration, error: &AccessError) {
        match error {
            AccessError::Gone { .. } | AccessError::Invalid(_) => self.refresh_wanted = true,
            AccessError::Denied => {
                // It took the connection along. When the directory is no help, the next denials take the others,
                // and then the target is asked anew.
                self.refresh_at = Duration::ZERO;
                self.refresh_wanted = true;
            }
            AccessError::Unreachable { .. }
            | AccessError::Poisoned
            | AccessError::Device(_)
            | AccessError::Busy => {}
        }
        self.consider_link(now);
    }

    /// Gives the link up if no connection of it works any more.
    pub(super) fn consider_link(&mut self, now: Duration) {
        if self.link.as_ref().is_some_and(|link| link.connections() == 0) {
            self.give_up_link(now);
        }
    }

    /// Whether the directory is to be read again, and it is time to.
    pub(super) fn refresh_is_due(&self, now: Duration) -> bool {
        self.refresh_wanted && now >= self.refresh_at && self.link.is_some()
    }

    /// Reads the directory again, though not in quick succession. Without a directory the link is no use.
    pub(super) fn refresh_directory(&mut self, now: Duration) {
        if !self.refresh_is_due(now) {
            return;
        }
        self.refresh_wanted = false;
        self.refresh_at = now.saturating_add(REFRESH_PAUSE);
        if let Some(link) = &mut self.link
            && let Err(error) = link.refresh()
        {
            tracing::debug!(target = %self.config.name, "cannot read the directory: {error}");
            self.give_up_link(now);
        }
        self.find_applications();
    }

    pub(super) fn give_up_link(&mut self, now: Duration) {
        if self.link.take().is_some() {
            self.drop_requests(now);
            self.put_off(now);
        }
    }

    /// Sets the time of the next attempt to connect, further away each time until a sample succeeds.
    fn put_off(&mut self, now: Duration) {
        self.open_at = now.saturating_add(self.backoff);
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
    }

    fn last_problem(&self) -> String {
        self.problem().unwrap_or_else(|| "waiting to connect anew".to_owned())
    }
}
