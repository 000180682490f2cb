//! A small file of the last minutes of a recording.

use super::layout::{
    FRAME_HEAD_BYTES, HEADER_BYTES, Header, MOST_PAYLOAD_BYTES, SEGMENT_HEAD_BYTES, SegmentHead, frame_crc,
    frame_end,
};
use super::moment::{Gap, Moment, What, kind};
use super::reader::Recording;
use super::scribe::{Scribe, Sink};
use crate::clock::nanoseconds;
use std::time::Duration;

/// Length from which on a segment is ended.
const SEGMENT_BYTES: usize = 32 << 10;

/// A recording of `target` that holds what `recording` tells of its last minutes, or all of it. What could not be
/// read is marked. `wall` is the time it is made.
#[must_use]
pub fn extract(recording: &Recording, target: &str, last: Option<Duration>, wall: Duration) -> Vec<u8> {
    let end = recording.play().map(|moment| moment.wall).max().unwrap_or_default();
    let from = last.map_or(Duration::ZERO, |last| end.saturating_sub(last));
    let mut scribe = Scribe::new(Pages::default());
    let mut gaps = recording.gaps().to_vec();
    let mut playback = recording.play();
    while let Some(moment) = playback.next() {
        if moment.what == What::Begun {
            scribe.begin_run();
        } else if moment.wall < from {
            scribe.stands(&moment.what);
        } else {
            scribe.sink.run = moment.run;
            scribe.sink.wall = nanoseconds(moment.wall);
            for gap in gaps.drain(..) {
                scribe.text(nanoseconds(moment.at), kind::GAP, &gap.to_string());
            }
            copy(&mut scribe, &moment, &playback);
        }
    }
    scribe.sink.into_file(target, wall)
}

fn copy(scribe: &mut Scribe<Pages>, moment: &Moment, playback: &super::Playback<'_>) {
    let now = nanoseconds(moment.at);
    match &moment.what {
        What::Begun => {}
        What::Reading { asked } => {
            scribe.reading(now, nanoseconds(moment.at.saturating_sub(*asked)), playback.view());
        }
        What::Missed { asked, how, reason } => {
            scribe.missed(now, nanoseconds(moment.at.saturating_sub(*asked)), *how, reason);
        }
        What::Applications { asked } => {
            let took = nanoseconds(moment.at.saturating_sub(*asked));
            scribe.applications(now, took, playback.applications());
        }
        What::Probe(Ok(round_trip)) => scribe.probe(now, Ok(nanoseconds(*round_trip))),
        What::Probe(Err((how, reason))) => scribe.probe(now, Err((*how, reason))),
        What::Opinions(opinions) => scribe.opinions(now, opinions),
        What::Terms(terms) => scribe.terms(now, terms),
        What::Verdict(verdict) => scribe.verdict(now, verdict),
        What::Note(json) => scribe.text(now, kind::NOTE, json),
        What::Period { period, why } => scribe.period(now, *period, why),
        What::Settings(settings) => scribe.settings(now, settings),
        What::Gap(Gap::TooLarge { bytes }) => scribe.text(now, kind::GAP, &bytes.to_string()),
        What::Gap(gap) => scribe.text(now, kind::GAP, &gap.to_string()),
    }
}

/// Segments in memory, as long as they need to be.
#[derive(Debug, Default)]
struct Pages {
    run: u64,
    wall: u64,
    bytes: Vec<u8>,
    /// The segment that is not ended: its head, and where it begins.
    open: Option<(SegmentHead, usize)>,
    sequence: u32,
}

impl Pages {
    fn end(&mut self) {
        if let Some((mut head, begin)) = self.open.take() {
            self.bytes.extend_from_slice(&[0; 8]);
            head.length = (self.bytes.len() - begin) as u64;
            self.bytes[begin..begin + SEGMENT_HEAD_BYTES].copy_from_slice(&head.encode());
        }
    }

    fn used(&self) -> usize {
        self.open.map_or(0, |(_, begin)| self.bytes.len() - begin)
    }

    fn into_file(mut self, target: &str, wall: Duration) -> Vec<u8> {
        self.end();
        let length = (HEADER_BYTES + self.bytes.len()) as u64;
        // The catalogue fits; if it ever did not, a recording without a header could still be read.
        let header = Header::new(target, wall, 0, length).encode();
        let mut file = header.unwrap_or_else(|| vec![0; HEADER_BYTES]);
        file.append(&mut self.bytes);
        file
    }
}

impl Sink for Pages {
    fn begin(&mut self, monotonic: u64) {
        let number = self.open.map_or(1, |(head, _)| head.number + 1);
        self.end();
        let (run, wall, sequence) = (self.run, self.wall, self.sequence);
        self.open =
            Some((SegmentHead { number, length: 0, run, wall, monotonic, sequence }, self.bytes.len()));
        self.bytes.extend_from_slice(&[0; SEGMENT_HEAD_BYTES]);
    }

    fn append(&mut self, kind: u8, payload: &[u8]) -> bool {
        let Some((head, _)) = self.open else { return false };
        let full = self.used() > SEGMENT_BYTES;
        if full || payload.len() > MOST_PAYLOAD_BYTES {
            return false;
        }
        let end = frame_end(self.bytes.len(), payload.len());
        let crc = frame_crc(head.number, kind, self.sequence, payload);
        let first = payload.len() as u64 | u64::from(kind) << 24 | u64::from(crc) << 32;
        self.bytes.extend_from_slice(&first.to_le_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(end, 0);
        self.sequence = self.sequence.wrapping_add(1);
        true
    }

    fn could_hold(&self, payload: &[u8]) -> bool {
        payload.len() <= MOST_PAYLOAD_BYTES - FRAME_HEAD_BYTES
    }

    fn is_nearly_empty(&self) -> bool {
        self.used() < SEGMENT_BYTES / 4
    }
}
