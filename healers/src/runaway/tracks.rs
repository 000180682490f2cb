//! The CPU time of processes over a few looks.

use crate::Case;
use backdoors_sensor_box::Process;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

/// A process cannot use more than all processors. What is above that by more than the inaccuracy of looks is
/// nonsense.
const INACCURACY: Duration = Duration::from_millis(500);

/// What was seen of all processes of the last look. Only those are remembered, so it is bounded by the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    by_process: HashMap<(u32, u64), Track>,
    last: Option<Clocks>,
    /// Sum of the steps between looks.
    now: Duration,
}

/// The monitor's clock and the target's.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    monitor: Duration,
    target: u64,
}

#[derive(Clone, Copy, Debug)]
struct Track {
    /// What is averaged begins here.
    begin: Mark,
    /// And later here, once that is long enough: so it never gets longer than twice what it must be.
    next: Mark,
    last: Mark,
    is_busy: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    cpu_time: u64,
    /// Time before in which it held processors, as far as it was looked at.
    busy: Duration,
}

/// What a process used lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    pub window: Duration,
    /// CPU time in it, nanoseconds.
    pub used: u64,
    /// How much of it the process held processors.
    pub busy: Duration,
    /// Whether it did so between the last two looks.
    pub is_busy: bool,
}

impl Usage {
    /// CPUs.
    pub(super) fn average(&self) -> f64 {
        self.used as f64 / (self.window.as_nanos() as f64).max(1.0)
    }
}

impl Tracks {
    /// Takes a look. Processes are told from others by their start time, too. What used less CPU time than before,
    /// or more than there is, is watched anew from here.
    pub(super) fn look(&mut self, case: &Case<'_>, lasting: Duration, level: f64) {
        let step = self.step(case);
        self.now += step;
        let most = step.saturating_mul(case.sensors.cpus.max(1)).saturating_add(INACCURACY);
        let before = std::mem::take(&mut self.by_process);
        self.by_process.reserve(case.processes.processes.len());
        for process in &case.processes.processes {
            let key = (process.pid, process.start);
            let known = before.get(&key).copied();
            // A table that has a process twice is torn; the first one counts.
            if let Entry::Vacant(place) = self.by_process.entry(key) {
                let seen = Mark { at: self.now, cpu_time: process.cpu_time, busy: Duration::ZERO };
                place.insert(match known {
                    Some(track) => track.seen(seen, most, lasting, level),
                    None => Track { begin: seen, next: seen, last: seen, is_busy: false },
                });
            }
        }
    }

    /// Time since the last look: by the monitor's clock or the target's, whichever says more. A target that stalls
    /// stops its own clock, and a monitor that slept its; taking the longer time, neither makes a process look busier
    /// than it was.
    fn step(&mut self, case: &Case<'_>) -> Duration {
        let clocks = Clocks { monitor: case.now, target: case.sensors.clock };
        let Some(last) = self.last.replace(clocks) else { return Duration::ZERO };
        let of_target = Duration::from_nanos(clocks.target.saturating_sub(last.target));
        clocks.monitor.saturating_sub(last.monitor).max(of_target)
    }

    /// Processes that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_process.len()
    }

    /// What a process used, if it was watched for long enough.
    pub(super) fn usage(&self, process: &Process, lasting: Duration) -> Option<Usage> {
        let track = self.by_process.get(&(process.pid, process.start))?;
        let window = track.last.at.saturating_sub(track.begin.at);
        (window >= lasting).then(|| Usage {
            window,
            used: track.last.cpu_time.saturating_sub(track.begin.cpu_time),
            busy: track.last.busy.saturating_sub(track.begin.busy),
            is_busy: track.is_busy,
        })
    }
}

impl Track {
    fn seen(mut self, seen: Mark, most: Duration, lasting: Duration, level: f64) -> Track {
        let step = seen.at.saturating_sub(self.last.at);
        let used = seen.cpu_time.checked_sub(self.last.cpu_time).map(Duration::from_nanos);
        let Some(used) = used.filter(|used| *used <= most) else {
            return Track { begin: seen, next: seen, last: seen, is_busy: false };
        };
        // Looks are not as punctual as averages.
        self.is_busy = used.as_secs_f64() > step.as_secs_f64() * level / 2.0;
        let busy = if self.is_busy { self.last.busy + step } else { self.last.busy };
        self.last = Mark { busy, ..seen };
        let window = self.last.at.saturating_sub(self.begin.at).as_nanos() as f64;
        if !self.is_busy && (self.last.cpu_time - self.begin.cpu_time) as f64 <= window * level {
            // Idle so far: what counts begins here, so that a process is found as soon as it was busy for long enough.
            (self.begin, self.next) = (self.last, self.last);
        }
        if self.last.at.saturating_sub(self.next.at) >= lasting {
            (self.begin, self.next) = (self.next, self.last);
        }
        self
    }
}
