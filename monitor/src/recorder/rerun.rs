//! The detector and the judge of this program, run again on a recording: what they say now beside what was said then.

use super::moment::{Moment, Settings, What};
use super::playback::Playback;
use crate::detector::{Detector, Event, Taken};
use crate::judge::{self, Judge, Terms};
use crate::lateness::Standing;
use crate::sampler::sensor_name;
use crate::verdict::{Layer, State, Verdict};
use backdoors_healers::{LimitError, Limits};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Until terms were recorded.
const FIRST_TERMS: Terms = Terms {
    period: Duration::from_millis(100),
    wait: Duration::from_millis(500),
    chances: 6,
    loss: 0.01,
    standing: Standing {
        score: 0,
        multiplier: 1.0,
        overloaded: false,
        late_share: 0.0,
        worst_ns: 0,
        late_rounds: 0,
    },
};
/// What was recorded and what is said now may differ for so long: they did not look at the very same moments.
const TOLERANCE: Duration = Duration::from_millis(10);
/// A recording begins in the middle of things: what was known then has to be learnt again, and may differ until then.
const WARM_UP: Duration = Duration::from_secs(5);

/// What something is said of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A layer, and which application if it is one's.
    Layer(Layer, Option<String>),
    /// A sensor: exceptional or not.
    Sensor(String),
}

impl fmt::Display for About {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Layer(layer, None) => write!(formatter, "{layer}"),
            About::Layer(layer, Some(subject)) => write!(formatter, "{layer} {subject}"),
            About::Sensor(name) => formatter.write_str(name),
        }
    }
}

/// A stretch of time over which something else is said now than was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what.
    pub about: About,
    /// From when, nanoseconds since 1970 UTC by the wall clock of the monitor that recorded.
    pub from_ns: u64,
    /// For how long, nanoseconds. It may have begun before the recording or lasted beyond it.
    pub lasted_ns: u64,
    /// What was said then.
    pub recorded: String,
    /// What is said now.
    pub now: String,
    /// What speaks for what is said now.
    pub because: String,
}

/// What is said of one thing, then and now.
#[derive(Clone, Debug, Default)]
struct Track {
    recorded: Option<String>,
    now: Option<String>,
    because: String,
    agreed: bool,
    /// They differ: since when, and what was said then and now at that time.
    open: Option<(Duration, String, String, String)>,
}

/// Runs detector and judge along a recording.
#[derive(Debug)]
pub struct Rerun {
    overrides: BTreeMap<String, u64>,
    settings: Settings,
    terms: Terms,
    detector: Detector,
    judge: Judge,
    generation: Option<u64>,
    events: Vec<Event>,
    changes: Vec<Verdict>,
    recorded: BTreeMap<(Layer, Option<String>), Verdict>,
    tracks: BTreeMap<About, Track>,
    touched: BTreeSet<About>,
    wall: Duration,
    differences: Vec<Difference>,
}

impl Rerun {
    /// `overrides`, by `sensor` or `sensor/instance`, take the place of limits that were in force.
    ///
    /// # Errors
    /// If a sensor is not known.
    pub fn new(overrides: BTreeMap<String, u64>) -> Result<Rerun, LimitError> {
        let settings =
            Settings { late_after_ns: 400_000_000, silence_ns: 1_000_000_000, ..Settings::default() };
        Settings { limits: overrides.clone(), ..Settings::default() }.limits()?;
        let mut rerun = Rerun {
            overrides,
            terms: FIRST_TERMS,
            detector: Detector::new(Limits::default(), Duration::ZERO),
            judge: Judge::new(judge::Settings { silence: Duration::ZERO }, FIRST_TERMS),
            settings,
            generation: None,
            events: Vec::new(),
            changes: Vec::new(),
            recorded: BTreeMap::new(),
            tracks: BTreeMap::new(),
            touched: BTreeSet::new(),
            wall: Duration::ZERO,
            differences: Vec::new(),
        };
        rerun.begin();
        Ok(rerun)
    }

    fn begin(&mut self) {
        let mut limits = Limits::default();
        for (name, limit) in self.settings.limits.iter().chain(&self.overrides) {
            // Sensors that only the recorder knew have no readings here either.
            let _ = limits.set(name, *limit);
        }
        self.detector = Detector::new(limits, Duration::from_nanos(self.settings.late_after_ns));
        self.detector.widen(self.terms.standing.multiplier);
        let silence = Duration::from_nanos(self.settings.silence_ns);
        self.judge = Judge::new(judge::Settings { silence }, self.terms);
        self.generation = None;
    }

    /// The detector.
    #[must_use]
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The judge.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The verdicts that were in force then.
    pub fn recorded(&self) -> impl Iterator<Item = &Verdict> {
        self.recorded.values()
    }

    /// What is said of something now, where that differs from what was said then: then, now.
    #[must_use]
    pub fn difference(&self, about: &About) -> Option<(&str, &str)> {
        let (_, recorded, now, _) = self.tracks.get(about)?.open.as_ref()?;
        Some((recorded, now))
    }

    /// Takes in a moment that `playback` just told.
    pub fn feed(&mut self, moment: &Moment, playback: &Playback<'_>) {
        let at = moment.at;
        self.wall = moment.wall;
        if let Some(due) = self.judge.due().filter(|due| *due < at) {
            self.judge.look(due);
            self.hear();
        }
        match &moment.what {
            What::Begun => {
                self.close_all();
                self.tracks.clear();
                self.recorded.clear();
                self.begin();
            }
            What::Settings(settings) if *settings != self.settings => {
                self.settings = settings.clone();
                self.begin();
            }
            What::Terms(terms) if *terms != self.terms => {
                self.terms = *terms;
                self.detector.widen(terms.standing.multiplier);
                self.judge.terms(*terms);
            }
            What::Reading { asked } => self.reading(Taken { started: *asked, finished: at }, playback),
            What::Applications { asked } => self.judge.applications(*asked, at, playback.applications()),
            What::Missed { asked, how, .. } => self.judge.missed(*asked, at, *how),
            What::Probe(outcome) => {
                self.judge.probe(at, outcome.as_ref().copied().map_err(|(how, _)| *how));
            }
            What::Opinions(opinions) => self.judge.opinions(at, opinions),
            What::Verdict(verdict) => {
                self.judge.look(at);
                let about = About::Layer(verdict.layer, verdict.subject.clone());
                self.tell(about, |track| track.recorded = Some(verdict.state.to_string()));
                self.recorded.insert((verdict.layer, verdict.subject.clone()), verdict.clone());
            }
            What::Note(json) => self.note(json),
            What::Settings(_) | What::Terms(_) | What::Period { .. } | What::Gap(_) => {}
        }
        self.hear();
        self.compare();
    }

    /// Everything that was said differently. To be called at the end of the recording.
    #[must_use]
    pub fn differences(mut self) -> Vec<Difference> {
        self.close_all();
        self.differences.sort_by_key(|difference| difference.from_ns);
        self.differences
    }

    fn reading(&mut self, taken: Taken, playback: &Playback<'_>) {
        let view = playback.view();
        let before = self.generation.replace(view.generation);
        if before.is_some_and(|before| before != view.generation) {
            self.detector.forget(taken.finished, &mut self.events);
        }
        self.detector.feed(taken, view, &mut self.events);
        self.judge.reading(taken.started, taken.finished, view, self.detector.limits());
    }

    /// An entry of the journal, as far as the detector made it.
    fn note(&mut self, json: &str) {
        #[derive(Deserialize)]
        struct Noted {
            kind: String,
            sensor: Option<String>,
        }
        let Ok(Noted { kind, sensor: Some(sensor) }) = serde_json::from_str(json) else { return };
        let state = match kind.as_str() {
            "event" => EXCEPTIONAL,
            "cleared" => NORMAL,
            _ => return,
        };
        self.tell(About::Sensor(sensor), |track| track.recorded = Some(state.to_owned()));
    }

    /// Hears what detector and judge say.
    fn hear(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let (name, state, because) = match event {
                Event::Raised(exceeded) => {
                    let name = sensor_name(exceeded.kind, exceeded.instance);
                    let because = format!("{} against a limit of {}", exceeded.value, exceeded.limit);
                    (name, EXCEPTIONAL, because)
                }
                Event::Cleared { kind, instance, .. } => (sensor_name(kind, instance), NORMAL, String::new()),
                Event::Late { .. } => continue,
            };
            self.tell(About::Sensor(name), |track| {
                track.now = Some(state.to_owned());
                track.because = because;
            });
        }
        self.events = events;
        let mut changes = std::mem::take(&mut self.changes);
        self.judge.changes(&mut changes);
        for verdict in changes.drain(..) {
            self.tell(About::Layer(verdict.layer, verdict.subject), |track| {
                track.now = Some(verdict.state.to_string());
                track.because = verdict.evidence.join("; ");
            });
        }
        self.changes = changes;
    }

    fn tell(&mut self, about: About, what: impl FnOnce(&mut Track)) {
        what(self.tracks.entry(about.clone()).or_default());
        self.touched.insert(about);
    }

    fn compare(&mut self) {
        for about in std::mem::take(&mut self.touched) {
            let Some(track) = self.tracks.get_mut(&about) else { continue };
            let nothing_said = match about {
                About::Layer(..) => State::Unknown.name(),
                About::Sensor(_) => NORMAL,
            };
            let said = |what: &Option<String>| what.as_deref().unwrap_or(nothing_said).to_owned();
            let (recorded, now) = (said(&track.recorded), said(&track.now));
            let same =
                |(_, then, there, _): &(Duration, String, String, String)| (then, there) == (&recorded, &now);
            if track.open.as_ref().is_some_and(same) {
                continue;
            }
            self.differences.extend(track.close(&about, self.wall));
            if recorded == now {
                track.agreed = true;
            } else {
                track.open = Some((self.wall, recorded, now, track.because.clone()));
            }
        }
    }

    fn close_all(&mut self) {
        for (about, track) in &mut self.tracks {
            self.differences.extend(track.close(about, self.wall));
        }
    }
}

const EXCEPTIONAL: &str = "exceptional";
const NORMAL: &str = "normal";

impl Track {
    fn close(&mut self, about: &About, wall: Duration) -> Option<Difference> {
        let (from, recorded, now, because) = self.open.take()?;
        let lasted = wall.saturating_sub(from);
        let learning = matches!(about, About::Layer(..)) && !self.agreed;
        let tolerated = if learning { WARM_UP } else { TOLERANCE };
        (lasted > tolerated).then(|| Difference {
            about: about.clone(),
            from_ns: crate::clock::nanoseconds(from),
            lasted_ns: crate::clock::nanoseconds(lasted),
            recorded,
            now,
            because,
        })
    }
}
