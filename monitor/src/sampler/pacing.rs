//! When to read next, from the promise and from how the path and this monitor do.

use super::Sampler;
use crate::judge::Terms;
use crate::pace::{Inputs, Plan};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::PoisonError;
use std::time::Duration;

impl Sampler {
    /// Makes the plan anew and says when the sample after the one that was due at `due` is due.
    pub(super) fn schedule(&mut self, due: Duration, now: Duration) {
        let inputs = Inputs {
            loss: self.loss.probability(),
            round_trip: self.loss.round_trip(),
            lateness: self.lateness.multiplier(),
            delay: Duration::from_nanos(self.lateness.standing().worst_ns),
            tightest: self.judge.deadline_of_sensors(),
            nearest: self.detector.outlook().nearest,
            ..promise(&self.config)
        };
        self.lateness.judge_by(self.judge.tightest());
        let before = *self.pace.in_force();
        let plan = self.pace.plan(&inputs);
        let terms = Terms::of(&plan, inputs.loss, self.lateness.standing());
        if let Some(recorder) = &mut self.recorder {
            recorder.terms(now, &terms);
            if plan.period != before.period {
                recorder.period(now, plan.period, &plan.why.to_string());
            }
        }
        self.judge.terms(terms);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.plan = plan;
        (status.loss, status.round_trip) = (self.loss.measured(), inputs.round_trip);
        status.latencies = *self.loss.latencies();
        status.standing = self.lateness.standing();
        drop(status);
        self.next_sample = self.pace.next(due, now, self.deadline(now));
    }

    /// When the next progress sensor misses its deadline, unless it moves, or the silence its.
    fn deadline(&self, now: Duration) -> Option<Duration> {
        let sensors = self.detector.outlook().deadline.filter(|deadline| *deadline > now);
        match (sensors, self.judge.due()) {
            (Some(sensors), Some(judge)) => Some(sensors.min(judge)),
            (one, other) => one.or(other),
        }
    }

    /// When an answer under way is too late to count for its chance.
    pub(super) fn patience(&self) -> Duration {
        self.pace.in_force().wait
    }
}

/// The part of the inputs that the configuration gives.
fn promise(config: &crate::config::TargetConfig) -> Inputs {
    Inputs {
        tightest: None,
        false_alarm: config.false_alarm,
        loss: crate::loss::Loss::default().probability(),
        round_trip: crate::loss::RoundTrip::default(),
        wait: config.deadline,
        nearest: None,
        lateness: 1.0,
        delay: Duration::ZERO,
        longest: config.period,
        fastest: config.fastest(),
    }
}

/// The plan before anything was read.
pub(super) fn first_plan(config: &crate::config::TargetConfig) -> Plan {
    Plan::of(&promise(config))
}

/// Differs between targets, and is the same for a target each time, so that a simulation can be repeated.
pub(super) fn seed(target: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    hasher.finish()
}
