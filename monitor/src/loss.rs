//! What the path does to readings: how many are lost, and how long the others take. Pure.
//!
//! The thesis (section 3.4.2, after Gupta et al.) takes the probability p_ml of losing a reading as known. Here it is measured:
//! chances that were missed over chances taken, in a window that fades. A number that small is never known exactly, and too
//! small a number breaks the promise made with it, so [`Loss::probability`] is not the ratio but an upper bound that it
//! reaches only with many chances.
//!
//! Chances missed while nothing at all is read are no loss but an outage, which the judge is there for. They are held back
//! until the next good reading tells which it was: a run of more than [`OUTAGE`] is left out, so that an outage does not
//! make the path look lossy for long after.

mod latencies;
mod round_trip;

pub use latencies::{BOUNDS as LATENCY_BOUNDS, Latencies};
use round_trip::Histogram;
pub use round_trip::RoundTrip;
use std::time::Duration;

/// Chances the fading window holds: each counts `1 - 1/WINDOW` of the one after it.
const WINDOW: f64 = 4096.0;

/// Misses one after the other from which on they count as an outage. At a loss of 30 % a run as long comes once in 10^12 runs; from about
/// 80 % on it is common and the loss is underestimated, but there no promise can be kept anyway.
pub const OUTAGE: u32 = 24;

/// Chances, and those of them missed, that are taken for granted before anything was measured.
const BEFORE: (f64, f64) = (20.0, 1.0);

/// Standard deviations between the estimate and the bound that is used. The true loss lies above it in one of a thousand cases.
const DEVIATIONS: f64 = 3.0;

/// Loss and round trip of the path to one target.
#[derive(Clone, Debug)]
pub struct Loss {
    chances: f64,
    missed: f64,
    /// Misses since the last good reading, not yet counted.
    run: u32,
    round_trips: Histogram,
    latencies: Latencies,
    probability: f64,
}

impl Default for Loss {
    fn default() -> Loss {
        let mut loss = Loss {
            chances: 0.0,
            missed: 0.0,
            run: 0,
            round_trips: Histogram::default(),
            latencies: Latencies::default(),
            probability: 0.0,
        };
        loss.estimate();
        loss
    }
}

impl Loss {
    /// Takes in a good reading that took `took`.
    pub fn good(&mut self, took: Duration) {
        let run = std::mem::take(&mut self.run);
        if run <= OUTAGE {
            for _ in 0..run {
                self.count(1.0);
            }
        }
        self.count(0.0);
        self.round_trips.add(took);
        self.latencies.add(took);
        self.estimate();
    }

    /// Takes in that no answer came in time.
    pub fn missed(&mut self) {
        self.run = self.run.saturating_add(1);
    }

    /// Takes in that an answer came after all, after `took`, when its chance had been counted as missed: otherwise too short a wait would
    /// never be found out.
    pub fn late(&mut self, took: Duration) {
        self.round_trips.add(took);
        self.latencies.add(took);
    }

    /// p_ml: the probability of losing a reading, on the safe side.
    #[must_use]
    pub fn probability(&self) -> f64 {
        self.probability
    }

    /// The share of readings lost, without margin; for screens.
    #[must_use]
    pub fn measured(&self) -> f64 {
        if self.chances > 0.0 { self.missed / self.chances } else { 0.0 }
    }

    /// Chances missed since the last good reading.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// How long readings take.
    #[must_use]
    pub fn round_trip(&self) -> RoundTrip {
        self.round_trips.round_trip()
    }

    /// How long all readings took so far.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    fn count(&mut self, missed: f64) {
        let fade = 1.0 - 1.0 / WINDOW;
        self.chances = self.chances * fade + 1.0;
        self.missed = self.missed * fade + missed;
    }

    /// The upper end of Wilson's interval around the share missed, what is taken for granted added. It stays above zero when nothing
    /// was ever missed, which the textbook interval does not.
    fn estimate(&mut self) {
        let chances = self.chances + BEFORE.0;
        // What is taken for granted fades with what is known.
        let granted = BEFORE.1 * (BEFORE.0 / chances);
        let share = (self.missed + granted) / chances;
        let square = DEVIATIONS * DEVIATIONS / chances;
        let spread = DEVIATIONS * (share * (1.0 - share) / chances + square / (4.0 * chances)).sqrt();
        self.probability = ((share + square / 2.0 + spread) / (1.0 + square)).clamp(1e-9, 0.999);
    }
}

#[cfg(test)]
mod tests;
