//! A recording as the dashboard's source.

use crate::replay::lines::describe;
use crate::replay::scene::Scene;
use crate::replay::when::{self, When};
use anyhow::{Context, bail};
use backdoors_dashboards::hold::Hold;
use backdoors_dashboards::source::{Refused, Source, Told, Wish};
use backdoors_monitor::clock::nanoseconds;
use backdoors_monitor::recorder::{Recording, Rerun, What};
use backdoors_monitor::verdict::in_short;
use backdoors_monitor_api::{
    Event, LastEvent, Reach, SensorsAnswer, Standing, State, TargetSummary, VerdictsAnswer,
};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries that are kept.
const EVENTS: usize = 500;

/// A recording that is played.
pub struct Recorded {
    shown: Arc<Mutex<Shown>>,
    hold: Hold,
}

struct Shown {
    scene: Scene,
    events: VecDeque<Event>,
    samples: u64,
}

impl Recorded {
    /// Begins to play `file`, `speed` times as fast as it happened.
    pub fn open(file: &Path, speed: f64, from: Option<&When>) -> anyhow::Result<Recorded> {
        let name = || file.display().to_string();
        let recording = Recording::read(file).with_context(name)?;
        let Some((first, last)) = when::span(&recording) else { bail!("{}: nothing was recorded", name()) };
        let from = from.map_or(first, |when| when.in_span(first, last));
        let scene = Scene::new(&recording, Rerun::new(BTreeMap::new())?);
        let gaps =
            recording.gaps().iter().map(|gap| told(Duration::ZERO, &scene.target, "gap", &gap.to_string()));
        let shown = Arc::new(Mutex::new(Shown { events: gaps.collect(), scene, samples: 0 }));
        let (shared, hold) = (Arc::clone(&shown), Hold::default());
        let held = hold.clone();
        std::thread::Builder::new()
            .name("replay".into())
            .spawn(move || play(&recording, speed, from, &shared, &held))?;
        Ok(Recorded { shown, hold })
    }
}

fn told(wall: Duration, target: &str, kind: &str, text: &str) -> Event {
    crate::replay::lines::event(wall, target, kind, text)
}

fn play(recording: &Recording, speed: f64, from: Duration, shared: &Mutex<Shown>, hold: &Hold) {
    let mut begun = Instant::now();
    let mut playback = recording.play();
    let mut wall = from;
    while let Some(moment) = playback.next() {
        if moment.wall > from {
            if speed == 0.0 {
                return;
            }
            let due = Duration::from_secs_f64(moment.wall.saturating_sub(from).as_secs_f64() / speed);
            begun += hold.sleep(due.saturating_sub(begun.elapsed()));
        }
        wall = moment.wall;
        let mut shown = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shown.scene.take_in(&moment, &playback);
        shown.samples += u64::from(matches!(moment.what, What::Reading { .. }));
        let event = describe(&moment, &shown.scene.target);
        shown.keep(event);
    }
    let mut shown = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let end = told(wall, &shown.scene.target, "end", "the recording ends here");
    shown.keep(Some(end));
}

impl Shown {
    fn keep(&mut self, event: Option<Event>) {
        self.events.extend(event);
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    fn summary(&self) -> TargetSummary {
        let worst = self.scene.worst();
        let view = self.scene.view();
        TargetSummary {
            name: self.scene.target.clone(),
            address: String::new(),
            reach: match (view, self.scene.problem()) {
                (None, _) => Reach::Connecting,
                (Some(_), None) => Reach::Reachable,
                (Some(_), Some(_)) => Reach::Failing,
            },
            problem: self.scene.problem().map(str::to_owned),
            age_ns: self.scene.age().map(nanoseconds),
            clock_moved_ns: None,
            generation: view.map(|view| view.generation),
            capabilities: Vec::new(),
            slot: None,
            connections: 0,
            period_ns: nanoseconds(self.scene.period()),
            period_why: String::new(),
            chances: 0,
            loss: 0.0,
            round_trip_ns: 0,
            lease_holder: None,
            holds_lease: false,
            verdict: in_short(worst),
            samples: self.samples,
            failures: 0,
            exceeded: self
                .scene
                .sensors()
                .into_iter()
                .filter(|row| row.exceeded)
                .map(|row| row.name)
                .collect(),
            running: None,
            state: worst.map_or(State::Unknown, |verdict| verdict.state),
            since_ms: worst.map_or(0, |verdict| self.scene.verdict(verdict).since_ms),
            nearest: None,
            sessions: None,
            open_proposals: 0,
            last_event: self.events.back().map(|event| LastEvent {
                time_ns: event.time_ns,
                kind: event.kind.clone(),
                text: event.text.clone(),
            }),
        }
    }
}

impl Source for Recorded {
    fn ask(&mut self, wish: &Wish) -> Result<Told, Refused> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match wish {
            Wish::Fleet => Told::Fleet(vec![shown.summary()]),
            Wish::Sensors(target) => {
                let view = shown.scene.view();
                let sensors = SensorsAnswer {
                    target: shown.summary(),
                    cpus: view.map_or(0, |view| view.cpus),
                    clock_ns: view.map_or(0, |view| view.clock),
                    tick_period_ns: view.map_or(0, |view| view.tick_period),
                    sensors: shown.scene.sensors(),
                    unknown: 0,
                    applications: Vec::new(),
                };
                let verdicts = VerdictsAnswer {
                    target: target.clone(),
                    overall: sensors.target.state,
                    layers: shown.scene.verdicts(),
                    lateness: Standing::punctual(),
                };
                Told::Sensors(Box::new(sensors), Box::new(verdicts))
            }
            Wish::History(_) => Told::History(shown.events.iter().cloned().collect()),
            Wish::Proposals(_) => Told::Proposals(Vec::new()),
            Wish::Processes(_) => return Err(Refused::Failed("processes are not recorded".to_owned())),
            Wish::Sessions(_) => return Err(Refused::Failed("sessions are not recorded".to_owned())),
        })
    }

    fn recording(&self) -> Option<Hold> {
        Some(self.hold.clone())
    }
}
