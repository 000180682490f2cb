//! How long readings took since the monitor began, for those who draw that over time.

use std::time::Duration;

/// Upper ends of the buckets; there is one more, without end. From RDMA's few microseconds to what no reading should take.
pub const BOUNDS: [Duration; 9] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
];

/// How long readings took since the monitor began. Unlike [`super::RoundTrip`] it forgets nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Readings in each bucket of [`BOUNDS`], and in the one beyond.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Of all of them.
    pub sum: Duration,
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        self.counts[BOUNDS.partition_point(|bound| *bound < took)] += 1;
        self.sum = self.sum.saturating_add(took);
    }
}
