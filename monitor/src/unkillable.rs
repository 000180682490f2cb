//! The bench: processes that were signalled and did not die, as those that wait for a device (state D). Pure.
//!
//! To strike them again helps nobody. Healers are shown them as protected, so that they look further, and what they
//! propose nevertheless is withheld if it would strike nobody else.

use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Process, ProcessView};
use std::collections::HashMap;
use std::time::Duration;

/// Processes on the bench.
const MOST: usize = 4096;

/// The bench of one target.
#[derive(Debug)]
pub struct Unkillable {
    cooldown: Duration,
    /// When each process was put there. Its start tells it from a later one with the same id, so the dead need not be
    /// taken off.
    since: HashMap<(u32, u64), Duration>,
    now: Duration,
}

impl Unkillable {
    /// An empty bench, on which one stays for `cooldown`.
    #[must_use]
    pub fn new(cooldown: Duration) -> Unkillable {
        Unkillable { cooldown, since: HashMap::new(), now: Duration::ZERO }
    }

    /// How long one stays there.
    #[must_use]
    pub fn cooldown(&self) -> Duration {
        self.cooldown
    }

    /// Has processes that are put from now on left alone for that long.
    pub fn set_cooldown(&mut self, cooldown: Duration) {
        self.cooldown = cooldown;
    }

    /// Puts processes on the bench; returns how many were not there before.
    pub fn put<'a>(&mut self, now: Duration, processes: impl IntoIterator<Item = &'a Process>) -> usize {
        self.go_on(now);
        let mut new = 0;
        for process in processes {
            // Those that find no room are struck again sometime, which is no harm but to the journal.
            if self.since.len() < MOST && self.since.insert((process.pid, process.start), self.now).is_none()
            {
                new += 1;
            }
        }
        new
    }

    /// Takes off whose time is over. When the clock goes back, all begin anew.
    pub fn go_on(&mut self, now: Duration) {
        if now < self.now {
            self.since.values_mut().for_each(|at| *at = now.min(*at));
        }
        self.now = now;
        self.since.retain(|_, at| now - *at < self.cooldown);
    }

    /// Whether a process is on the bench.
    #[must_use]
    pub fn holds(&self, process: &Process) -> bool {
        self.since.contains_key(&(process.pid, process.start))
    }

    /// Marks those on the bench as protected, for healers.
    pub fn protect(&self, table: &mut ProcessView) {
        if self.since.is_empty() {
            return;
        }
        for process in &mut table.processes {
            if self.holds(process) {
                process.flags |= ProcessFlags::PROTECTED;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, start: u64) -> Process {
        Process {
            pid,
            parent: 1,
            user: 1000,
            depth: 1,
            flags: 0,
            start,
            rss: 0,
            cpu_time: 0,
            command: "dd".into(),
            ..Process::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_process_stays_for_the_cooldown_and_its_successor_is_not_it() {
        let mut bench = Unkillable::new(at(600));
        assert_eq!(bench.put(at(0), &[process(5, 70)]), 1);
        assert_eq!(bench.put(at(1), &[process(5, 70), process(6, 70)]), 1);
        assert!(bench.holds(&process(5, 70)) && !bench.holds(&process(5, 71)));
        bench.go_on(at(600));
        assert!(bench.holds(&process(5, 70)), "it was put there anew at 1 s");
        bench.go_on(at(601));
        assert!(!bench.holds(&process(5, 70)));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_nobody_for_longer_than_the_cooldown() {
        let mut bench = Unkillable::new(at(600));
        bench.put(at(1000), &[process(5, 70)]);
        bench.go_on(at(10));
        assert!(bench.holds(&process(5, 70)));
        bench.go_on(at(610));
        assert!(!bench.holds(&process(5, 70)));
    }

    #[test]
    fn healers_are_shown_those_on_the_bench_as_protected() {
        let mut bench = Unkillable::new(at(600));
        bench.put(at(0), &[process(5, 70)]);
        let mut table =
            ProcessView { processes: vec![process(5, 70), process(6, 70)], ..ProcessView::default() };
        bench.protect(&mut table);
        assert_eq!(table.processes[0].flags, ProcessFlags::PROTECTED);
        assert_eq!(table.processes[1].flags, 0);
    }

    #[test]
    fn the_bench_is_bounded() {
        let mut bench = Unkillable::new(at(600));
        let crowd: Vec<Process> = (0..2 * MOST as u32).map(|pid| process(pid, 1)).collect();
        assert_eq!(bench.put(at(0), &crowd), MOST);
    }
}
