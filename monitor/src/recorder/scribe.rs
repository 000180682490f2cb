//! What a recorder and an extract have in common: frames in segments that each can be understood alone.

use super::encode::Encoder;
use super::moment::{Settings, What, kind, opinions_to_json};
use crate::judge::{Failure, Terms};
use crate::peers::Opinion;
use crate::verdict::{Layer, Verdict};
use backdoors_sensor_box::{ApplicationView, SensorView};
use std::time::Duration;

/// Verdicts that are repeated at the beginning of a segment.
const MOST_STANDING: usize = 128;

/// Whether the judge would come to other verdicts by these terms. What only shades its confidence may drift a little
/// before it is told again.
fn differ(before: &Terms, terms: &Terms) -> bool {
    let harsh = |terms: &Terms| {
        let Terms { period, wait, chances, standing, .. } = terms;
        (*period, *wait, *chances, standing.multiplier.to_bits(), standing.overloaded)
    };
    let drifted = |before: f64, now: f64| (before - now).abs() > 0.01 + 0.1 * before;
    harsh(before) != harsh(terms)
        || drifted(before.loss, terms.loss)
        || drifted(before.standing.late_share, terms.standing.late_share)
}

/// Takes frames.
pub(super) trait Sink {
    /// Begins a segment whose times count from `monotonic`.
    fn begin(&mut self, monotonic: u64);
    /// Appends a frame; `false` if it does not fit.
    fn append(&mut self, kind: u8, payload: &[u8]) -> bool;
    /// Whether a segment with nothing but what stands has room for such a frame.
    fn could_hold(&self, payload: &[u8]) -> bool;
    /// Whether less than a quarter of the segment is used.
    fn is_nearly_empty(&self) -> bool;
}

/// Writes frames. Times are nanoseconds on the monitor's monotonic clock.
#[derive(Debug)]
pub(super) struct Scribe<S> {
    pub sink: S,
    encoder: Encoder,
    /// Time the segment counts from; `None` if what comes next begins one.
    anchor: Option<u64>,
    /// It was said that something too large was left out.
    left_out: bool,
    standing: Standing,
}

/// What is repeated at the beginning of every segment.
#[derive(Debug, Default)]
struct Standing {
    settings: Option<String>,
    period: Option<(Duration, String)>,
    terms: Option<Terms>,
    /// Not repeated: they age.
    opinions: Vec<Opinion>,
    without_applications: bool,
    /// By layer and subject, as JSON.
    verdicts: Vec<(Layer, Option<String>, String)>,
}

impl<S: Sink> Scribe<S> {
    pub fn new(sink: S) -> Scribe<S> {
        Scribe {
            sink,
            encoder: Encoder::default(),
            anchor: None,
            left_out: false,
            standing: Standing::default(),
        }
    }

    /// Another run of the monitor: nothing stands, and its times are its own.
    pub fn begin_run(&mut self) {
        self.anchor = None;
        self.standing = Standing::default();
    }

    pub fn reading(&mut self, now: u64, took: u64, view: &SensorView) {
        self.record(now, |encoder, after| encoder.reading(after, took, view));
    }

    pub fn applications(&mut self, now: u64, took: u64, views: &[ApplicationView]) {
        let none = views.is_empty();
        // As long as there are none, nobody needs to be told so with every sample.
        if !std::mem::replace(&mut self.standing.without_applications, none) || !none {
            self.record(now, |encoder, after| encoder.applications(after, took, views));
        }
    }

    pub fn missed(&mut self, now: u64, took: u64, how: Failure, reason: &str) {
        self.record(now, |encoder, after| encoder.missed(after, took, how, reason));
    }

    pub fn opinions(&mut self, now: u64, opinions: &[Opinion]) {
        if self.standing.opinions != opinions {
            self.standing.opinions = opinions.to_vec();
            if let Some(json) = opinions_to_json(opinions) {
                self.text(now, kind::OPINIONS, &json);
            }
        }
    }

    pub fn terms(&mut self, now: u64, terms: &Terms) {
        if self.standing.terms.is_none_or(|before| differ(&before, terms)) {
            self.standing.terms = Some(*terms);
            self.record(now, |encoder, after| encoder.terms(after, terms));
        }
    }

    pub fn probe(&mut self, now: u64, outcome: Result<u64, (Failure, &str)>) {
        self.record(now, |encoder, after| encoder.probe(after, outcome));
    }

    /// A frame of a kind whose payload is text.
    pub fn text(&mut self, now: u64, kind: u8, text: &str) {
        self.record(now, |encoder, after| encoder.text(after, kind, text));
    }

    pub fn verdict(&mut self, now: u64, verdict: &Verdict) {
        // Nothing in a verdict has no JSON.
        let Ok(json) = serde_json::to_string(verdict) else { return };
        let verdicts = &mut self.standing.verdicts;
        let of_same = |(layer, subject, _): &(Layer, Option<String>, String)| {
            (layer, subject) == (&verdict.layer, &verdict.subject)
        };
        if verdicts.iter().any(|other| of_same(other) && other.2 == json) {
            return;
        }
        verdicts.retain(|other| !of_same(other));
        self.text(now, kind::VERDICT, &json);
        let verdicts = &mut self.standing.verdicts;
        if verdicts.len() < MOST_STANDING {
            verdicts.push((verdict.layer, verdict.subject.clone(), json));
        }
    }

    pub fn period(&mut self, now: u64, period: Duration, why: &str) {
        let before = &mut self.standing.period;
        match before {
            Some((before, reason)) if *before == period && reason == why => return,
            // Its memory is kept: adaptive sampling may change the period often.
            Some((before, reason)) => {
                *before = period;
                reason.clear();
                reason.push_str(why);
            }
            None => *before = Some((period, why.to_owned())),
        }
        self.record(now, |encoder, after| encoder.period(after, period, why));
    }

    pub fn settings(&mut self, now: u64, settings: &Settings) {
        let Ok(json) = serde_json::to_string(settings) else { return };
        if self.standing.settings.as_ref() != Some(&json) {
            self.text(now, kind::SETTINGS, &json);
            self.standing.settings = Some(json);
        }
    }

    /// Remembers what stands without writing it: it was so before the first frame.
    pub fn stands(&mut self, what: &What) {
        match what {
            What::Settings(settings) => self.standing.settings = serde_json::to_string(settings).ok(),
            What::Period { period, why } => self.standing.period = Some((*period, why.clone())),
            What::Terms(terms) => self.standing.terms = Some(*terms),
            What::Opinions(opinions) => self.standing.opinions.clone_from(opinions),
            What::Verdict(verdict) => {
                let Ok(json) = serde_json::to_string(verdict) else { return };
                let verdicts = &mut self.standing.verdicts;
                verdicts.retain(|(layer, subject, _)| (layer, subject) != (&verdict.layer, &verdict.subject));
                verdicts.push((verdict.layer, verdict.subject.clone(), json));
            }
            _ => {}
        }
    }

    /// Puts a frame at the end, in a new segment if this one is full.
    fn record(&mut self, now: u64, encode: impl Fn(&mut Encoder, u64) -> u8) {
        let mut anchor = self.anchor.unwrap_or_else(|| self.begin_segment(now));
        for _ in 0..2 {
            let kind = encode(&mut self.encoder, now.wrapping_sub(anchor));
            if self.sink.append(kind, self.encoder.payload()) {
                return;
            }
            if !self.sink.could_hold(self.encoder.payload()) {
                return self.leave_out(now.wrapping_sub(anchor));
            }
            anchor = self.begin_segment(now);
        }
    }

    /// Says that what was just encoded has no room in any segment; once in each.
    fn leave_out(&mut self, after: u64) {
        let bytes = self.encoder.payload().len().to_string();
        self.encoder.forget();
        if !std::mem::replace(&mut self.left_out, true) {
            let kind = self.encoder.text(after, kind::GAP, &bytes);
            // Without room for these few bytes the next frame begins a segment, and it is said there.
            self.left_out = self.sink.append(kind, self.encoder.payload());
        }
    }

    /// Returns the time it counts from.
    fn begin_segment(&mut self, now: u64) -> u64 {
        self.sink.begin(now);
        self.anchor = Some(now);
        self.left_out = false;
        self.encoder.forget();
        let Scribe { sink, encoder, standing, .. } = self;
        let mut repeat = |encoder: &mut Encoder, kind: u8| {
            // What stands never takes the room of what happens.
            if sink.is_nearly_empty() && sink.could_hold(encoder.payload()) {
                let _ = sink.append(kind | kind::STANDING, encoder.payload());
            }
        };
        if let Some(settings) = &standing.settings {
            let kind = encoder.text(0, kind::SETTINGS, settings);
            repeat(encoder, kind);
        }
        if let Some((period, why)) = &standing.period {
            let kind = encoder.period(0, *period, why);
            repeat(encoder, kind);
        }
        if let Some(terms) = &standing.terms {
            let kind = encoder.terms(0, terms);
            repeat(encoder, kind);
        }
        for (.., verdict) in &standing.verdicts {
            let kind = encoder.text(0, kind::VERDICT, verdict);
            repeat(encoder, kind);
        }
        now
    }
}
