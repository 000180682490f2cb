//! What a monitor wants of the lease, and how fit it is to hold it.

use std::time::Duration;

/// What the configuration says of a target's lease. Monitors of one target must agree about `duration` and `margin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a lease holds without being renewed. Shorter lets another monitor act sooner after the holder is gone,
    /// and costs more writes: it is renewed three times in this time.
    pub duration: Duration,
    /// How much longer the others wait: more than clocks of different speed differ in `duration`.
    pub margin: Duration,
    /// How much this monitor is wanted to be the one that acts; more is better.
    pub preference: u8,
    /// How long a preferred monitor must have been fit before the lease is given back to it. Longer keeps a path that
    /// comes and goes from passing the lease to and fro.
    pub take_back_after: Duration,
}

/// How well a monitor can reach the target and act in time, by its own judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fitness(pub u8);

impl Fitness {
    /// It cannot act: it takes no lease, even if there is nobody else.
    pub const UNFIT: Fitness = Fitness(0);
    /// As well as can be.
    pub const FULL: Fitness = Fitness(u8::MAX);
    const GOOD: Fitness = Fitness(128);

    /// From the share of attempts that succeed in time: half of them is just good. Never [`Fitness::UNFIT`], because
    /// a monitor that reaches the target sometimes is better than none.
    #[must_use]
    pub fn of_share(share: f64) -> Fitness {
        Fitness((share.clamp(0.0, 1.0) * 255.0).round().clamp(1.0, 255.0) as u8)
    }

    /// Whether it need not hand over.
    #[must_use]
    pub fn is_good(self) -> bool {
        self >= Fitness::GOOD
    }
}
