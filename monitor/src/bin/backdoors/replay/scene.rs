//! The target and what was said of it, as of one moment of a recording.

use crate::sensors::sensor_table;
use crate::units::time;
use crate::verdicts::verdict_table;
use backdoors_monitor::clock::{nanoseconds, rfc3339};
use backdoors_monitor::recorder::{About, Moment, Playback, Recording, Rerun, What};
use backdoors_monitor::sampler::{class_name, unit_name};
use backdoors_monitor::verdict::{Verdict, worst};
use backdoors_monitor_api::{SensorRow, VerdictRow};
use backdoors_sensor_box::{ApplicationView, SensorView};
use std::time::Duration;

/// Everything that is shown.
pub struct Scene {
    /// Name of the target.
    pub target: String,
    /// By the wall clock then.
    pub wall: Duration,
    at: Duration,
    view: Option<SensorView>,
    applications: Vec<ApplicationView>,
    /// When the sensors were read last.
    read_at: Duration,
    /// Why they were not read since.
    problem: Option<String>,
    period: Option<(Duration, String)>,
    pub rerun: Rerun,
}

impl Scene {
    pub fn new(recording: &Recording, rerun: Rerun) -> Scene {
        Scene {
            target: recording.header().map_or("?".to_owned(), |header| header.target.clone()),
            wall: Duration::ZERO,
            at: Duration::ZERO,
            view: None,
            applications: Vec::new(),
            read_at: Duration::ZERO,
            problem: None,
            period: None,
            rerun,
        }
    }

    pub fn take_in(&mut self, moment: &Moment, playback: &Playback<'_>) {
        (self.wall, self.at) = (moment.wall, moment.at);
        match &moment.what {
            What::Reading { .. } => {
                self.view.get_or_insert_default().clone_from(playback.view());
                self.read_at = moment.at;
                self.problem = None;
            }
            What::Applications { .. } => self.applications = playback.applications().to_vec(),
            What::Missed { reason, .. } => self.problem = Some(reason.clone()),
            What::Period { period, why } => self.period = Some((*period, why.clone())),
            _ => {}
        }
        self.rerun.feed(moment, playback);
    }

    /// Its tables, as `backdoors sensors` and `backdoors verdicts` show them.
    pub fn tables(&self) -> String {
        let mut text = format!("{}: {}", self.target, rfc3339(self.wall));
        if let Some((period, why)) = &self.period {
            text.push_str(&format!("; sampled every {}: {why}", time(nanoseconds(*period))));
        }
        if let Some(problem) = &self.problem {
            let silence = self.at.saturating_sub(self.read_at);
            text.push_str(&format!("\nnot read for {}: {problem}", time(nanoseconds(silence))));
        }
        text.push_str("\n\n");
        let verdicts = self.verdicts();
        text.push_str(&verdict_table(&verdicts));
        for verdict in &verdicts {
            let about = About::Layer(verdict.layer, verdict.subject.clone());
            if let Some((then, now)) = self.rerun.difference(&about) {
                text.push_str(&format!("{about} was said to be {then}; now: {now}\n"));
            }
        }
        text.push('\n');
        text.push_str(&sensor_table(self.sensors().iter()));
        text
    }

    /// What was said of the layers.
    pub fn verdicts(&self) -> Vec<VerdictRow> {
        self.rerun.recorded().map(|verdict| self.verdict(verdict)).collect()
    }

    /// How long ago the sensors were read, if they ever were.
    pub fn age(&self) -> Option<Duration> {
        self.view.as_ref().map(|_| self.at.saturating_sub(self.read_at))
    }

    /// The last reading.
    pub fn view(&self) -> Option<&SensorView> {
        self.view.as_ref()
    }

    /// Why the sensors were not read since.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The longest time between two samples in force.
    pub fn period(&self) -> Duration {
        self.period.as_ref().map_or(Duration::ZERO, |(period, _)| *period)
    }

    /// The worst of it.
    pub fn worst(&self) -> Option<&Verdict> {
        worst(self.rerun.recorded())
    }

    /// A verdict, as it stands at this moment.
    pub fn verdict(&self, verdict: &Verdict) -> VerdictRow {
        let since = self.at.saturating_sub(verdict.since);
        VerdictRow {
            layer: verdict.layer,
            subject: verdict.subject.clone(),
            state: verdict.state,
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            confidence: verdict.confidence,
            evidence: verdict.evidence.clone(),
        }
    }

    /// The sensors, as last read.
    pub fn sensors(&self) -> Vec<SensorRow> {
        let limits = self.rerun.detector().limits();
        let exceeded = |kind, instance| {
            self.rerun
                .detector()
                .exceeded()
                .any(|exceeded| (exceeded.kind, exceeded.instance) == (kind, instance))
        };
        let of_box = self.view.iter().flat_map(|view| &view.sensors).map(|reading| SensorRow {
            name: reading.name(),
            kind: reading.kind.0,
            instance: reading.instance,
            user_name: None,
            class: class_name(reading.class).to_owned(),
            unit: unit_name(reading.unit).to_owned(),
            value: reading.value,
            limit: limits.of(reading.kind, reading.instance, reading.limit),
            exceeded: exceeded(reading.kind, reading.instance),
        });
        let of_applications = self.applications.iter().flat_map(|application| {
            application.sensors.iter().map(|sensor| SensorRow {
                name: format!("{}: {}", application.name, sensor.name),
                kind: 0,
                instance: 0,
                user_name: None,
                class: class_name(sensor.class).to_owned(),
                unit: unit_name(sensor.unit).to_owned(),
                value: sensor.value,
                limit: sensor.limit,
                exceeded: false,
            })
        });
        of_box.chain(of_applications).collect()
    }
}
