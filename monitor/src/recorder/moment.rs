//! What a recording tells, moment by moment.

use crate::clock::nanoseconds;
use crate::config::{LimitValue, TargetConfig, parse_duration};
use crate::judge::{Failure, Terms};
use crate::peers::Opinion;
use crate::verdict::{State, Verdict};
use backdoors_healers::{LimitError, Limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// As the sampler has it.
const SHORTEST_LATE: Duration = Duration::from_millis(250);

/// The kinds of frames. A reader skips those it does not know.
pub(super) mod kind {
    /// Every sensor of a reading, whole.
    pub const KEYFRAME: u8 = 1;
    /// A reading, as differences to the one before.
    pub const READING: u8 = 2;
    pub const MISSED: u8 = 3;
    /// Missed for the reason told before.
    pub const MISSED_AGAIN: u8 = 4;
    pub const ANSWERED: u8 = 5;
    pub const NOT_ANSWERED: u8 = 6;
    pub const VERDICT: u8 = 7;
    pub const NOTE: u8 = 8;
    pub const PERIOD: u8 = 9;
    pub const SETTINGS: u8 = 10;
    pub const GAP: u8 = 11;
    pub const TERMS: u8 = 12;
    pub const OPINIONS: u8 = 13;
    /// What was read of all applications.
    pub const APPLICATIONS: u8 = 14;
    /// The same, as differences.
    pub const APPLICATION_VALUES: u8 = 15;
    /// Added to a kind: it was so already when the segment began.
    pub const STANDING: u8 = 0x80;
}

/// A moment of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// On the clock of the monitor that recorded it.
    pub at: Duration,
    /// Since 1970 UTC, by that monitor's wall clock when the segment was begun.
    pub wall: Duration,
    /// Which run of the monitor. Times `at` of different runs cannot be compared.
    pub run: u64,
    /// It was so already, and is repeated for whoever begins to look here.
    pub standing: bool,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A run of the monitor begins.
    Begun,
    /// The sensors were read; [`super::Playback::view`] has them.
    Reading {
        /// When the reading was asked for; it was there at [`Moment::at`].
        asked: Duration,
    },
    /// They could not be read.
    Missed {
        /// When it was tried.
        asked: Duration,
        /// How it failed.
        how: Failure,
        /// Why, for people.
        reason: String,
    },
    /// The applications were read; [`super::Playback::applications`] has them.
    Applications {
        /// When the reading was asked for.
        asked: Duration,
    },
    /// A probe came back after that time, or why it did not.
    Probe(Result<Duration, (Failure, String)>),
    /// What other monitors said, all of it.
    Opinions(Vec<Opinion>),
    /// A verdict changed.
    Verdict(Verdict),
    /// An entry of the journal, as its JSON line.
    Note(String),
    /// The period between samples changed.
    Period {
        /// To this.
        period: Duration,
        /// Why.
        why: String,
    },
    /// What silence is measured by from now on.
    Terms(Terms),
    /// What detector and judge went by.
    Settings(Settings),
    /// Something is missing here.
    Gap(Gap),
}

const FAILURES: [Failure; 5] =
    [Failure::Silent, Failure::Refused, Failure::Damaged, Failure::Closed, Failure::NotAsked];

pub(super) fn failure_number(how: Failure) -> u8 {
    match how {
        Failure::Silent => 0,
        Failure::Refused => 1,
        Failure::Damaged => 2,
        Failure::Closed => 3,
        Failure::NotAsked => 4,
    }
}

pub(super) fn failure(number: u8) -> Option<Failure> {
    FAILURES.into_iter().find(|how| failure_number(*how) == number)
}

/// An opinion as JSON has it; times in nanoseconds.
#[derive(Serialize, Deserialize)]
struct OpinionRecord {
    monitor: String,
    at: u64,
    asked: u64,
    last_good_age: Option<u64>,
    late: bool,
    nic_answers: Option<bool>,
    kernel: Option<State>,
}

pub(super) fn opinions_to_json(opinions: &[Opinion]) -> Option<String> {
    let record = |opinion: &Opinion| OpinionRecord {
        monitor: opinion.monitor.clone(),
        at: nanoseconds(opinion.at),
        asked: nanoseconds(opinion.asked),
        last_good_age: opinion.last_good_age.map(nanoseconds),
        late: opinion.late,
        nic_answers: opinion.nic_answers,
        kernel: opinion.kernel,
    };
    serde_json::to_string(&opinions.iter().map(record).collect::<Vec<_>>()).ok()
}

pub(super) fn opinions_from_json(json: &str) -> Option<Vec<Opinion>> {
    let opinion = |record: OpinionRecord| Opinion {
        monitor: record.monitor,
        at: Duration::from_nanos(record.at),
        asked: Duration::from_nanos(record.asked),
        last_good_age: record.last_good_age.map(Duration::from_nanos),
        late: record.late,
        nic_answers: record.nic_answers,
        kernel: record.kernel,
    };
    let records: Vec<OpinionRecord> = serde_json::from_str(json).ok()?;
    Some(records.into_iter().map(opinion).collect())
}

/// Why something is missing. What is before and behind it is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The header of the file is damaged: the target's name is not known.
    Header,
    /// So many bytes of the file, from there on, make no sense.
    Bytes {
        /// Where.
        at: u64,
        /// How many.
        count: u64,
    },
    /// The file ends too early.
    CutOff {
        /// Its length.
        at: u64,
    },
    /// So many frames are missing.
    Frames(u32),
    /// A reading is there, but nothing to add its differences to.
    Keyframe,
    /// A frame is whole and makes no sense.
    Frame {
        /// Its kind.
        kind: u8,
    },
    /// The recorder left something out: it was larger than a segment.
    TooLarge {
        /// Bytes it would have taken.
        bytes: u64,
    },
    /// Told by a recording that this one was extracted from.
    Earlier(String),
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gap::Header => write!(formatter, "the header is damaged, the target's name is not known"),
            Gap::Bytes { at, count } => write!(formatter, "{count} bytes are damaged, from byte {at} on"),
            Gap::CutOff { at } => write!(formatter, "the file is cut off at byte {at}"),
            Gap::Frames(count) => write!(formatter, "{count} frames are missing"),
            Gap::Keyframe => write!(formatter, "readings up to the next keyframe cannot be restored"),
            Gap::Frame { kind } => write!(formatter, "a frame of kind {kind} makes no sense"),
            Gap::TooLarge { bytes } => write!(formatter, "{bytes} bytes were too large for the recorder"),
            Gap::Earlier(text) => formatter.write_str(text),
        }
    }
}

/// What detector and judge went by, so that they can be run again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Limits in place of the target's, by `sensor` or `sensor/instance`, as in the configuration.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// Gap between samples after which the time in between does not count, nanoseconds.
    #[serde(default)]
    pub late_after_ns: u64,
    /// Silence that accuses a target without deadlines, nanoseconds.
    #[serde(default)]
    pub silence_ns: u64,
}

impl Settings {
    /// What `config` says. Limits that are none are left out: the configuration was checked when it was read.
    #[must_use]
    pub fn of(config: &TargetConfig) -> Settings {
        let number = |value: &LimitValue| match value {
            LimitValue::Number(number) => Some(*number),
            LimitValue::Duration(text) => parse_duration(text).ok().map(nanoseconds),
        };
        let limits = &config.limits;
        let limits = limits.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?)));
        Settings {
            limits: limits.collect(),
            late_after_ns: nanoseconds((config.period * 4).max(SHORTEST_LATE)),
            silence_ns: nanoseconds(config.lost_after),
        }
    }

    /// The limits, as a detector takes them.
    ///
    /// # Errors
    /// If a sensor is not known here.
    pub fn limits(&self) -> Result<Limits, LimitError> {
        let mut limits = Limits::default();
        for (name, limit) in &self.limits {
            limits.set(name, *limit)?;
        }
        Ok(limits)
    }
}
