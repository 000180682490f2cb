//! The process table, counted by user.

use crate::{Case, Evidence};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Process, SensorKind};
use std::collections::BTreeMap;

/// What the policies compare.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Processes in all, kernel threads not counted: what the table shows or, if that is more, the sensor.
    pub total: u64,
    /// Limit on processes in all.
    pub limit: Option<u64>,
    /// Users with at least one process in the table or one sensor.
    pub users: BTreeMap<u32, UserCensus>,
}

/// One user.
#[derive(Debug, Default)]
pub(super) struct UserCensus {
    /// Processes: what the table shows or, if that is more, the sensor. A full table shows fewer.
    pub processes: u64,
    /// Limit on processes.
    pub limit: Option<u64>,
    /// Processes in the table that a command may kill.
    pub killable: u64,
    /// Processes started per second.
    pub fork_rate: u64,
    /// Limit on that rate.
    pub fork_rate_limit: Option<u64>,
    /// The process deepest in the tree.
    pub deepest: Option<Deepest>,
    commands: BTreeMap<String, u64>,
}

/// A process far down the tree.
#[derive(Debug)]
pub(super) struct Deepest {
    pub pid: u32,
    pub depth: u32,
    pub command: String,
}

impl Census {
    pub(super) fn take(case: &Case<'_>) -> Census {
        let mut census = Census::default();
        for process in &case.processes.processes {
            if process.flags & ProcessFlags::KERNEL == 0 {
                census.total += 1;
                census.users.entry(process.user).or_default().count(process);
            }
        }
        if let Some(sensor) = case.sensors.sensor(SensorKind::PROCESSES, 0) {
            census.total = census.total.max(sensor.value);
            census.limit = case.limits.of(sensor.kind, 0, sensor.limit);
        }
        for sensor in &case.sensors.sensors {
            let limit = || case.limits.of(sensor.kind, sensor.instance, sensor.limit);
            if sensor.kind == SensorKind::USER_PROCESSES {
                let user = census.users.entry(sensor.instance).or_default();
                user.processes = user.processes.max(sensor.value);
                user.limit = limit();
                census.total = census.total.max(user.processes);
            } else if sensor.kind == SensorKind::USER_FORK_RATE {
                let user = census.users.entry(sensor.instance).or_default();
                user.fork_rate = sensor.value;
                user.fork_rate_limit = limit();
            }
        }
        census
    }
}

impl UserCensus {
    fn count(&mut self, process: &Process) {
        self.processes += 1;
        if process.pid == 1 || process.flags & ProcessFlags::PROTECTED != 0 {
            return;
        }
        self.killable += 1;
        match self.commands.get_mut(&process.command) {
            Some(count) => *count += 1,
            None => {
                self.commands.insert(process.command.clone(), 1);
            }
        }
        if self.deepest.as_ref().is_none_or(|deepest| process.depth > deepest.depth) {
            self.deepest =
                Some(Deepest { pid: process.pid, depth: process.depth, command: process.command.clone() });
        }
    }

    /// What most of the user's processes run.
    pub(super) fn most_common_command(&self) -> Option<Evidence> {
        let (command, &count) = self.commands.iter().max_by_key(|(_, count)| **count)?;
        let text = format!("most common command: {command} ({count} of {})", self.killable);
        Some(Evidence { name: "most-common-command".into(), text, value: count, limit: None })
    }
}
