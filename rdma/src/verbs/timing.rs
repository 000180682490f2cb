//! How long the NIC tries before it gives up.

use std::time::Duration;

/// Unit of the acknowledgement timeout, in nanoseconds: the timeout is this times two to its code.
const UNIT: u64 = 4096;
/// Highest code of a timeout there is.
const LONGEST_CODE: u8 = 31;
/// Most retries: seven means "for ever" to soft-RoCE.
const MOST_RETRIES: u8 = 6;
/// Shortest timeout, about a millisecond: a shorter one would take a busy target for a lost packet.
const SHORTEST_CODE: u8 = 8;

/// A queue pair's retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The NIC waits 4.096 µs times two to this for an acknowledgement.
    pub timeout: u8,
    /// How often it sends again.
    pub retries: u8,
}

impl Timing {
    /// The budget that fits into `deadline`: as many retries as possible, because each one is a lost packet survived,
    /// then the longest timeout. A deadline shorter than one timeout is kept by whoever waits.
    #[must_use]
    pub fn within(deadline: Duration) -> Timing {
        let fits = |timing: &Timing| timing.gives_up_after() <= deadline;
        (0..=MOST_RETRIES)
            .rev()
            .flat_map(|retries| {
                (SHORTEST_CODE..=LONGEST_CODE).rev().map(move |timeout| Timing { timeout, retries })
            })
            .find(fits)
            .unwrap_or(Timing { timeout: SHORTEST_CODE, retries: 0 })
    }

    /// When the NIC gives up, by the book; real ones round up.
    #[must_use]
    pub fn gives_up_after(&self) -> Duration {
        Duration::from_nanos((UNIT << self.timeout) * (u64::from(self.retries) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nic_gives_up_before_the_deadline() {
        for milliseconds in [2, 5, 10, 50, 100, 500, 1000, 60_000] {
            let deadline = Duration::from_millis(milliseconds);
            let timing = Timing::within(deadline);
            assert!(timing.gives_up_after() <= deadline, "{deadline:?} {timing:?}");
            assert!(
                timing.gives_up_after() > deadline / 3 || timing.timeout == SHORTEST_CODE,
                "{deadline:?} {timing:?}"
            );
        }
    }

    #[test]
    fn it_never_retries_for_ever() {
        for exponent in 0..40 {
            let timing = Timing::within(Duration::from_micros(1 << exponent));
            assert!(timing.retries <= MOST_RETRIES && timing.timeout <= LONGEST_CODE);
        }
        assert_eq!(Timing::within(Duration::MAX), Timing { timeout: LONGEST_CODE, retries: MOST_RETRIES });
    }

    #[test]
    fn ten_milliseconds_are_enough_for_six_retries() {
        assert_eq!(Timing::within(Duration::from_millis(10)), Timing { timeout: 8, retries: 6 });
    }

    #[test]
    fn a_deadline_shorter_than_a_timeout_gets_the_shortest() {
        assert_eq!(Timing::within(Duration::ZERO), Timing { timeout: SHORTEST_CODE, retries: 0 });
    }
}
