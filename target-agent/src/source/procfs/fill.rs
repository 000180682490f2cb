//! From readings to the sensor box and the process table.

use super::readings::{Readings, Seen};
use crate::limits::Limits;
use backdoors_sensor_box::layout::{ProcessEntry, ProcessFlags};
use backdoors_sensor_box::writer::{NewSensorError, ProcessTable, Sensor, SensorBox};
use backdoors_sensor_box::{SensorKind, SharedWords};
use std::collections::{HashMap, HashSet};

const SECOND: u64 = 1_000_000_000;
/// Fork rates are taken over windows of at least this length.
const WINDOW: u64 = SECOND / 2;
/// A parent chain longer than this is a circle, or as good as one.
const DEEPEST: usize = 4096;

/// Sensors of the machine that this source has. Those of CPUs are left out: `/proc` tells times, not ticks, so they
/// would not say what they say elsewhere.
const MACHINE: [SensorKind; 13] = [
    SensorKind::KERNEL_TIMER,
    SensorKind::AGENT_HEARTBEAT,
    SensorKind::PROCESSES,
    SensorKind::PROCESSES_LOST,
    SensorKind::USERS_LOST,
    SensorKind::OOM_KILLS,
    SensorKind::FORKS,
    // This process writes it, so it stays 1 with a frozen box.
    SensorKind::AGENT_ALIVE,
    // The heartbeat fills these.
    SensorKind::MEMORY_AVAILABLE,
    SensorKind::MEMORY_TOTAL,
    SensorKind::SWAP_FREE,
    SensorKind::SWAP_TOTAL,
    SensorKind::MEMORY_STALLED,
];

/// Two sensors of a user.
#[derive(Debug)]
struct Pair {
    record: usize,
    forks: u64,
    /// Since when the user has no process.
    idle_since: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    start: u64,
    depth: u32,
    /// Entry of the table; `None` if it was full.
    entry: Option<usize>,
}

/// Keeps box and table up to date.
#[derive(Debug)]
pub struct Filler<W> {
    sensors: SensorBox<W>,
    table: ProcessTable<W>,
    limits: Limits,
    known: HashMap<u32, Known>,
    free: Vec<usize>,
    lost: u64,
    users: HashMap<u32, Pair>,
    /// Records of users that went, and since when: a record serves another user only a second later.
    retired: Vec<(usize, u64)>,
    next_record: usize,
    window: u64,
    rounds: u64,
    earlier_oom_kills: Option<u64>,
}

impl<W: SharedWords> Filler<W> {
    /// Makes the machine's sensors in an empty box.
    ///
    /// # Errors
    /// [`NewSensorError`] if the box is too small.
    pub fn new(
        sensors: SensorBox<W>,
        table: ProcessTable<W>,
        limits: Limits,
    ) -> Result<Filler<W>, NewSensorError> {
        for (record, kind) in MACHINE.into_iter().enumerate() {
            sensors.new_sensor_at(record, kind, 0, limits.of(kind))?;
        }
        let free = (0..table.capacity()).rev().collect();
        Ok(Filler {
            sensors,
            table,
            limits,
            known: HashMap::new(),
            free,
            lost: 0,
            users: HashMap::new(),
            retired: Vec::new(),
            next_record: MACHINE.len(),
            window: 0,
            rounds: 0,
            earlier_oom_kills: None,
        })
    }

    /// Writes what was read at `now`; `protects` tells what is part of Backdoors.
    pub fn fill(&mut self, now: u64, readings: &Readings, protects: impl Fn(&Seen) -> bool) {
        let first = self.rounds == 0;
        let processes: Vec<&Seen> = readings.processes.iter().filter(|process| !process.kernel).collect();
        self.forget_dead(&processes);
        let parents: HashMap<u32, u32> =
            processes.iter().map(|process| (process.pid, process.parent)).collect();
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let mut users_lost = 0;
        for process in processes {
            *counts.entry(process.user).or_default() += 1;
            if !self.known.contains_key(&process.pid) {
                self.learn(process, &parents);
                match self.pair(process.user, now) {
                    // What was there before this source did not just start.
                    Some(pair) => pair.forks += u64::from(!first),
                    None => users_lost += 1,
                }
            }
            self.write(process, protects(process));
        }
        self.count(now, &counts);
        let earlier = *self.earlier_oom_kills.get_or_insert(readings.oom_kills);
        let without_entry = self.known.values().filter(|known| known.entry.is_none()).count();
        self.rounds += 1;
        self.set(SensorKind::KERNEL_TIMER, self.rounds);
        self.set(SensorKind::PROCESSES, counts.values().sum());
        self.set(SensorKind::PROCESSES_LOST, without_entry as u64);
        let lost_before = self.value(SensorKind::USERS_LOST);
        self.set(SensorKind::USERS_LOST, lost_before + users_lost);
        self.set(SensorKind::OOM_KILLS, readings.oom_kills.saturating_sub(earlier));
        self.set(SensorKind::FORKS, readings.forks);
        self.set(SensorKind::AGENT_ALIVE, 1);
        self.table.set_lost(self.lost);
        self.sensors.set_clock(now);
    }

    fn set(&self, kind: SensorKind, value: u64) {
        if let Some(record) = MACHINE.iter().position(|other| *other == kind) {
            self.sensors.set(Sensor::at(record), value);
        }
    }

    fn value(&self, kind: SensorKind) -> u64 {
        let record = MACHINE.iter().position(|other| *other == kind);
        record.map_or(0, |record| self.sensors.value(Sensor::at(record)))
    }

    fn forget_dead(&mut self, processes: &[&Seen]) {
        let alive: HashSet<(u32, u64)> =
            processes.iter().map(|process| (process.pid, process.start)).collect();
        let (table, free) = (&self.table, &mut self.free);
        self.known.retain(|pid, known| {
            let lives = alive.contains(&(*pid, known.start));
            if !lives && let Some(entry) = known.entry {
                table.clear(entry);
                free.push(entry);
            }
            lives
        });
    }

    fn learn(&mut self, process: &Seen, parents: &HashMap<u32, u32>) {
        // The nearest ancestor that is known already gives the depth; the rest of the way is counted.
        let (mut ancestor, mut steps) = (process.parent, 0);
        let depth = loop {
            if let Some(known) = self.known.get(&ancestor) {
                break known.depth + steps + 1;
            }
            match parents.get(&ancestor) {
                Some(next) if (steps as usize) < DEEPEST => (ancestor, steps) = (*next, steps + 1),
                _ => break steps,
            }
        };
        let entry = self.free.pop();
        self.lost += u64::from(entry.is_none());
        self.known.insert(process.pid, Known { start: process.start, depth, entry });
    }

    fn write(&self, process: &Seen, protected: bool) {
        let Some(Known { depth, entry: Some(entry), .. }) = self.known.get(&process.pid).copied() else {
            return;
        };
        let flags = if protected { ProcessFlags::PROTECTED } else { 0 };
        let Seen { pid, parent, user, start, rss, swap, cpu_time, command, .. } = *process;
        self.table.put(
            entry,
            &ProcessEntry {
                pid,
                parent,
                user,
                depth,
                flags,
                start,
                rss,
                cpu_time,
                command,
                swap,
                ..ProcessEntry::default()
            },
        );
    }

    /// The pair of a user, made if there is none and room for one.
    fn pair(&mut self, user: u32, now: u64) -> Option<&mut Pair> {
        if !self.users.contains_key(&user) {
            let rested = self.retired.iter().position(|(_, since)| now.saturating_sub(*since) >= SECOND);
            let record = match rested {
                Some(index) => self.retired.swap_remove(index).0,
                None => self.next_record,
            };
            for (offset, kind) in
                [SensorKind::USER_PROCESSES, SensorKind::USER_FORK_RATE].into_iter().enumerate()
            {
                let limit = self.limits.of(kind);
                self.sensors.new_sensor_at(record + offset, kind, user, limit).ok()?;
            }
            self.next_record = self.next_record.max(record + 2);
            self.users.insert(user, Pair { record, forks: 0, idle_since: None });
        }
        self.users.get_mut(&user)
    }

    fn count(&mut self, now: u64, counts: &HashMap<u32, u64>) {
        // A user may come by a change of user, without a new process.
        for user in counts.keys() {
            self.pair(*user, now);
        }
        let elapsed = now.saturating_sub(self.window);
        let window_ends = elapsed >= WINDOW;
        let (sensors, retired) = (&self.sensors, &mut self.retired);
        self.users.retain(|user, pair| {
            let count = counts.get(user).copied().unwrap_or(0);
            sensors.set(Sensor::at(pair.record), count);
            if window_ends {
                sensors.set(Sensor::at(pair.record + 1), pair.forks.saturating_mul(SECOND) / elapsed.max(1));
                pair.forks = 0;
            }
            if count > 0 {
                pair.idle_since = None;
                return true;
            }
            if now.saturating_sub(*pair.idle_since.get_or_insert(now)) < SECOND {
                return true;
            }
            sensors.retire(Sensor::at(pair.record));
            sensors.retire(Sensor::at(pair.record + 1));
            retired.push((pair.record, now));
            false
        });
        if window_ends {
            self.window = now;
        }
    }
}

#[cfg(test)]
#[path = "fill_tests.rs"]
mod tests;
