//! What the process table tells of a stuck application.

use crate::{Case, Evidence, StuckApplication, duration};
use backdoors_sensor_box::Process;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A look at the process of an application that stands still.
#[derive(Clone, Debug)]
pub(super) struct Look {
    name: String,
    attached_at: u64,
    pid: u32,
    start: u64,
    /// On the monitor's clock.
    pub at: Duration,
    cpu_time: u64,
    /// Sum over the process and its descendants.
    tree_cpu_time: u64,
    rss: u64,
}

impl Look {
    pub(super) fn of(case: &Case<'_>, stuck: &StuckApplication, process: &Process) -> Look {
        Look {
            name: stuck.name.clone(),
            attached_at: stuck.attached_at,
            pid: process.pid,
            start: process.start,
            at: case.now,
            cpu_time: process.cpu_time,
            tree_cpu_time: tree_cpu_time(case, process),
            rss: process.rss,
        }
    }

    /// Whether it is a look at the same attachment of an application.
    pub(super) fn is_about(&self, stuck: &StuckApplication) -> bool {
        (&self.name, self.attached_at, self.pid) == (&stuck.name, stuck.attached_at, stuck.pid)
    }

    pub(super) fn is_of(&self, stuck: &StuckApplication, process: &Process) -> bool {
        self.is_about(stuck) && self.start == process.start
    }
}

/// What speaks against the application, most telling first. `first` was the first look at its process.
pub(super) fn evidence(
    case: &Case<'_>,
    stuck: &StuckApplication,
    process: &Process,
    first: &Look,
) -> Vec<Evidence> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let mut evidence: Vec<Evidence> = stuck
        .frozen
        .iter()
        .map(|sensor| Evidence {
            name: "frozen-sensor".into(),
            text: format!(
                "{}.{} stood still for {:.1} s (limit {})",
                stuck.name,
                sensor.name,
                sensor.still.as_secs_f64(),
                duration::text(sensor.limit)
            ),
            value: nanoseconds(sensor.still),
            limit: Some(nanoseconds(sensor.limit)),
        })
        .collect();
    let watched = case.now.saturating_sub(first.at);
    let used = process.cpu_time.saturating_sub(first.cpu_time);
    evidence.push(Evidence {
        name: "cpu-time".into(),
        text: format!(
            "its process {} ({}) of user {} {}: it used {:.1} ms of CPU time in {:.1} s",
            process.pid,
            process.command,
            process.user,
            posture(used, watched),
            used as f64 / 1e6,
            watched.as_secs_f64()
        ),
        value: used,
        limit: None,
    });
    evidence.push(Evidence {
        name: "memory".into(),
        text: format!(
            "it has {} KiB of memory, {} KiB when it was first looked at",
            process.rss / 1024,
            first.rss / 1024
        ),
        value: process.rss,
        limit: None,
    });
    let below = descendants(case, process.pid);
    if !below.is_empty() {
        let used = tree_cpu_time(case, process).saturating_sub(first.tree_cpu_time).saturating_sub(used);
        evidence.push(Evidence {
            name: "descendants".into(),
            text: format!(
                "{} processes descend from it; they used {:.1} ms of CPU time meanwhile",
                below.len(),
                used as f64 / 1e6
            ),
            value: below.len() as u64,
            limit: None,
        });
    }
    evidence
}

/// What CPU time tells of a process that makes no progress.
fn posture(used: u64, watched: Duration) -> &'static str {
    let share = used as f64 / (watched.as_nanos() as f64).max(1.0);
    if share >= 0.5 {
        "spins"
    } else if share >= 0.01 {
        "runs now and then"
    } else {
        "waits"
    }
}

fn tree_cpu_time(case: &Case<'_>, process: &Process) -> u64 {
    let below = descendants(case, process.pid);
    let of_tree = case.processes.processes.iter().filter(|other| below.contains(&other.pid));
    of_tree.fold(process.cpu_time, |sum, other| sum.saturating_add(other.cpu_time))
}

/// All that descends from a process, without itself. Tables may hold circles: they were read while the target changed
/// them.
pub(super) fn descendants(case: &Case<'_>, root: u32) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in &case.processes.processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::from([root]);
    let mut to_visit = vec![root];
    while let Some(pid) = to_visit.pop() {
        to_visit.extend(children.get(&pid).into_iter().flatten().filter(|child| found.insert(**child)));
    }
    found.remove(&root);
    found
}
