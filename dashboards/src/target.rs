//! One target from near. Pure.

use crate::source::Wish;
use backdoors_monitor_api::recovery::Report;
use backdoors_monitor_api::{
    Event, ProcessRow, ProcessesAnswer, ProposalRow, SensorRow, SensorsAnswer, SessionRow, VerdictsAnswer,
};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// Values of a sensor that are kept for its curve.
const HISTORY: usize = 120;

/// Pages of the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Verdicts with their evidence, and proposals.
    #[default]
    Verdicts,
    /// Sensors with history and limits.
    Sensors,
    /// Processors.
    Cpus,
    /// Processes.
    Processes,
    /// Live sessions.
    Sessions,
    /// The journal.
    Events,
    /// The last recovery.
    Recovery,
}

impl Tab {
    /// All of them, in order.
    pub const ALL: [Tab; 7] =
        [Tab::Verdicts, Tab::Sensors, Tab::Cpus, Tab::Processes, Tab::Sessions, Tab::Events, Tab::Recovery];

    /// Its title.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Tab::Verdicts => "Verdicts",
            Tab::Sensors => "Sensors",
            Tab::Cpus => "CPUs",
            Tab::Processes => "Processes",
            Tab::Sessions => "Sessions",
            Tab::Events => "Events",
            Tab::Recovery => "Recovery",
        }
    }
}

/// What processes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessOrder {
    /// Share of a CPU since they were read before.
    #[default]
    Cpu,
    /// Resident memory.
    Memory,
    /// Process id.
    Pid,
}

/// A process and what it does now.
#[derive(Clone, Debug)]
pub struct Process {
    /// As read.
    pub row: ProcessRow,
    /// Share of a CPU, once it was read twice.
    pub cpu: Option<f64>,
    /// Depth below those that are shown, in the tree.
    pub depth: usize,
}

/// A target from near.
#[derive(Debug, Default)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// The page.
    pub tab: Tab,
    /// Its sensors.
    pub sensors: Option<SensorsAnswer>,
    /// When they were told.
    pub told_at: Option<Duration>,
    /// What is said of its layers.
    pub verdicts: Option<VerdictsAnswer>,
    /// What its healers propose.
    pub proposals: Vec<ProposalRow>,
    /// Its live sessions.
    pub sessions: Option<Vec<SessionRow>>,
    /// Its entries of the journal, oldest first.
    pub events: Vec<Event>,
    /// Processes, as they are shown.
    pub processes: Vec<Process>,
    /// What could not be told, and why.
    pub problems: BTreeMap<Wish, String>,
    /// The row that is selected, by page.
    pub selected: HashMap<&'static str, usize>,
    /// Whether processes are shown as a tree.
    pub is_tree: bool,
    /// What they are sorted by.
    pub process_order: ProcessOrder,
    /// What rows must contain.
    pub filter: String,
    history: HashMap<String, VecDeque<f64>>,
    before: Option<SensorsAnswer>,
    read: Option<ProcessesAnswer>,
    read_before: HashMap<u32, (u64, u64)>,
    clock_before: u64,
    recovery: Option<Report>,
}

impl Target {
    /// A target that nothing is known of yet.
    #[must_use]
    pub fn new(name: &str) -> Target {
        Target { name: name.to_owned(), ..Target::default() }
    }

    /// The row that is selected on this page.
    #[must_use]
    pub fn position(&self) -> usize {
        self.selected.get(self.tab.title()).copied().unwrap_or(0).min(self.rows().saturating_sub(1))
    }

    /// Selects the row `position`, or the last one.
    pub fn select(&mut self, position: usize) {
        let last = self.rows().saturating_sub(1);
        self.selected.insert(self.tab.title(), position.min(last));
    }

    /// How many rows this page has.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.tab {
            Tab::Verdicts => self.proposals.len(),
            Tab::Sensors => self.sensor_rows().len(),
            Tab::Cpus => self.sensors.as_ref().map_or(0, |sensors| sensors.cpus as usize),
            Tab::Processes => self.processes.len(),
            Tab::Sessions => self.session_rows().len(),
            Tab::Events => self.event_rows().len(),
            Tab::Recovery => self.recovery.as_ref().map_or(0, |report| report.sessions.len()),
        }
    }

    /// Sensors as they are shown: the machine's, then those of applications; those of CPUs have a page of their own.
    #[must_use]
    pub fn sensor_rows(&self) -> Vec<&SensorRow> {
        let Some(sensors) = &self.sensors else { return Vec::new() };
        let own = sensors.sensors.iter().filter(|sensor| !sensor.name.starts_with("cpu."));
        let of_applications = sensors.applications.iter().flat_map(|application| &application.sensors);
        own.chain(of_applications).filter(|sensor| self.is_wanted(&sensor.name)).collect()
    }

    /// Sessions as they are shown.
    #[must_use]
    pub fn session_rows(&self) -> Vec<&SessionRow> {
        let all = self.sessions.iter().flatten();
        all.filter(|row| self.is_wanted(&row.remote.to_string()) || self.is_wanted(&row.service)).collect()
    }

    /// Entries of the journal as they are shown, newest first.
    #[must_use]
    pub fn event_rows(&self) -> Vec<&Event> {
        self.events
            .iter()
            .rev()
            .filter(|event| self.is_wanted(&event.text) || self.is_wanted(&event.kind))
            .collect()
    }

    fn is_wanted(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// What this page must be told.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wish> {
        let name = || self.name.clone();
        let mut wishes = vec![Wish::Sensors(name())];
        wishes.extend(match self.tab {
            Tab::Verdicts => Some(Wish::Proposals(name())),
            Tab::Processes => Some(Wish::Processes(name())),
            Tab::Sessions => Some(Wish::Sessions(name())),
            Tab::Events | Tab::Recovery => Some(Wish::History(name())),
            Tab::Sensors | Tab::Cpus => None,
        });
        wishes
    }

    /// Takes in sensors and verdicts.
    pub fn take_in_sensors(&mut self, sensors: SensorsAnswer, verdicts: VerdictsAnswer, now: Duration) {
        let is_anew = |before: &SensorsAnswer| before.target.generation != sensors.target.generation;
        if self.sensors.as_ref().is_some_and(is_anew) {
            // Counters begin again, and others may be there.
            self.history.clear();
            self.before = None;
        } else if self.sensors.as_ref().is_some_and(|before| before.clock_ns < sensors.clock_ns) {
            self.before = self.sensors.take();
        }
        // What was told before is not told again; of what is new, the one before was put aside.
        if self.sensors.is_none() || self.history.is_empty() {
            self.keep_history(&sensors);
        }
        self.sensors = Some(sensors);
        self.verdicts = Some(verdicts);
        self.told_at = Some(now);
    }

    fn keep_history(&mut self, sensors: &SensorsAnswer) {
        let of_applications = sensors.applications.iter().flat_map(|application| &application.sensors);
        for sensor in sensors.sensors.iter().chain(of_applications) {
            let rate = self.rate(sensor, sensors.clock_ns);
            if rate.is_none() && is_counter(sensor) {
                // What it counted since the machine began has no place in a curve of what it counts in a second.
                continue;
            }
            let value = rate.unwrap_or(sensor.value as f64);
            let history = self.history.entry(sensor.name.clone()).or_default();
            history.push_back(value);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
    }

    /// What a counter counts in a second, if it is one and was told twice.
    #[must_use]
    pub fn rate(&self, sensor: &SensorRow, clock_ns: u64) -> Option<f64> {
        if !is_counter(sensor) {
            return None;
        }
        let before = self.before.as_ref()?;
        let time = clock_ns.saturating_sub(before.clock_ns) as f64 / 1e9;
        let old = before.sensors.iter().find(|old| old.name == sensor.name)?;
        (time > 0.0).then(|| sensor.value.saturating_sub(old.value) as f64 / time)
    }

    /// Values of a sensor, oldest first; of a counter what it counted in a second.
    #[must_use]
    pub fn history(&self, name: &str) -> Vec<f64> {
        self.history.get(name).map(|values| values.iter().copied().collect()).unwrap_or_default()
    }

    /// Takes in processes.
    pub fn take_in_processes(&mut self, read: ProcessesAnswer) {
        if let Some(old) = self.read.take()
            && old.clock_ns != read.clock_ns
        {
            self.read_before = old
                .processes
                .iter()
                .map(|process| (process.pid, (process.start_ns, process.cpu_ns)))
                .collect();
            self.clock_before = old.clock_ns;
        }
        self.read = Some(read);
        self.arrange_processes();
    }

    /// Takes in entries of the journal.
    pub fn take_in_history(&mut self, events: Vec<Event>) {
        let recovered = events.iter().rev().filter(|event| event.kind == "sessions-recovered");
        let mut reports = recovered.filter_map(|event| Report::of_value(event.more.get("report")?));
        if let Some(report) = reports.find(|report| !report.dry_run) {
            self.recovery = Some(report);
        }
        self.events = events;
    }

    /// The last recovery.
    #[must_use]
    pub fn recovery(&self) -> Option<&Report> {
        self.recovery.as_ref()
    }

    /// Takes in a recovery that was ordered here.
    pub fn take_in_recovery(&mut self, report: Report) {
        self.recovery = Some(report);
    }

    /// How many processes there are in all, if they were read.
    #[must_use]
    pub fn processes_in_all(&self) -> Option<&ProcessesAnswer> {
        self.read.as_ref()
    }

    /// Sorts and filters processes anew.
    pub fn arrange_processes(&mut self) {
        let Some(read) = &self.read else { return };
        let wanted = self.filter.to_lowercase();
        let is_wanted = |process: &ProcessRow| {
            let user = process.user_name.as_deref().unwrap_or_default();
            let words = [process.command.as_str(), user, &process.cgroup_name];
            wanted.is_empty()
                || words.iter().any(|word| word.to_lowercase().contains(&wanted))
                || process.pid.to_string() == wanted
        };
        let time = read.clock_ns.saturating_sub(self.clock_before) as f64;
        let cpu = |process: &ProcessRow| {
            let (start, before) = self.read_before.get(&process.pid)?;
            // Another process may have the number by now.
            (*start == process.start_ns && time > 0.0)
                .then(|| process.cpu_ns.saturating_sub(*before) as f64 / time)
        };
        let mut all: Vec<Process> = read
            .processes
            .iter()
            .filter(|process| is_wanted(process))
            .map(|process| Process { row: process.clone(), cpu: cpu(process), depth: 0 })
            .collect();
        all.sort_by(|left, right| {
            let first = match self.process_order {
                ProcessOrder::Cpu => right.cpu.unwrap_or(0.0).total_cmp(&left.cpu.unwrap_or(0.0)),
                ProcessOrder::Memory => right.row.rss_bytes.cmp(&left.row.rss_bytes),
                ProcessOrder::Pid => std::cmp::Ordering::Equal,
            };
            first.then_with(|| left.row.pid.cmp(&right.row.pid))
        });
        self.processes = if self.is_tree { as_tree(all) } else { all };
    }
}

fn is_counter(sensor: &SensorRow) -> bool {
    sensor.class == "progress" || sensor.class == "pressure"
}

/// Children behind their parents, each family in the order that `all` has. Whoever has no parent among them is a root.
fn as_tree(all: Vec<Process>) -> Vec<Process> {
    let known: std::collections::HashSet<u32> = all.iter().map(|process| process.row.pid).collect();
    let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, process) in all.iter().enumerate() {
        match process.row.parent {
            parent if known.contains(&parent) && parent != process.row.pid => {
                children.entry(parent).or_default().push(index);
            }
            _ => roots.push(index),
        }
    }
    let mut taken: Vec<Option<Process>> = all.into_iter().map(Some).collect();
    let mut tree = Vec::with_capacity(taken.len());
    let mut waiting: Vec<(usize, usize)> = roots.into_iter().rev().map(|index| (index, 0)).collect();
    while let Some((index, depth)) = waiting.pop() {
        let Some(process) = taken[index].take() else { continue };
        let below = children.remove(&process.row.pid).unwrap_or_default();
        waiting.extend(below.into_iter().rev().map(|index| (index, depth + 1)));
        tree.push(Process { depth, ..process });
    }
    // Those whose ancestors go round in a circle, which a table that was read while it changed may show.
    tree.extend(taken.into_iter().flatten());
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, cpu_ns: u64, start_ns: u64) -> ProcessRow {
        ProcessRow {
            pid,
            parent,
            user: 0,
            user_name: None,
            depth: 0,
            kernel: false,
            protected: false,
            start_ns,
            rss_bytes: u64::from(pid),
            swap_bytes: 0,
            cgroup: 0,
            cgroup_name: String::new(),
            cpu_ns,
            command: format!("p{pid}"),
        }
    }

    fn answer(clock_ns: u64, processes: Vec<ProcessRow>) -> ProcessesAnswer {
        ProcessesAnswer { target: "web1".to_owned(), clock_ns, lost: 0, torn: 0, processes }
    }

    fn shown(target: &Target) -> Vec<(u32, usize)> {
        target.processes.iter().map(|process| (process.row.pid, process.depth)).collect()
    }

    #[test]
    fn processes_are_sorted_by_what_they_do_now_and_not_by_what_they_ever_did() {
        let mut target = Target::new("web1");
        target.take_in_processes(answer(
            1_000,
            vec![process(1, 0, 900, 1), process(2, 1, 0, 1), process(3, 1, 50, 1)],
        ));
        target.take_in_processes(answer(
            2_000,
            vec![process(1, 0, 900, 1), process(2, 1, 500, 1), process(3, 1, 60, 9)],
        ));
        assert_eq!(shown(&target), [(2, 0), (1, 0), (3, 0)]);
        assert_eq!(target.processes[0].cpu, Some(0.5));
        // Number 3 is another process by now.
        assert_eq!(target.processes[2].cpu, None);
    }

    fn told(target: &mut Target, clock_ns: u64, generation: u64, ticks: u64) {
        let sensor = |name: &str, class: &str, value: u64| {
            serde_json::json!({"name": name, "kind": 1, "instance": 0, "class": class, "unit": "count", "value": value,
                               "limit": null, "exceeded": false})
        };
        let summary = serde_json::json!({
            "name": "web1", "address": "a", "reach": "reachable", "problem": null, "age_ns": 1, "clock_moved_ns": 1,
            "generation": generation, "capabilities": [], "slot": 0, "connections": 3, "period_ns": 1, "samples": 1,
            "failures": 0, "exceeded": [], "running": null,
        });
        let sensors = serde_json::json!({
            "target": summary, "cpus": 1, "clock_ns": clock_ns, "tick_period_ns": 1, "unknown": 0,
            "sensors": [sensor("kernel.timer", "progress", ticks), sensor("processes", "level", 7)],
        });
        let verdicts = serde_json::json!({
            "target": "web1", "overall": "healthy", "layers": [],
            "lateness": {"score": 0, "multiplier": 1.0, "overloaded": false, "late_share": 0.0, "worst_ns": 0, "late_rounds": 0},
        });
        let (sensors, verdicts) =
            (serde_json::from_value(sensors).unwrap(), serde_json::from_value(verdicts).unwrap());
        target.take_in_sensors(sensors, verdicts, Duration::from_secs(1));
    }

    #[test]
    fn a_curve_has_what_a_counter_counts_in_a_second_and_each_reading_once() {
        let mut target = Target::new("web1");
        let second = 1_000_000_000;
        told(&mut target, second, 1, 500_000);
        told(&mut target, 2 * second, 1, 501_000);
        told(&mut target, 2 * second, 1, 501_000);
        told(&mut target, 4 * second, 1, 501_500);
        assert_eq!(target.history("kernel.timer"), [1000.0, 250.0]);
        assert_eq!(target.history("processes"), [7.0, 7.0, 7.0]);
        // Memory that was made anew counts from the beginning.
        told(&mut target, 5 * second, 2, 3);
        assert_eq!(target.history("kernel.timer"), Vec::<f64>::new());
        assert_eq!(target.history("processes"), [7.0]);
    }

    #[test]
    fn a_tree_has_children_behind_their_parents_and_loses_nobody() {
        let mut target = Target { is_tree: true, process_order: ProcessOrder::Pid, ..Target::new("web1") };
        let all = vec![
            process(5, 3, 0, 1),
            process(3, 1, 0, 1),
            process(4, 1, 0, 1),
            process(7, 8, 0, 1),
            process(8, 7, 0, 1),
            process(9, 2, 0, 1),
        ];
        target.take_in_processes(answer(1, all));
        assert_eq!(shown(&target), [(3, 0), (5, 1), (4, 0), (9, 0), (7, 0), (8, 0)]);
    }
}
