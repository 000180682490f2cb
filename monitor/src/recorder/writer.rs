//! Writing: the ring of segments in a mapped file.

mod file;
mod ring;

use super::moment::{Settings, kind};
use super::scribe::Scribe;
use crate::clock::{Clock, SystemClock, nanoseconds};
use crate::detector::Taken;
use crate::journal::Entry;
use crate::judge::{Failure, Terms};
use crate::peers::Opinion;
use crate::verdict::Verdict;
use backdoors_sensor_box::{ApplicationView, SensorView};
use ring::Ring;
use std::path::Path;
use std::time::Duration;

pub use file::{OpenError, file_of};

/// Size of a recording unless the configuration says otherwise, bytes.
pub const DEFAULT_BYTES: u64 = 4 << 20;
/// Least size of a recording, bytes.
pub const LEAST_BYTES: u64 = 64 << 10;

/// Records one target. Nothing it does fails or waits: what does not fit is left out, and the recording says so.
#[derive(Debug)]
pub struct Recorder {
    scribe: Scribe<Ring>,
}

impl Recorder {
    /// Opens the recording of `target` in `folder`, making both if need be; `bytes` long, at least
    /// [`LEAST_BYTES`]. What an earlier run recorded is kept until its place is needed. A recording of another size
    /// or version is renamed to `….old`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, target: &str, bytes: u64) -> Result<Recorder, OpenError> {
        Recorder::open_with(folder, target, bytes, Box::new(SystemClock))
    }

    /// As [`Recorder::open`], with a clock that tests turn by hand. Of it only the wall is read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        folder: &Path,
        target: &str,
        bytes: u64,
        clock: Box<dyn Clock>,
    ) -> Result<Recorder, OpenError> {
        let ring = file::open(folder, target, bytes, clock)?;
        Ok(Recorder { scribe: Scribe::new(ring) })
    }

    /// A reading that succeeded.
    pub fn reading(&mut self, taken: impl Into<Taken>, view: &SensorView) {
        let Taken { started, finished } = taken.into();
        let took = nanoseconds(finished.saturating_sub(started));
        self.scribe.reading(nanoseconds(finished), took, view);
    }

    /// What was read of the applications, all of them.
    pub fn applications(&mut self, taken: impl Into<Taken>, views: &[ApplicationView]) {
        let Taken { started, finished } = taken.into();
        let took = nanoseconds(finished.saturating_sub(started));
        self.scribe.applications(nanoseconds(finished), took, views);
    }

    /// A chance to read, taken at `asked`, that came to nothing, as was known at `now`.
    pub fn missed(&mut self, asked: Duration, now: Duration, how: Failure, reason: &str) {
        self.scribe.missed(nanoseconds(now), nanoseconds(now.saturating_sub(asked)), how, reason);
    }

    /// A probe that came back after the time given, or why it did not.
    pub fn probe(&mut self, now: Duration, outcome: Result<Duration, (Failure, &str)>) {
        self.scribe.probe(nanoseconds(now), outcome.map(nanoseconds));
    }

    /// What other monitors say, all of it. Told again unchanged it is not recorded again.
    pub fn opinions(&mut self, now: Duration, opinions: &[Opinion]) {
        self.scribe.opinions(nanoseconds(now), opinions);
    }

    /// What silence is measured by. It is recorded again when verdicts may differ by it.
    pub fn terms(&mut self, now: Duration, terms: &Terms) {
        self.scribe.terms(nanoseconds(now), terms);
    }

    /// A verdict that changed. One that did not is not recorded again.
    pub fn verdict(&mut self, now: Duration, verdict: &Verdict) {
        self.scribe.verdict(nanoseconds(now), verdict);
    }

    /// An entry of the journal.
    pub fn note(&mut self, now: Duration, entry: &Entry) {
        // Nothing in an entry has no JSON.
        if let Ok(json) = serde_json::to_string(entry) {
            self.scribe.text(nanoseconds(now), kind::NOTE, &json);
        }
    }

    /// The period between samples. One that did not change is not recorded again.
    pub fn period(&mut self, now: Duration, period: Duration, why: &str) {
        self.scribe.period(nanoseconds(now), period, why);
    }

    /// What detector and judge go by, told once.
    pub fn settings(&mut self, now: Duration, settings: &Settings) {
        self.scribe.settings(nanoseconds(now), settings);
    }
}
