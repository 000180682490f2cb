//! Quantiles of how long readings take, in constant space and time.

use std::time::Duration;

/// How long a reading takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrip {
    /// Half of the readings take no longer.
    pub median: Duration,
    /// 99 of 100 readings take no longer.
    pub high: Duration,
}

/// Four buckets to each doubling, from 1 µs up: an error of at most 19 %.
const BUCKETS: usize = 112;
/// Readings after which older ones count half.
const HALVE_AFTER: u32 = 2048;

#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: [u32; BUCKETS],
    total: u32,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub fn add(&mut self, took: Duration) {
        if self.total >= HALVE_AFTER {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
        self.counts[bucket(took)] += 1;
        self.total += 1;
    }

    /// Zero as long as nothing was read.
    pub fn round_trip(&self) -> RoundTrip {
        RoundTrip { median: self.quantile(0.5), high: self.quantile(0.99) }
    }

    fn quantile(&self, share: f64) -> Duration {
        let wanted = (f64::from(self.total) * share).ceil();
        let mut seen = 0.0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += f64::from(count);
            if count > 0 && seen >= wanted {
                return upper_end(index);
            }
        }
        Duration::ZERO
    }
}

fn bucket(took: Duration) -> usize {
    let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1024);
    // 1024 ns is the floor, so there are at least ten bits below the leading one.
    let doubling = nanoseconds.ilog2() as usize;
    let quarter = (nanoseconds >> (doubling - 2)) as usize & 3;
    ((doubling - 10) * 4 + quarter).min(BUCKETS - 1)
}

fn upper_end(bucket: usize) -> Duration {
    let (doubling, quarter) = (bucket / 4 + 10, bucket % 4);
    Duration::from_nanos((1u64 << (doubling - 2)) * (quarter as u64 + 5))
}
