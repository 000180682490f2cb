//! Medians of measurements, and how they are shown.

use std::time::Duration;

/// The median; `None` of nothing.
pub fn median(times: &mut [Duration]) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// The median; `None` of nothing.
pub fn median_of(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Prints a row of the table that `cargo xtask bench` ends with; `ratio` is measured by aim or by competitor.
pub fn row(what: &str, measured: &str, aim: &str, ratio: f64) {
    println!("| {what} | {measured} | {aim} | {ratio:.2} |");
}

/// Microseconds.
pub fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
