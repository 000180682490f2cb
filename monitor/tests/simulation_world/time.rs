//! Time of the world, and the clocks of its monitors, which agree neither about when it began nor about how fast it goes.

use backdoors_monitor::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub const MICROSECOND: u64 = 1_000;
pub const MILLISECOND: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since the world began.
#[derive(Clone, Debug, Default)]
pub struct WorldTime(Arc<AtomicU64>);

impl WorldTime {
    pub fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub fn set(&self, now: u64) {
        self.0.store(now, Relaxed);
    }
}

/// The clock of a monitor, as one of its threads sees it.
#[derive(Clone, Debug)]
pub struct MonitorClock {
    world: WorldTime,
    /// How long the thread has waited in the step it is in, beyond the time of the world.
    waited: Arc<AtomicU64>,
    offset: u64,
    /// Millionths by which it goes too fast.
    drift: i64,
}

impl MonitorClock {
    pub fn new(world: &WorldTime, offset: u64, drift: i64) -> MonitorClock {
        MonitorClock { world: world.clone(), waited: Arc::default(), offset, drift }
    }

    /// Another thread of the same monitor.
    pub fn thread(&self) -> MonitorClock {
        MonitorClock { waited: Arc::default(), ..self.clone() }
    }

    /// Time of the world, for this thread.
    pub fn world(&self) -> u64 {
        self.world.now() + self.waited()
    }

    pub fn waited(&self) -> u64 {
        self.waited.load(Relaxed)
    }

    pub fn wait(&self, time: u64) {
        self.waited.fetch_add(time, Relaxed);
    }

    pub fn begin_step(&self) {
        self.waited.store(0, Relaxed);
    }

    pub fn local(&self, world: u64) -> Duration {
        let drift = world as i128 * i128::from(self.drift) / 1_000_000;
        Duration::from_nanos((i128::from(world) + drift + i128::from(self.offset)).max(0) as u64)
    }

    /// The first time of the world at which this clock shows `local` or more.
    pub fn world_at(&self, local: Duration) -> u64 {
        let since = (local.as_nanos() as i128 - i128::from(self.offset)).max(0);
        let mut world =
            (since * 1_000_000 / i128::from(1_000_000 + self.drift)).min(i128::from(u64::MAX / 4)) as u64;
        while self.local(world) < local && world < u64::MAX / 4 {
            world += 1;
        }
        world
    }
}

impl Clock for MonitorClock {
    fn monotonic(&self) -> Duration {
        self.local(self.world())
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.monotonic()
    }
}
