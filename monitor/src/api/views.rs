//! From what the samplers know to what the API answers.

use super::protocol::{
    ErrorKind, Failure, HealAnswer, HealOutcome, HealSubject, MOST_MATCHING, ProcessRow, ProcessesAnswer,
    SensorRow, SensorsAnswer, TargetSummary, VerdictsAnswer,
};
use super::verdicts;
use crate::clock::nanoseconds;
use crate::config::TargetConfig;
use crate::journal::CommandEnd;
use crate::repair::{Outcome, Wait};
use crate::rounds::Attendant;
use crate::sampler::{OrderError, OrderReply, Status, class_name, sensor_name, unit_name};
use backdoors_healers::Limits;
use backdoors_sensor_box::layout::{Capabilities, ProcessFlags};
use backdoors_sensor_box::{
    Command, Instance, Opcode, Process, ProcessView, Refusal, SensorKind, SensorReading,
};
use std::sync::PoisonError;
use std::time::Duration;

/// A target, as the API reaches it.
#[derive(Debug)]
pub struct TargetHandle {
    pub(super) config: TargetConfig,
    limits: Limits,
    pub(super) attendant: Attendant,
}

impl TargetHandle {
    /// The target of `config`, looked after by `attendant`.
    #[must_use]
    pub fn new(config: TargetConfig, attendant: Attendant) -> TargetHandle {
        // The configuration was checked when it was read.
        let limits = config.limits().unwrap_or_default();
        TargetHandle { config, limits, attendant }
    }

    fn status(&self) -> Status {
        self.attendant.status().lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn summary(&self, now: Duration) -> TargetSummary {
        self.summarize(&self.status(), now)
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
            verdict: verdicts::in_short(status),
            lease_holder: status.lease.and_then(|lease| lease.holder),
            // A monitor that was paused may not have noticed yet that it ran out.
            holds_lease: status
                .lease
                .and_then(|lease| lease.held_until)
                .is_some_and(|until| status.holds_lease && now < until),
            samples: status.samples,
            failures: status.failures,
            exceeded: status
                .exceeded
                .iter()
                .map(|exceeded| sensor_name(exceeded.kind, exceeded.instance))
                .collect(),
            running: status.running.clone(),
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
                user_name: is_users
                    .then(|| self.config.user_name(reading.instance))
                    .flatten()
                    .map(str::to_owned),
                class: class_name(reading.class).to_owned(),
                unit: unit_name(reading.unit).to_owned(),
                value: reading.value,
                limit: self.limits.of(reading.kind, reading.instance, reading.limit),
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

    pub(super) fn verdicts(&self, now: Duration) -> VerdictsAnswer {
        verdicts::verdicts(&self.status(), now)
    }

    pub(super) fn processes(&self, view: &ProcessView) -> ProcessesAnswer {
        ProcessesAnswer {
            target: self.config.name.clone(),
            clock_ns: self.status().view.clock,
            lost: view.lost,
            torn: view.torn.len(),
            processes: view.processes.iter().map(|process| self.process(process)).collect(),
        }
    }

    fn process(&self, process: &Process) -> ProcessRow {
        ProcessRow {
            pid: process.pid,
            parent: process.parent,
            user: process.user,
            user_name: self.config.user_name(process.user).map(str::to_owned),
            depth: process.depth,
            kernel: process.flags & ProcessFlags::KERNEL != 0,
            protected: process.flags & ProcessFlags::PROTECTED != 0,
            start_ns: process.start,
            rss_bytes: process.rss,
            cpu_ns: process.cpu_time,
            command: process.command.clone(),
        }
    }

    /// The command for an order.
    pub(super) fn command(
        &self,
        subject: &HealSubject,
        dry_run: bool,
        most_victims: u64,
    ) -> Result<Command, Failure> {
        let (opcode, subject) = match subject {
            HealSubject::Process(pid) => (Opcode::KillProcess, *pid),
            HealSubject::Tree(pid) => (Opcode::KillTree, *pid),
            HealSubject::User(user) => {
                let id = user.parse().ok().or_else(|| self.config.users.get(user).copied());
                let message = || {
                    format!(
                        "user `{user}` is unknown: users belong to the target; give the number, or add the name to \
                         `users` of target `{}` in the monitor's configuration",
                        self.config.name
                    )
                };
                let id = id.ok_or_else(|| Failure { kind: ErrorKind::BadRequest, message: message() })?;
                (Opcode::KillUser, id)
            }
        };
        Ok(Command { opcode, subject, start: 0, most_victims, dry_run })
    }

    pub(super) fn healed(&self, reply: &OrderReply) -> HealAnswer {
        let end = |view| Some(CommandEnd::new(&reply.command, view, reply.took));
        let (outcome, reason, end) = match &reply.outcome {
            Outcome::Done(view) => (HealOutcome::Done, None, end(view)),
            Outcome::Voted(_) => {
                let reason =
                    "another monitor holds the lease; this counts as a vote for the same command there";
                (HealOutcome::Voted, Some(reason.to_owned()), None)
            }
            Outcome::Refused(view) => {
                (HealOutcome::Refused, Some(format!("the target refused: {}", view.reason)), None)
            }
            Outcome::GaveUp(view) if view.reason == Refusal::NotTheHolder => {
                let reason = "another monitor took the lease while the command was running".to_owned();
                (HealOutcome::GaveUp, Some(reason), end(view))
            }
            Outcome::GaveUp(view) => {
                let reason =
                    format!("the target gave up: {} of those to be killed are alive", view.remaining);
                (HealOutcome::GaveUp, Some(reason), end(view))
            }
            Outcome::TimedOut { waiting_for, last } => {
                let outcome = match waiting_for {
                    Wait::Path => HealOutcome::Unreachable,
                    _ => HealOutcome::TimedOut,
                };
                let reason = format!("no end in time: waited for {}", waiting_for.text());
                (outcome, Some(reason), last.as_ref().and_then(end))
            }
            Outcome::Unknown(doubt) => (HealOutcome::Unknown, Some(doubt.to_string()), None),
        };
        HealAnswer {
            target: self.config.name.clone(),
            opcode: reply.command.opcode.name().to_owned(),
            subject: reply.command.subject,
            dry_run: reply.command.dry_run,
            outcome,
            reason,
            end,
            took_ns: nanoseconds(reply.took),
            clock_ns: self.status().view.clock,
            matching: reply.matching.len(),
            processes: reply
                .matching
                .iter()
                .take(MOST_MATCHING)
                .map(|process| self.process(process))
                .collect(),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Failure {
        let kind = match &error {
            OrderError::Unreachable(_) => ErrorKind::Unreachable,
            OrderError::NoTable(_) => ErrorKind::Internal,
            OrderError::NotTheHolder(_) => ErrorKind::StandsBy,
            OrderError::NoSuchProcess(_) => ErrorKind::NoSuchProcess,
            OrderError::Busy => ErrorKind::Busy,
        };
        Failure { kind, message: error.to_string() }
    }
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
