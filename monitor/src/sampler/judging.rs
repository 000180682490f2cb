//! What the judge is told, and what its verdicts lead to.

use super::recovering::RecoverOrder;
use super::{Sampler, class_name, unit_name};
use crate::clock::nanoseconds;
use crate::config::RuleConfig;
use crate::detector::Taken;
use crate::journal::What;
use crate::judge::Failure;
use crate::levels::{Change, To};
use crate::peers::{Opinion, Opinions};
use crate::recovery::Terms;
use crate::rules::Turn;
use crate::verdict::{Layer, State, Verdict};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

/// A probe waits for so many deadlines: it must outlast what a slow path does to readings.
const PROBE_DEADLINES: u32 = 4;
const PROBES_AT_ONCE: usize = 4;
const SHORTEST_PROBE: Duration = Duration::from_secs(1);
/// Chances to read that tell how fit this monitor is to act, fading.
const RECENT_CHANCES: f64 = 32.0;

/// What other monitors say of targets.
pub trait SecondViews: Send {
    /// What they said last of a target.
    fn about(&self, target: &str) -> Vec<Opinion>;
    /// Has them asked now; returns at once.
    fn ask(&self, target: &str);
}

impl SecondViews for Opinions {
    fn about(&self, target: &str) -> Vec<Opinion> {
        Opinions::about(self, target)
    }

    fn ask(&self, target: &str) {
        Opinions::ask(self, target);
    }
}

impl Sampler {
    /// A reading for judge and recorder.
    pub(super) fn judge_reading(&mut self, taken: Taken) {
        let Taken { started, finished } = taken;
        let view = self.fetcher.view();
        self.answered += (1.0 - self.answered) / RECENT_CHANCES;
        self.judge.reading(started, finished, view, self.detector.limits());
        self.judge.applications(started, finished, self.applications.views());
        self.levels.feed(finished, self.applications.views(), &mut self.level_changes);
        if let Some(recorder) = &mut self.recorder {
            recorder.reading(taken, view);
            recorder.applications(taken, self.applications.views());
        }
        let mut level_changes = std::mem::take(&mut self.level_changes);
        for change in level_changes.drain(..) {
            self.tell_level(change);
        }
        self.level_changes = level_changes;
        self.conclude(finished);
    }

    fn tell_level(&mut self, change: Change) {
        let Change { sensor, class, unit, value, to } = change;
        self.note(match to {
            To::Exceptional(limit) => What::Event {
                sensor,
                instance: 0,
                class: class_name(class),
                unit: unit_name(unit),
                value,
                limit,
            },
            To::Usual(lasted) => What::Cleared { sensor, instance: 0, value, lasted_ns: nanoseconds(lasted) },
        });
    }

    /// A chance to read, taken at `asked`, that gave nothing, as is known at `now`.
    pub(super) fn judge_miss(&mut self, asked: Duration, now: Duration, how: Failure, reason: &str) {
        if how == Failure::Silent {
            self.loss.missed();
        }
        self.answered += (0.0 - self.answered) / RECENT_CHANCES;
        self.judge.missed(asked, now, how);
        if let Some(recorder) = &mut self.recorder {
            recorder.missed(asked, now, how, reason);
        }
        self.consult(now);
        self.conclude(now);
    }

    /// What came of a probe.
    pub(super) fn judge_probe(&mut self, now: Duration, answer: Result<Duration, (Failure, String)>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.probe(now, answer.as_ref().copied().map_err(|(how, reason)| (*how, reason.as_str())));
        }
        self.status.lock().unwrap_or_else(PoisonError::into_inner).nic_answers = Some(answer.is_ok());
        self.judge.probe(now, answer.map_err(|(failure, _)| failure));
        self.conclude(now);
    }

    /// Has the NIC probed and others asked when the judge is in doubt, and tells it what others said.
    fn consult(&mut self, now: Duration) {
        let Some(others) = &self.second_views else { return self.probe_if_wanted(now) };
        let opinions = others.about(&self.config.name);
        if let Some(recorder) = &mut self.recorder {
            recorder.opinions(now, &opinions);
        }
        self.judge.opinions(now, &opinions);
        self.probe_if_wanted(now);
    }

    fn probe_if_wanted(&mut self, now: Duration) {
        if !self.judge.wants_second_view(now) {
            return;
        }
        if let Some(others) = &self.second_views {
            others.ask(&self.config.name);
        }
        // A probe can be lost as a reading can.
        if self.reader.probes() < PROBES_AT_ONCE {
            let deadline = (self.judge.tightest() * PROBE_DEADLINES).max(SHORTEST_PROBE);
            self.start_probe(now, deadline);
        }
    }

    /// Looks whether the time that passed alone means something.
    pub(super) fn look_at_time(&mut self, now: Duration) {
        if let Some(others) = &self.second_views
            && self.judge.verdicts().iter().any(|verdict| verdict.state != State::Healthy)
        {
            let opinions = others.about(&self.config.name);
            if let Some(recorder) = &mut self.recorder {
                recorder.opinions(now, &opinions);
            }
            self.judge.opinions(now, &opinions);
        }
        self.judge.look(now);
        self.probe_if_wanted(now);
        self.conclude(now);
    }

    /// Tells what changed, and does what the rules say.
    fn conclude(&mut self, now: Duration) {
        let mut changes = std::mem::take(&mut self.verdict_changes);
        self.judge.changes(&mut changes);
        let changed = !changes.is_empty();
        for verdict in changes.drain(..) {
            self.tell_verdict(now, &verdict);
        }
        if changed {
            let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
            status.verdicts.clear();
            status.verdicts.extend_from_slice(self.judge.verdicts());
        }
        self.verdict_changes = changes;
        if changed {
            self.call_for_applications();
        }
        if !self.rules.is_empty() {
            for turn in self.rules.turns(now, self.judge.verdicts()) {
                self.act(&turn);
            }
        }
    }

    fn tell_verdict(&mut self, now: Duration, verdict: &Verdict) {
        if let Some(recorder) = &mut self.recorder {
            recorder.verdict(now, verdict);
        }
        let key = (verdict.layer, verdict.subject.clone());
        let before = self.told.insert(key, verdict.state).unwrap_or(State::Unknown);
        // That a layer is healthy is no news unless it was not; that one is hidden says the one that hides it.
        let speaks_against = |state| matches!(state, State::Failed | State::Suspect);
        let is_news = speaks_against(before) || speaks_against(verdict.state);
        if is_news {
            self.note(What::Verdict {
                layer: verdict.layer,
                subject: verdict.subject.clone(),
                state: verdict.state,
                before,
                confidence: verdict.confidence,
                evidence: verdict.evidence.clone(),
            });
        }
    }

    fn act(&mut self, turn: &Turn) {
        let Some(rule) = self.rules.config(turn.rule).cloned() else { return };
        let mut actions = Vec::new();
        if let Some(name) = &rule.heal
            && let Some(healer) = self.healers.iter().position(|healing| healing.healer.name() == name)
        {
            self.dispatcher.call(healer);
            actions.push(format!("calls healer {name}"));
        }
        if rule.recover {
            let by = "a rule".to_owned();
            self.recoveries.push_back(RecoverOrder { terms: Terms::default(), by, reply: None });
            actions.push("has its live sessions recovered".to_owned());
        }
        if !rule.run.is_empty() {
            actions.push(match run(&rule, &self.config.name, &turn.verdict) {
                Ok(()) => format!("runs {}", rule.run.join(" ")),
                Err(error) => format!("cannot run {}: {error}", rule.run.join(" ")),
            });
        }
        self.note(What::Rule {
            layer: turn.verdict.layer,
            subject: turn.verdict.subject.clone(),
            state: turn.verdict.state,
            action: actions.join(", "),
        });
    }
}

/// Starts a rule's program, and a thread that waits for its end so that it leaves no zombie.
fn run(rule: &RuleConfig, target: &str, verdict: &Verdict) -> std::io::Result<()> {
    let (program, arguments) = rule.run.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("BACKDOORS_TARGET", target)
        .env("BACKDOORS_LAYER", verdict.layer.name())
        .env("BACKDOORS_SUBJECT", verdict.subject.as_deref().unwrap_or_default())
        .env("BACKDOORS_STATE", verdict.state.name())
        .env("BACKDOORS_CONFIDENCE", format!("{:.6}", verdict.confidence))
        .env("BACKDOORS_EVIDENCE", verdict.evidence.join("; "))
        .stdin(Stdio::null())
        .spawn()?;
    let name = program.clone();
    std::thread::Builder::new().name("rule".into()).spawn(move || match child.wait() {
        Ok(status) if status.success() => {}
        Ok(status) => tracing::warn!("a rule's program {name} failed: {status}"),
        Err(error) => tracing::warn!("a rule's program {name} was lost: {error}"),
    })?;
    Ok(())
}

/// A layer, and the application if it is one's.
pub(super) type Place = (Layer, Option<String>);
