//! What is known, for Prometheus: OpenMetrics 1.0, or the older text format for those who do not ask for it.
//!
//! How many series there are is bounded by the configuration: see [`sensors::MOST_INSTANCES`] and [`MOST_APPLICATIONS`]. What is left
//! out is counted.

mod boxes;
mod classic;
mod nic;
mod page;
mod process;
mod sensors;

use crate::journal::Counts;
use crate::sampler::Status;
use page::Page;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub(super) use classic::classic;

/// Most applications of a target that have series.
const MOST_APPLICATIONS: usize = 16;

/// What is told.
#[derive(Debug)]
pub(super) struct Known {
    pub statuses: Vec<Status>,
    pub counts: BTreeMap<String, Counts>,
    /// On the monitor's monotonic clock.
    pub now: Duration,
    /// Where the system lists its NICs and processes.
    pub sys: PathBuf,
    pub proc: PathBuf,
}

impl Known {
    /// As text, OpenMetrics.
    pub(super) fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Known {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        process::tell(&mut page, &self.proc)?;
        nic::tell(&mut page, &self.sys)?;
        self.tell_targets(&mut page)?;
        self.tell_verdicts(&mut page)?;
        boxes::tell(&mut page, &self.statuses)?;
        self.tell_deeds(&mut page)?;
        sensors::tell(&mut page, &self.statuses)
    }
}

impl Known {
    fn tell_targets(&self, page: &mut Page<'_>) -> fmt::Result {
        let of_each = |value: &dyn Fn(&Status) -> Option<f64>| -> Vec<([(&str, &str); 1], f64)> {
            let each = self.statuses.iter();
            each.filter_map(|status| Some(([("target", status.name.as_str())], value(status)?))).collect()
        };
        let seconds = |time: Duration| time.as_secs_f64();
        page.gauge(
            "backdoors_target_up",
            "1 if the last reading of the target's memory succeeded.",
            None,
            of_each(&|status| Some(f64::from(status.reach == backdoors_monitor_api::Reach::Reachable))),
        )?;
        page.gauge(
            "backdoors_target_connections",
            "Connections to the target that work.",
            None,
            of_each(&|status| Some(status.connections as f64)),
        )?;
        page.gauge(
            "backdoors_target_lease_held",
            "1 while this monitor holds the target's lease, and may act on it.",
            None,
            of_each(&|status| Some(f64::from(super::views::holds_lease(status, self.now)))),
        )?;
        page.gauge(
            "backdoors_sample_age",
            "Age of the last good reading.",
            Some(Unit::Seconds),
            of_each(&|status| Some(seconds(self.now.saturating_sub(status.sampled?)))),
        )?;
        page.gauge(
            "backdoors_sampling_period",
            "Longest time between two readings in force.",
            Some(Unit::Seconds),
            of_each(&|status| Some(seconds(status.plan.period))),
        )?;
        let read = self.statuses.iter().filter(|status| status.samples > 0);
        page.histogram(
            "backdoors_fetch_latency",
            "How long readings took.",
            Unit::Seconds,
            read.map(|status| ([("target", status.name.as_str())], status.latencies)),
        )?;
        page.gauge(
            "backdoors_fetch_loss",
            "Share of recent readings that were lost.",
            Some(Unit::Ratios),
            of_each(&|status| Some(status.loss)),
        )?;
        page.counter(
            "backdoors_samples",
            "Good readings.",
            None,
            of_each(&|status| Some(status.samples as f64)),
        )?;
        page.counter(
            "backdoors_sample_failures",
            "Readings that failed.",
            None,
            of_each(&|status| Some(status.failures as f64)),
        )?;
        page.counter(
            "backdoors_late_rounds",
            "Rounds that the monitor itself began late.",
            None,
            of_each(&|status| Some(status.standing.late_rounds as f64)),
        )?;
        page.gauge(
            "backdoors_lateness_multiplier",
            "What deadlines are multiplied by because the monitor itself is late.",
            None,
            of_each(&|status| Some(status.standing.multiplier)),
        )?;
        page.gauge(
            "backdoors_open_proposals",
            "Proposals of healers that wait for approval.",
            None,
            of_each(&|status| {
                let open =
                    |proposal: &&crate::proposals::Proposal| proposal.state == crate::proposals::State::Open;
                Some(status.proposals.iter().filter(open).count() as f64)
            }),
        )
    }

    fn tell_verdicts(&self, page: &mut Page<'_>) -> fmt::Result {
        use crate::verdict::{Layer, State};
        let shown = |status: &'_ Status| {
            let applications = status.verdicts.iter().filter(|verdict| verdict.layer == Layer::Application);
            let others = status.verdicts.iter().filter(|verdict| verdict.layer != Layer::Application);
            others.chain(applications.take(MOST_APPLICATIONS)).cloned().collect::<Vec<_>>()
        };
        let all: Vec<_> = self
            .statuses
            .iter()
            .flat_map(|status| shown(status).into_iter().map(move |it| (&status.name, it)))
            .collect();
        let rows = |value: fn(&crate::verdict::Verdict) -> f64| {
            let row = move |(target, verdict): &(&String, crate::verdict::Verdict)| {
                let application = verdict.subject.clone().unwrap_or_default();
                let labels = [
                    ("target", (*target).clone()),
                    ("layer", verdict.layer.name().to_owned()),
                    ("application", application),
                ];
                (labels, value(verdict))
            };
            all.iter().map(row).collect::<Vec<_>>()
        };
        page.gauge(
            "backdoors_verdict",
            "What is said of a layer of a target: 0 unknown, 1 healthy, 2 suspect, 3 failed.",
            None,
            rows(|verdict| match verdict.state {
                State::Unknown => 0.0,
                State::Healthy => 1.0,
                State::Suspect => 2.0,
                State::Failed => 3.0,
            }),
        )?;
        page.gauge(
            "backdoors_verdict_confidence",
            "How sure that is.",
            Some(Unit::Ratios),
            rows(|verdict| verdict.confidence),
        )
    }

    fn tell_deeds(&self, page: &mut Page<'_>) -> fmt::Result {
        let told = self.counts.iter().flat_map(|(target, counts)| {
            counts
                .entries
                .iter()
                .map(move |(kind, count)| ([("target", target.as_str()), ("kind", kind)], *count as f64))
        });
        page.counter(
            "backdoors_events",
            "Entries of the journal since the monitor began, by kind.",
            None,
            told,
        )?;
        let repairing = self.counts.iter().filter(|(_, counts)| counts.repairing_ns > 0);
        let repairing = repairing
            .map(|(target, counts)| ([("target", target.as_str())], counts.repairing_ns as f64 / 1e9));
        page.counter(
            "backdoors_repairing",
            "From decision to end, of all commands that ended as asked; backdoors_events{kind=\"repaired\"} tells how many.",
            Some(Unit::Seconds),
            repairing,
        )?;
        let recovered: Vec<_> = self
            .counts
            .iter()
            .filter_map(|(target, counts)| Some((target.as_str(), counts.recovery.as_ref()?)))
            .collect();
        let phases = recovered.iter().flat_map(|(target, report)| {
            report.marks.iter().map(|mark| {
                let phase = mark.phase.to_string().replace(' ', "-");
                ([("target", (*target).to_owned()), ("phase", phase)], mark.after.as_secs_f64())
            })
        });
        page.gauge(
            "backdoors_recovery_phase",
            "When the phases of the target's last recovery ended, from its beginning.",
            Some(Unit::Seconds),
            phases,
        )?;
        let fates = recovered.iter().flat_map(|(target, report)| {
            let fates = [("resumed", report.resumed), ("earlier", report.earlier), ("lost", report.lost)];
            fates.map(|(fate, count)| ([("target", *target), ("fate", fate)], count as f64))
        });
        page.gauge(
            "backdoors_recovery_sessions",
            "What became of the sessions in the target's last recovery.",
            None,
            fates,
        )
    }
}

#[cfg(test)]
mod tests;
