//! A recording as plain lines.

use super::Show;
use super::scene::Scene;
use super::summary::differences_text;
use crate::ask::print;
use crate::events::show;
use crate::units::time;
use backdoors_monitor::clock::{nanoseconds, rfc3339};
use backdoors_monitor::recorder::{Moment, Recording, What};
use backdoors_monitor_api::Event;
use std::time::Duration;

/// Prints what happened, a line each.
#[derive(Default)]
pub struct Lines {
    /// Samples missed in a row for one reason: since when, how many, until when, why.
    missed: Option<(Duration, u64, Duration, String)>,
}

/// What is told of a moment, in the form of entries of the journal.
pub fn event(wall: Duration, target: &str, kind: &str, text: &str) -> Event {
    Event {
        time_ns: nanoseconds(wall),
        time: rfc3339(wall),
        monotonic_ns: 0,
        target: target.to_owned(),
        kind: kind.to_owned(),
        text: text.to_owned(),
        more: serde_json::Map::new(),
    }
}

/// What is told of a moment; `None` if it is not worth it.
pub fn describe(moment: &Moment, target: &str) -> Option<Event> {
    let line = |kind, text: &str| Some(event(moment.wall, target, kind, text));
    match &moment.what {
        What::Note(json) => Some(Event::of_line(json)),
        What::Gap(gap) => line("gap", &gap.to_string()),
        What::Begun => line("begun", "a run of the monitor is recorded from here on"),
        What::Probe(Ok(took)) => {
            line("probe", &format!("the NIC answered after {}", time(nanoseconds(*took))))
        }
        What::Probe(Err((_, reason))) => line("probe", &format!("the NIC did not answer: {reason}")),
        What::Period { period, why } if !moment.standing => {
            line("period", &format!("{}: {why}", time(nanoseconds(*period))))
        }
        What::Verdict(verdict) if moment.standing => {
            let subject = verdict.subject.as_ref().map_or(String::new(), |subject| format!(" {subject}"));
            line("verdict", &format!("{}{subject} is {} already", verdict.layer, verdict.state))
        }
        _ => None,
    }
}

impl Lines {
    fn tell_missed(&mut self, target: &str) -> anyhow::Result<()> {
        if let Some((since, count, until, reason)) = self.missed.take() {
            let lasted = time(nanoseconds(until.saturating_sub(since)));
            let text = match count {
                1 => format!("a sample: {reason}"),
                _ => format!("{count} samples in {lasted}: {reason}"),
            };
            print(&show(&event(since, target, "missed", &text)))?;
        }
        Ok(())
    }
}

impl Show for Lines {
    fn begin(&mut self, recording: &Recording, scene: &Scene) -> anyhow::Result<()> {
        for gap in recording.gaps() {
            print(&format!("{}: {gap}\n", scene.target))?;
        }
        Ok(())
    }

    fn pause(&mut self, _: &Scene, remaining: &mut dyn FnMut() -> Duration) -> anyhow::Result<()> {
        std::thread::sleep(remaining());
        Ok(())
    }

    fn moment(&mut self, moment: &Moment, scene: &Scene) -> anyhow::Result<()> {
        match &moment.what {
            What::Missed { reason, .. } => match &mut self.missed {
                Some((_, count, until, before)) if before == reason => {
                    *count += 1;
                    *until = moment.wall;
                }
                _ => {
                    self.tell_missed(&scene.target)?;
                    self.missed = Some((moment.wall, 1, moment.wall, reason.clone()));
                }
            },
            What::Reading { .. } => self.tell_missed(&scene.target)?,
            _ => {
                if let Some(event) = describe(moment, &scene.target) {
                    self.tell_missed(&scene.target)?;
                    print(&show(&event))?;
                }
            }
        }
        Ok(())
    }

    fn draw(&mut self, _: &Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn end(&mut self, scene: Scene) -> anyhow::Result<()> {
        self.tell_missed(&scene.target)?;
        print(&format!("\n{}\n", scene.tables()))?;
        print(&differences_text(&scene.rerun.differences()))
    }
}
