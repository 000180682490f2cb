//! A recording in short.

use super::Show;
use super::scene::Scene;
use crate::ask::{print, print_json};
use crate::units::time;
use backdoors_monitor::clock::{nanoseconds, rfc3339};
use backdoors_monitor::recorder::{Difference, Moment, Recording, What};
use backdoors_monitor::verdict::State;
use serde::Serialize;
use std::time::Duration;

/// Counts, verdicts and differences.
pub struct Summary {
    json: bool,
    told: Told,
    verdicts: Vec<String>,
}

#[derive(Default, Serialize)]
struct Told {
    target: String,
    recorded_by: Option<String>,
    from_ns: u64,
    until_ns: u64,
    runs: u64,
    readings: u64,
    missed: u64,
    probes: u64,
    notes: u64,
    gaps: Vec<String>,
    verdicts: Vec<Said>,
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Said {
    time_ns: u64,
    layer: &'static str,
    subject: Option<String>,
    state: &'static str,
    confidence: f64,
    evidence: Vec<String>,
}

impl Summary {
    pub fn new(json: bool) -> Summary {
        Summary { json, told: Told::default(), verdicts: Vec::new() }
    }
}

impl Show for Summary {
    fn begin(&mut self, recording: &Recording, scene: &Scene) -> anyhow::Result<()> {
        self.told.target.clone_from(&scene.target);
        self.told.recorded_by = recording.header().map(|header| header.program.clone());
        self.told.gaps.extend(recording.gaps().iter().map(ToString::to_string));
        Ok(())
    }

    fn pause(&mut self, _: &Scene, remaining: &mut dyn FnMut() -> Duration) -> anyhow::Result<()> {
        std::thread::sleep(remaining());
        Ok(())
    }

    fn moment(&mut self, moment: &Moment, _: &Scene) -> anyhow::Result<()> {
        let told = &mut self.told;
        let wall = nanoseconds(moment.wall);
        if told.from_ns == 0 {
            told.from_ns = wall;
        }
        told.until_ns = told.until_ns.max(wall);
        match &moment.what {
            What::Begun => told.runs += 1,
            What::Reading { .. } => told.readings += 1,
            What::Missed { .. } => told.missed += 1,
            What::Probe(_) => told.probes += 1,
            What::Note(_) => told.notes += 1,
            What::Gap(gap) => told.gaps.push(format!("{}: {gap}", rfc3339(moment.wall))),
            What::Verdict(verdict) if !moment.standing => {
                if matches!(verdict.state, State::Suspect | State::Failed) {
                    let subject = verdict.subject.as_ref().map_or(String::new(), |name| format!(" {name}"));
                    self.verdicts.push(format!(
                        "{}  {}{subject} {} ({:.0} %): {}\n",
                        rfc3339(moment.wall),
                        verdict.layer,
                        verdict.state,
                        verdict.confidence * 100.0,
                        verdict.evidence.join("; ")
                    ));
                }
                told.verdicts.push(Said {
                    time_ns: wall,
                    layer: verdict.layer.name(),
                    subject: verdict.subject.clone(),
                    state: verdict.state.name(),
                    confidence: verdict.confidence,
                    evidence: verdict.evidence.clone(),
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn draw(&mut self, _: &Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn end(&mut self, scene: Scene) -> anyhow::Result<()> {
        let told = &mut self.told;
        told.differences = scene.rerun.differences();
        if self.json {
            return print_json(told);
        }
        let mut text = format!(
            "{}: from {} to {}, {}{}\n{} readings, {} missed; {} probes; {} entries of the journal; runs of the monitor: {}\n",
            told.target,
            rfc3339(Duration::from_nanos(told.from_ns)),
            rfc3339(Duration::from_nanos(told.until_ns)),
            time(told.until_ns.saturating_sub(told.from_ns)),
            told.recorded_by.as_ref().map_or(String::new(), |program| format!(", recorded by {program}")),
            told.readings,
            told.missed,
            told.probes,
            told.notes,
            told.runs
        );
        for gap in &told.gaps {
            text.push_str(&format!("gap: {gap}\n"));
        }
        match self.verdicts[..] {
            [] => text.push_str("no layer was suspect or failed\n"),
            _ => text.extend(self.verdicts.iter().map(String::as_str)),
        }
        text.push_str(&differences_text(&told.differences));
        print(&text)
    }
}

/// Where detector and judge say now what they did not say then.
pub fn differences_text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "run again, detector and judge say the same\n".to_owned();
    }
    let mut text = "run again, detector and judge say otherwise:\n".to_owned();
    for difference in differences {
        let because = match difference.because.as_str() {
            "" => String::new(),
            because => format!(" ({because})"),
        };
        text.push_str(&format!(
            "{}  {}: recorded {}, now {} for {}{because}\n",
            rfc3339(Duration::from_nanos(difference.from_ns)),
            difference.about,
            difference.recorded,
            difference.now,
            time(difference.lasted_ns)
        ));
    }
    text
}
