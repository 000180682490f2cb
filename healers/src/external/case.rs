//! The case as an external healer gets it.

use super::VERSION;
use crate::{Case, Exceeded};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{Class, SensorKind, Unit};
use serde::Serialize;

#[derive(Serialize)]
struct CaseDocument<'a> {
    version: u32,
    target: &'a str,
    now_ns: u64,
    clock_ns: u64,
    cpus: u32,
    events: Vec<Event>,
    sensors: Vec<Sensor>,
    applications: Vec<Application<'a>>,
    processes: Vec<Process<'a>>,
    torn: usize,
}

#[derive(Serialize)]
struct Event {
    sensor: String,
    instance: u32,
    class: &'static str,
    unit: Option<&'static str>,
    value: u64,
    limit: u64,
}

#[derive(Serialize)]
struct Sensor {
    sensor: String,
    instance: u32,
    class: &'static str,
    unit: Option<&'static str>,
    value: u64,
    /// The limit in force.
    limit: Option<u64>,
}

#[derive(Serialize)]
struct Application<'a> {
    name: &'a str,
    pid: u32,
    attached_at_ns: u64,
    died: bool,
    frozen: Vec<Frozen<'a>>,
}

#[derive(Serialize)]
struct Frozen<'a> {
    sensor: &'a str,
    still_ns: u64,
    limit_ns: u64,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    parent: u32,
    user: u32,
    depth: u32,
    start_ns: u64,
    rss_bytes: u64,
    swap_bytes: u64,
    cpu_ns: u64,
    kernel: bool,
    protected: bool,
    command: &'a str,
    cgroup: &'a str,
}

/// The case as JSON.
#[must_use]
pub fn encode(case: &Case<'_>) -> Vec<u8> {
    let nanoseconds = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let event = |exceeded: &Exceeded| Event {
        sensor: name(exceeded.kind),
        instance: exceeded.instance,
        class: class_name(exceeded.class),
        unit: exceeded.unit.map(unit_name),
        value: exceeded.value,
        limit: exceeded.limit,
    };
    let sensors = case.sensors.sensors.iter().map(|reading| Sensor {
        sensor: name(reading.kind),
        instance: reading.instance,
        class: class_name(reading.class),
        unit: reading.unit.map(unit_name),
        value: reading.value,
        limit: case.limits.of(reading.kind, reading.instance, reading.limit),
    });
    let applications = case.stuck.iter().map(|stuck| Application {
        name: &stuck.name,
        pid: stuck.pid,
        attached_at_ns: stuck.attached_at,
        died: stuck.died,
        frozen: stuck
            .frozen
            .iter()
            .map(|sensor| Frozen {
                sensor: &sensor.name,
                still_ns: nanoseconds(sensor.still),
                limit_ns: nanoseconds(sensor.limit),
            })
            .collect(),
    });
    let processes = case.processes.processes.iter().map(|process| Process {
        pid: process.pid,
        parent: process.parent,
        user: process.user,
        depth: process.depth,
        start_ns: process.start,
        rss_bytes: process.rss,
        swap_bytes: process.swap,
        cpu_ns: process.cpu_time,
        kernel: process.flags & ProcessFlags::KERNEL != 0,
        protected: process.flags & ProcessFlags::PROTECTED != 0,
        command: &process.command,
        cgroup: &process.cgroup_name,
    });
    let document = CaseDocument {
        version: VERSION,
        target: case.target,
        now_ns: nanoseconds(case.now),
        clock_ns: case.sensors.clock,
        cpus: case.sensors.cpus,
        events: case.events.iter().map(event).collect(),
        sensors: sensors.collect(),
        applications: applications.collect(),
        processes: processes.collect(),
        torn: case.processes.torn.len(),
    };
    // It has no maps whose keys are no strings and no types that refuse, which are all that can fail.
    serde_json::to_vec(&document).unwrap_or_default()
}

fn name(kind: SensorKind) -> String {
    kind.description().map_or_else(|| format!("sensor {}", kind.0), |line| line.name.to_owned())
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Progress => "progress",
        Class::Level => "level",
        Class::Floor => "floor",
        Class::Pressure => "pressure",
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::PerSecond => "per-second",
        Unit::Bytes => "bytes",
        Unit::Nanoseconds => "nanoseconds",
    }
}
