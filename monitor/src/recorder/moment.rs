//! What a recording tells, moment by moment.

use crate::clock::nanoseconds;
use crate::config::{LimitValue, TargetConfig, parse_duration};
use crate::verdict::Verdict;
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
    pub const LATENESS: u8 = 10;
    pub const SETTINGS: u8 = 11;
    pub const GAP: u8 = 12;
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
        /// Why.
        reason: String,
    },
    /// A probe came back after that time, or why it did not.
    Probe(Result<Duration, String>),
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
    /// The monitor's own lateness widens its deadlines by this factor from now on.
    Lateness(f64),
    /// What the detector went by.
    Settings(Settings),
    /// Something is missing here.
    Gap(Gap),
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
