//! From what the samplers know to what the API answers.

use super::verdicts;
use crate::clock::nanoseconds;
use crate::config::TargetConfig;
use crate::journal::Tally;
use crate::pace::Nearness;
use crate::rounds::Attendant;
use crate::sampler::{Status, class_name, sensor_name, unit_name};
use crate::verdict::{in_short, worst};
use backdoors_healers::Users;
use backdoors_monitor_api::{
    HealersAnswer, NearestSensor, ProcessRow, ProcessesAnswer, ProposalState, SensorRow, SensorsAnswer,
    SessionCounts, TargetSummary, VerdictsAnswer,
};
use backdoors_sensor_box::layout::{Capabilities, ProcessFlags};
use backdoors_sensor_box::{Class, Instance, Process, ProcessView, SensorKind, SensorReading};
use std::sync::PoisonError;
use std::time::Duration;

/// A target, as the API reaches it.
#[derive(Debug)]
pub struct TargetHandle {
    pub(super) config: TargetConfig,
    pub(super) attendant: Attendant,
}

impl TargetHandle {
    /// The target of `config`, looked after by `attendant`.
    #[must_use]
    pub fn new(config: TargetConfig, attendant: Attendant) -> TargetHandle {
        TargetHandle { config, attendant }
    }

    pub(super) fn status(&self) -> Status {
        self.attendant.status().lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn summary(&self, now: Duration, tally: &Tally) -> TargetSummary {
        let last_event = tally.last(&self.config.name);
        TargetSummary { last_event, ..self.summarize(&self.status(), now) }
    }

    fn summarize(&self, status: &Status, now: Duration) -> TargetSummary {
        let read = status.sampled.is_some();
        TargetSummary {
            name: status.name.clone(),
            address: status.address.clone(),
            reach: status.reach,
            problem: status.problem.clone(),
            age_ns: status.sampled.map(|sampled| nanoseconds(now.saturating_sub(sampled))),
            clock_moved_ns: read.then(|| nanoseconds(now.saturating_sub(status.clock_moved))),
            generation: read.then_some(status.view.generation),
            capabilities: capability_names(status.view.capabilities),
            slot: status.slot,
            connections: status.connections,
            period_ns: nanoseconds(status.plan.period),
            period_why: status.plan.why.to_string(),
            chances: status.plan.chances,
            loss: status.loss,
            round_trip_ns: nanoseconds(status.round_trip.median),
            verdict: in_short(worst(&status.verdicts)),
            lease_holder: status.lease.and_then(|lease| lease.holder),
            holds_lease: holds_lease(status, now),
            samples: status.samples,
            failures: status.failures,
            exceeded: status
                .exceeded
                .iter()
                .map(|exceeded| sensor_name(exceeded.kind, exceeded.instance))
                .collect(),
            running: status.running.clone(),
            state: verdicts::overall(status),
            since_ms: verdicts::since_ms(status, now),
            nearest: nearest(status),
            sessions: sessions(status),
            open_proposals: status
                .proposals
                .iter()
                .filter(|proposal| proposal.state == ProposalState::Open)
                .count(),
            last_event: None,
        }
    }

    pub(super) fn sensors(&self, now: Duration) -> SensorsAnswer {
        let status = self.status();
        let row = |reading: &SensorReading| {
            let is_users = reading.kind.description().is_some_and(|line| line.instance == Instance::User);
            SensorRow {
                name: reading.name(),
                kind: reading.kind.0,
                instance: reading.instance,
                user_name: is_users.then(|| user_name(&status.users, reading.instance)).flatten(),
                class: class_name(reading.class).to_owned(),
                unit: unit_name(reading.unit).to_owned(),
                value: reading.value,
                limit: status.limits.of(reading.kind, reading.instance, reading.limit),
                exceeded: is_exceeded(&status, reading.kind, reading.instance),
            }
        };
        SensorsAnswer {
            target: self.summarize(&status, now),
            cpus: status.view.cpus,
            clock_ns: status.view.clock,
            tick_period_ns: status.view.tick_period,
            sensors: status.view.sensors.iter().map(row).collect(),
            unknown: status.view.unknown,
            applications: status.applications.iter().map(verdicts::application).collect(),
        }
    }

    pub(super) fn healers(&self) -> HealersAnswer {
        HealersAnswer { target: Some(self.config.name.clone()), healers: self.status().healers.to_vec() }
    }

    pub(super) fn verdicts(&self, now: Duration) -> VerdictsAnswer {
        verdicts::verdicts(&self.status(), now)
    }

    pub(super) fn processes(&self, view: &ProcessView) -> ProcessesAnswer {
        let status = self.status();
        ProcessesAnswer {
            target: self.config.name.clone(),
            clock_ns: status.view.clock,
            lost: view.lost,
            torn: view.torn.len(),
            processes: view.processes.iter().map(|process| row(process, &status.users)).collect(),
        }
    }
}

/// The sensor nearest its limit. What a pressure sensor counted is not near: an event was told of it, or none is due.
fn nearest(status: &Status) -> Option<NearestSensor> {
    let exceeded = status.exceeded.first().map(|exceeded| (exceeded.kind, exceeded.instance, 1.0));
    let nearest = exceeded.or_else(|| {
        let mut nearness = Nearness::default();
        for reading in status.view.sensors.iter().filter(|reading| reading.class != Class::Pressure) {
            if let Some(limit) = status.limits.of(reading.kind, reading.instance, reading.limit) {
                nearness.add(reading, limit, 0);
            }
        }
        nearness.nearest().map(|nearest| (nearest.kind, nearest.instance, nearest.share))
    });
    nearest.map(|(kind, instance, share)| NearestSensor { name: sensor_name(kind, instance), share })
}

/// Sessions, if any are captured: the target has these sensors only then.
fn sessions(status: &Status) -> Option<SessionCounts> {
    let value =
        |kind| status.view.sensors.iter().find(|reading| reading.kind == kind).map(|reading| reading.value);
    Some(SessionCounts {
        open: value(SensorKind::SESSIONS_OPEN)?,
        unprotected: value(SensorKind::SESSIONS_UNPROTECTED).unwrap_or(0),
    })
}

/// Whether this monitor holds the target's lease. One that was paused may not have noticed yet that it ran out.
pub(super) fn holds_lease(status: &Status, now: Duration) -> bool {
    status.lease.and_then(|lease| lease.held_until).is_some_and(|until| status.holds_lease && now < until)
}

/// A process, `users` being the names of the target's users.
pub(super) fn row(process: &Process, users: &Users) -> ProcessRow {
    ProcessRow {
        pid: process.pid,
        parent: process.parent,
        user: process.user,
        user_name: user_name(users, process.user),
        depth: process.depth,
        kernel: process.flags & ProcessFlags::KERNEL != 0,
        protected: process.flags & ProcessFlags::PROTECTED != 0,
        start_ns: process.start,
        rss_bytes: process.rss,
        swap_bytes: process.swap,
        cgroup: process.cgroup,
        cgroup_name: process.cgroup_name.clone(),
        cpu_ns: process.cpu_time,
        command: process.command.clone(),
    }
}

/// The name of a user of the target, if the configuration has it.
pub(super) fn user_name(users: &Users, id: u32) -> Option<String> {
    users.iter().find(|(_, other)| **other == id).map(|(name, _)| name.clone())
}

fn is_exceeded(status: &Status, kind: SensorKind, instance: u32) -> bool {
    status.exceeded.iter().any(|exceeded| exceeded.kind == kind && exceeded.instance == instance)
}

fn capability_names(bits: u64) -> Vec<String> {
    let mut names: Vec<String> = Capabilities::NAMES
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let known = Capabilities::NAMES.iter().fold(0, |known, (bit, _)| known | bit);
    if bits & !known != 0 {
        names.push(format!("unknown:{:#x}", bits & !known));
    }
    names
}
