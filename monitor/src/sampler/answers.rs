//! Healers that take their time: their answers are taken in when they are there. What they judged may be stale by then,
//! so what they propose is checked against a process table that is fetched anew.

use super::Sampler;
use super::healing::Healing;
use crate::victim::matching;
use backdoors_healers::Diagnosis;
use backdoors_sensor_box::ProcessView;
use std::time::Duration;

/// How often to look for an answer that is awaited.
const LOOK_FOR_ANSWERS: Duration = Duration::from_millis(20);

impl Sampler {
    /// Notes which answers are there.
    pub(super) fn look_for_answers(&mut self) {
        if self.dispatcher.awaits_an_answer() {
            for healing in self.healers.iter_mut().filter(|healing| healing.answer.is_none()) {
                healing.answer = healing.healer.answer();
            }
        }
    }

    /// Whether there is an answer to be taken in.
    pub(super) fn an_answer_is_there(&self) -> bool {
        self.healers.iter().any(|healing| healing.answer.is_some())
    }

    /// When to look for answers again.
    pub(super) fn look_for_answers_at(&self) -> Option<Duration> {
        self.dispatcher.awaits_an_answer().then(|| self.clock.monotonic() + LOOK_FOR_ANSWERS)
    }

    /// Takes in the answers that are there.
    pub(super) fn take_in_answers(&mut self, now: Duration) {
        let take = |(index, healing): (usize, &mut Healing)| Some((index, healing.answer.take()?));
        let answers: Vec<(usize, Diagnosis)> = self.healers.iter_mut().enumerate().filter_map(take).collect();
        let accuses = |(_, answer): &(usize, Diagnosis)| matches!(answer, Diagnosis::Culprit { .. });
        let processes =
            if answers.iter().any(accuses) { self.fetch_processes(now) } else { Ok(ProcessView::default()) };
        for (index, answer) in answers {
            match (answer, &processes) {
                (Diagnosis::Culprit { culprit, evidence, repair, .. }, Ok(processes)) => {
                    let struck = |command| matching(command, processes).count() as u64;
                    let victims = repair.commands.iter().map(struck).sum();
                    let counted = Diagnosis::Culprit { culprit, evidence, repair, victims };
                    self.take_in_diagnosis(index, counted, processes);
                }
                (Diagnosis::Culprit { .. }, Err(error)) => {
                    let reason =
                        format!("its answer came too late: the process table cannot be read: {error}");
                    self.take_in_diagnosis(index, Diagnosis::Broke { reason }, &ProcessView::default());
                }
                (answer, _) => self.take_in_diagnosis(index, answer, &ProcessView::default()),
            }
        }
    }

    /// Tells the dispatcher which healers watch applications that have failed.
    pub(super) fn call_for_applications(&mut self) {
        for (index, healing) in self.healers.iter_mut().enumerate() {
            let watched = healing.healer.applications();
            let troubled = self.judge.failed_applications().any(|name| watched.include(name));
            if self.dispatcher.trouble(index, troubled) {
                healing.told_nothing = false;
            }
        }
    }
}
