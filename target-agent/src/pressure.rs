//! How much memory there is, and how much work stands still for want of it, where the kernel half cannot see it: the
//! user half reads `/proc` instead, so a frozen agent means frozen sensors. The capability word says so.

use crate::words::Words;
use backdoors_sensor_box::SensorKind;
use backdoors_sensor_box::layout::Capabilities;
use backdoors_sensor_box::writer::{Sensor, SensorBox};
use procfs::{Current, Meminfo, MemoryPressure};
use std::collections::VecDeque;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Memory and swap space, in all and free. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySize {
    /// Memory that programs can have without swapping.
    pub available: u64,
    /// Memory of the machine.
    pub total: u64,
    /// Free swap space.
    pub swap_free: u64,
    /// Swap space in all.
    pub swap_total: u64,
}

impl MemorySize {
    /// What `/proc/meminfo` says; nothing if it cannot be read.
    #[must_use]
    pub fn read() -> Option<MemorySize> {
        let info = Meminfo::current().ok()?;
        Some(MemorySize {
            available: info.mem_available.unwrap_or(info.mem_free),
            total: info.mem_total,
            swap_free: info.swap_free,
            swap_total: info.swap_total,
        })
    }
}

/// Keeps the sensors of memory up to date.
#[derive(Debug)]
pub struct PressureWatch {
    available: Sensor,
    total: Sensor,
    swap_free: Sensor,
    swap_total: Sensor,
    stalled: Sensor,
    stalls: Stalls,
}

impl PressureWatch {
    /// A watch over the sensors of this box; none if the kernel half fills them, or there are none.
    #[must_use]
    pub fn over(sensors: &SensorBox<Words>) -> Option<PressureWatch> {
        let header = sensors.header().ok()?;
        if header.capabilities & Capabilities::KERNEL_SEES_MEMORY != 0 {
            return None;
        }
        let find = |kind| sensors.find(kind, 0);
        Some(PressureWatch {
            available: find(SensorKind::MEMORY_AVAILABLE)?,
            total: find(SensorKind::MEMORY_TOTAL)?,
            swap_free: find(SensorKind::SWAP_FREE)?,
            swap_total: find(SensorKind::SWAP_TOTAL)?,
            stalled: find(SensorKind::MEMORY_STALLED)?,
            stalls: Stalls::default(),
        })
    }

    /// Looks at `now`, on the monotonic clock. What cannot be read stays as it was.
    pub fn look(&mut self, now: Duration, sensors: &SensorBox<Words>) {
        if let Some(size) = MemorySize::read() {
            sensors.set(self.available, size.available);
            sensors.set(self.total, size.total);
            sensors.set(self.swap_free, size.swap_free);
            sensors.set(self.swap_total, size.swap_total);
        }
        if let Ok(pressure) = MemoryPressure::current() {
            let stalled = self.stalls.of_second(now, Duration::from_micros(pressure.full.total));
            sensors.set(self.stalled, u64::try_from(stalled.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// From the time stalled ever to that of the last second.
#[derive(Debug, Default)]
struct Stalls {
    looks: VecDeque<(Duration, Duration)>,
}

impl Stalls {
    fn of_second(&mut self, now: Duration, ever: Duration) -> Duration {
        // The oldest look that is a second old stays, to count from.
        while self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= SECOND) {
            self.looks.pop_front();
        }
        let (since, before) = self.looks.front().copied().unwrap_or((now, ever));
        self.looks.push_back((now, ever));
        let (stalled, span) = (ever.saturating_sub(before), now.saturating_sub(since));
        // An agent that was paused looks back further than a second.
        if span > SECOND { stalled.mul_f64(SECOND.as_secs_f64() / span.as_secs_f64()) } else { stalled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn what_was_stalled_before_the_first_look_is_not_counted() {
        assert_eq!(Stalls::default().of_second(ms(100), ms(7000)), ms(0));
    }

    #[test]
    fn only_the_last_second_counts() {
        let mut stalls = Stalls::default();
        for tenth in 0..=10 {
            stalls.of_second(ms(tenth * 100), ms(tenth * 50));
        }
        assert_eq!(stalls.of_second(ms(1100), ms(500)), ms(450));
        for tenth in 12..=21 {
            stalls.of_second(ms(tenth * 100), ms(500));
        }
        assert_eq!(stalls.of_second(ms(2200), ms(500)), ms(0));
    }

    #[test]
    fn a_pause_between_two_looks_counts_in_proportion() {
        let mut stalls = Stalls::default();
        stalls.of_second(ms(0), ms(0));
        assert_eq!(stalls.of_second(ms(4000), ms(2000)), ms(500));
    }

    #[test]
    fn the_machine_says_how_much_memory_it_has() {
        let size = MemorySize::read().unwrap();
        assert!(size.available > 0 && size.available <= size.total, "{size:?}");
        assert!(size.swap_free <= size.swap_total, "{size:?}");
    }
}
