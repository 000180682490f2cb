//! A recording, moment by moment. Whatever the bytes are, it comes to an end and tells what it could not read.

use super::applications;
use super::layout::{Found, Frame, SEGMENT_HEAD_BYTES, frame_at};
use super::moment::{Gap, Moment, What, failure, kind, opinions_from_json};
use super::reader::Segment;
use super::varint::{Cursor, take_differences, unzigzag};
use crate::judge::Terms;
use crate::lateness::Standing;
use backdoors_sensor_box::layout::MAX_SENSORS;
use backdoors_sensor_box::{ApplicationView, Class, SensorKind, SensorReading, SensorView, Unit};
use std::collections::VecDeque;
use std::time::Duration;

/// Behind damage, bytes that are looked at in search of the next frame before the rest of a segment is given up.
const SEARCH_BYTES: usize = 64 << 20;

/// Plays a recording.
#[derive(Clone, Debug)]
pub struct Playback<'a> {
    bytes: &'a [u8],
    segments: &'a [Segment],
    /// The segment that is being played, and where in it.
    current: Option<(Segment, usize)>,
    /// Sequence of the next frame, if all is well.
    expected: Option<u32>,
    run: Option<u64>,
    /// Time of the last frame, counted from the beginning of its segment.
    after: u64,
    view: SensorView,
    /// Whether `view` is what the next differences are to.
    whole: bool,
    applications: Vec<ApplicationView>,
    /// The same for `applications`.
    applications_whole: bool,
    missed: Option<String>,
    told: VecDeque<Moment>,
}

impl<'a> Playback<'a> {
    pub(super) fn new(bytes: &'a [u8], segments: &'a [Segment]) -> Playback<'a> {
        Playback {
            bytes,
            segments,
            current: None,
            expected: None,
            run: None,
            after: 0,
            view: SensorView::default(),
            whole: false,
            applications: Vec::new(),
            applications_whole: false,
            missed: None,
            told: VecDeque::new(),
        }
    }

    /// The sensors, as of the last [`What::Reading`].
    #[must_use]
    pub fn view(&self) -> &SensorView {
        &self.view
    }

    /// The applications, as of the last [`What::Applications`].
    #[must_use]
    pub fn applications(&self) -> &[ApplicationView] {
        &self.applications
    }

    /// Sequence of the frame that would come next.
    pub(super) fn sequence(&self) -> Option<u32> {
        self.expected
    }

    fn begin(&mut self, segment: Segment) {
        let head = segment.head;
        let lost = missing(self.expected, head.sequence);
        self.after = 0;
        if self.run.replace(head.run) != Some(head.run) {
            self.tell(segment, 0, false, What::Begun);
        }
        if lost > 0 {
            self.tell(segment, 0, false, What::Gap(Gap::Frames(lost)));
        }
        self.expected = Some(head.sequence);
        self.lose_track();
        self.current = Some((segment, SEGMENT_HEAD_BYTES));
    }

    fn tell(&mut self, segment: Segment, after: u64, standing: bool, what: What) {
        self.told.push_back(Moment {
            at: Duration::from_nanos(segment.head.monotonic.wrapping_add(after)),
            wall: Duration::from_nanos(segment.head.wall.wrapping_add(after)),
            run: segment.head.run,
            standing,
            what,
        });
    }

    fn lose_track(&mut self) {
        self.whole = false;
        self.applications_whole = false;
        self.missed = None;
    }

    fn take_in(&mut self, segment: Segment, frame: &Frame<'_>) {
        let lost = missing(self.expected, frame.sequence);
        let had_track = self.whole;
        if lost > 0 {
            self.lose_track();
        }
        self.expected = Some(frame.sequence.wrapping_add(1));
        let mut cursor = Cursor(frame.payload);
        let after = cursor.number();
        let at = after.unwrap_or(self.after);
        self.after = at;
        if lost > 0 {
            self.tell(segment, at, false, What::Gap(Gap::Frames(lost)));
        }
        let what = after.and_then(|after| self.decode(segment, after, frame.kind, cursor));
        match what {
            Some(Known::What(what)) => self.tell(segment, at, frame.kind & kind::STANDING != 0, what),
            // One mark does for all readings up to the next keyframe.
            Some(Known::WithoutKeyframe) if had_track || lost > 0 => {
                self.tell(segment, at, false, What::Gap(Gap::Keyframe));
            }
            Some(Known::WithoutKeyframe | Known::Unknown) => {}
            None => {
                self.lose_track();
                self.tell(segment, at, false, What::Gap(Gap::Frame { kind: frame.kind }));
            }
        }
    }

    /// `None` if the payload makes no sense.
    fn decode(&mut self, segment: Segment, after: u64, frame: u8, mut cursor: Cursor<'_>) -> Option<Known> {
        let at = segment.head.monotonic.wrapping_add(after);
        let asked = |took| Duration::from_nanos(at.saturating_sub(took));
        let known = match frame & !kind::STANDING {
            kind @ (kind::KEYFRAME | kind::READING) => {
                let asked = asked(cursor.number()?);
                if kind == kind::KEYFRAME {
                    self.whole = false;
                    keyframe(&mut self.view, &mut cursor)?;
                    self.whole = true;
                } else if self.whole {
                    self.whole = false;
                    differences(&mut self.view, &mut cursor)?;
                    self.whole = true;
                } else {
                    return Some(Known::WithoutKeyframe);
                }
                What::Reading { asked }
            }
            kind @ (kind::MISSED | kind::MISSED_AGAIN) => {
                let asked = asked(cursor.number()?);
                let how = failure(cursor.byte()?)?;
                if kind == kind::MISSED {
                    self.missed = Some(cursor.text()?.to_owned());
                }
                let reason = self.missed.clone().unwrap_or_else(|| "for a reason that is lost".to_owned());
                What::Missed { asked, how, reason }
            }
            kind @ (kind::APPLICATIONS | kind::APPLICATION_VALUES) => {
                let asked = asked(cursor.number()?);
                if kind == kind::APPLICATIONS {
                    self.applications_whole = false;
                    self.applications = applications::take_whole(&mut cursor)?;
                } else if self.applications_whole {
                    self.applications_whole = false;
                    applications::take_values(&mut self.applications, &mut cursor)?;
                } else {
                    return Some(Known::WithoutKeyframe);
                }
                self.applications_whole = true;
                What::Applications { asked }
            }
            kind::TERMS => What::Terms(terms(&mut cursor)?),
            kind::OPINIONS => What::Opinions(opinions_from_json(cursor.text()?)?),
            kind::ANSWERED => What::Probe(Ok(Duration::from_nanos(cursor.number()?))),
            kind::NOT_ANSWERED => What::Probe(Err((failure(cursor.byte()?)?, cursor.text()?.to_owned()))),
            kind::VERDICT => What::Verdict(serde_json::from_str(cursor.text()?).ok()?),
            kind::NOTE => What::Note(cursor.text()?.to_owned()),
            kind::PERIOD => {
                let period = Duration::from_nanos(cursor.number()?);
                What::Period { period, why: cursor.text()?.to_owned() }
            }
            kind::SETTINGS => What::Settings(serde_json::from_str(cursor.text()?).ok()?),
            kind::GAP => {
                let text = cursor.text()?;
                What::Gap(match text.parse() {
                    Ok(bytes) => Gap::TooLarge { bytes },
                    Err(_) => Gap::Earlier(text.to_owned()),
                })
            }
            _ => return Some(Known::Unknown),
        };
        Some(Known::What(known))
    }

    /// The next frame of `segment` behind damage at `at`, or the end of the segment.
    fn search(&self, segment: Segment, at: usize) -> usize {
        let bytes = &self.bytes[segment.begin..segment.end];
        let most_frames = (bytes.len() / 16) as u32;
        let mut budget = SEARCH_BYTES;
        for at in (at + 8..bytes.len()).step_by(8) {
            // Frames behind the damage are not far on in the sequence, and cheap to tell from anything else by it.
            let ahead = self.expected.map(|expected| {
                let sequence = bytes.get(at + 8..).and_then(|rest| rest.first_chunk());
                sequence.map_or(u32::MAX, |four| u32::from_le_bytes(*four).wrapping_sub(expected))
            });
            if ahead.is_some_and(|ahead| ahead > most_frames) {
                continue;
            }
            let length = bytes[at..].first_chunk().map_or(0, |three: &[u8; 3]| {
                usize::from(three[0]) | usize::from(three[1]) << 8 | usize::from(three[2]) << 16
            });
            if length > bytes.len() - at {
                continue;
            }
            match budget.checked_sub(length) {
                Some(rest) => budget = rest,
                None => break,
            }
            if let Found::Frame(_) = frame_at(bytes, segment.head.number, at) {
                return at;
            }
        }
        bytes.len()
    }
}

/// What a frame says.
enum Known {
    What(What),
    /// A reading that differs from one that is lost.
    WithoutKeyframe,
    /// A later version knows what.
    Unknown,
}

impl Iterator for Playback<'_> {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        loop {
            if let Some(moment) = self.told.pop_front() {
                return Some(moment);
            }
            let Some((segment, at)) = self.current else {
                let (first, rest) = self.segments.split_first()?;
                self.segments = rest;
                self.begin(*first);
                continue;
            };
            let bytes = &self.bytes[segment.begin..segment.end];
            self.current = match frame_at(bytes, segment.head.number, at) {
                Found::Frame(frame) => {
                    self.take_in(segment, &frame);
                    Some((segment, frame.end))
                }
                Found::End => None,
                Found::Damage => {
                    let next = self.search(segment, at);
                    let gap =
                        Gap::Bytes { at: (segment.begin + at) as u64, count: next.saturating_sub(at) as u64 };
                    self.lose_track();
                    // When that was is not known: between the frames around it.
                    self.tell(segment, self.after, false, What::Gap(gap));
                    (next < bytes.len()).then_some((segment, next))
                }
            };
        }
    }
}

/// Frames between the one expected and the one found. A sequence that goes back was begun anew.
fn missing(expected: Option<u32>, found: u32) -> u32 {
    let ahead = expected.map_or(0, |expected| found.wrapping_sub(expected));
    if ahead > u32::MAX / 2 { 0 } else { ahead }
}

fn keyframe(view: &mut SensorView, cursor: &mut Cursor<'_>) -> Option<()> {
    view.generation = cursor.number()?;
    view.capabilities = cursor.number()?;
    view.clock = cursor.number()?;
    view.tick_period = cursor.number()?;
    view.cpus = cursor.small()?;
    view.unknown = cursor.small()? as usize;
    let count = cursor.small()? as usize;
    view.sensors.clear();
    if count > MAX_SENSORS {
        return None;
    }
    for _ in 0..count {
        let (kind, instance, class_and_unit) = (cursor.small()?, cursor.small()?, cursor.byte()?);
        let class = match class_and_unit & 0xf {
            1 => Class::Progress,
            2 => Class::Level,
            3 => Class::Floor,
            4 => Class::Pressure,
            _ => return None,
        };
        let unit = match class_and_unit >> 4 {
            0 => None,
            1 => Some(Unit::Count),
            2 => Some(Unit::PerSecond),
            3 => Some(Unit::Bytes),
            4 => Some(Unit::Nanoseconds),
            _ => return None,
        };
        let limit = cursor.number()?.checked_sub(1);
        let value = cursor.number()?;
        view.sensors.push(SensorReading { kind: SensorKind(kind), instance, class, unit, limit, value });
    }
    cursor.is_empty().then_some(())
}

fn differences(view: &mut SensorView, cursor: &mut Cursor<'_>) -> Option<()> {
    view.clock = view.clock.wrapping_add_signed(unzigzag(cursor.number()?));
    take_differences(cursor, view.sensors.iter_mut().map(|reading| &mut reading.value))
}

fn terms(cursor: &mut Cursor<'_>) -> Option<Terms> {
    let mut time = || Some(Duration::from_nanos(cursor.number()?));
    let (period, wait) = (time()?, time()?);
    let (chances, loss) = (cursor.small()?, f64::from_bits(cursor.number()?));
    let standing = Standing {
        score: cursor.small()?,
        multiplier: f64::from_bits(cursor.number()?),
        overloaded: cursor.number()? != 0,
        late_share: f64::from_bits(cursor.number()?),
        worst_ns: cursor.number()?,
        late_rounds: cursor.number()?,
    };
    let probability = 0.0..=1.0;
    let sound = probability.contains(&loss)
        && probability.contains(&standing.late_share)
        && (1.0..1e6).contains(&standing.multiplier);
    sound.then_some(Terms { period, wait, chances, loss, standing })
}
