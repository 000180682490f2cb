//! What an application and its agent say to each other, over a unix socket of type `SOCK_SEQPACKET`: one message is
//! one packet. All of it is little endian.
//!
//! | from | message | shape |
//! | --- | --- | --- |
//! | application | [`Request`] | the region as it would have it; its generation is that of the region it holds, or 0 |
//! | agent | [`Answer`] | an [`AnswerHead`], then words for people; a descriptor of the region's memory if it is new |
//! | agent | [`Call`](super::Call), as often as a hook is called, one at a time | 40 bytes |
//! | application | [`Answered`](super::Answered), when the hook has returned | 32 bytes |
//! | application | [`Goodbye`] | one word |
//! | agent | [`Answer`] | [`Outcome::Left`] |
//!
//! The connection stays open as long as the application is attached. Its end without a goodbye is how the agent
//! learns that the application died.

use super::decode::{Records, class_of, unit_of};
use super::hooks::announced;
use super::rules::{HookSpec, SensorSpec, SpecError, check, fit, name_of};
use super::writer::{Attachment, image};
use super::{ApplicationHeader, MAX_APPLICATION_SENSORS};
use crate::decode::DecodeError;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const ANSWER_MAGIC: u64 = u64::from_le_bytes(*b"BDANSWER");
const GOODBYE: u64 = u64::from_le_bytes(*b"BDGOODBY");
/// Most bytes of an answer.
pub const MAX_ANSWER: usize = 1024;

/// An application asks to be attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its name.
    pub name: &'a str,
    /// The generation of the region it holds from an earlier attachment, or 0.
    pub held: u64,
    /// The sensors it wants.
    pub sensors: Vec<SensorSpec<'a>>,
    /// The hooks it offers.
    pub hooks: Vec<HookSpec<'a>>,
    /// The values of the sensors now.
    pub values: Vec<u64>,
}

/// Why a request is refused before anything else is looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no request.
    #[error("the request makes no sense: {0}; use the application library of the agent's version")]
    Malformed(#[from] DecodeError),
    /// A sensor of a class or unit that this agent does not know.
    #[error(
        "sensor {0:?} has a class or unit this agent does not know: use an agent as new as the application"
    )]
    Unknown(String),
    /// What it wants to show is against the rules.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl<'a> Request<'a> {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let attachment = Attachment { generation: self.held, ..Attachment::default() };
        image(self, &attachment)
    }

    /// Reads and checks a message from a process that may be anybody.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Request<'a>, RequestError> {
        let claimed = ApplicationHeader::read_from_prefix(bytes);
        let (sensors, hooks) =
            claimed.map_or((0, 0), |(header, _)| (header.sensor_count as usize, header.hook_count as usize));
        let records = Records::of(bytes).map_err(|error| match error {
            DecodeError::Layout { .. } if sensors > MAX_APPLICATION_SENSORS => {
                SpecError::TooManySensors(sensors).into()
            }
            DecodeError::Layout { .. } if !fit(sensors, hooks) => {
                SpecError::TooManyHooks { sensors, hooks }.into()
            }
            error => RequestError::Malformed(error),
        })?;
        let (mut sensors, mut values) = (Vec::new(), Vec::new());
        for (record, field) in records.iter().zip(records.names()) {
            let name = name_of("sensor", field)?;
            let known = class_of(record.class).zip(unit_of(record.unit));
            let (class, unit) = known.ok_or_else(|| RequestError::Unknown(name.into()))?;
            sensors.push(SensorSpec { name, class, unit, limit: record.limit });
            values.push(record.value);
        }
        let hooks = records.hooks().map(|(record, field)| announced(&record, field));
        let hooks = hooks.collect::<Result<Vec<_>, _>>()?;
        let name = name_of("application", records.name())?;
        check(name, &sensors, &hooks)?;
        Ok(Request { name, held: records.header.generation, sensors, hooks, values })
    }
}

/// An application says that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye;

impl Goodbye {
    /// The message.
    #[must_use]
    pub fn encode(self) -> [u8; 8] {
        GOODBYE.to_le_bytes()
    }

    /// Whether a message is this one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Goodbye> {
        (bytes == GOODBYE.to_le_bytes()).then_some(Goodbye)
    }
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Attached, with a new region, whose memory comes along.
    New = 1,
    /// Attached, with the region that the application holds.
    Kept = 2,
    /// Not attached, and a retry cannot help.
    Refused = 3,
    /// Not attached; a retry may help.
    NotNow = 4,
    /// The region is retired.
    Left = 5,
}

/// Head of an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AnswerHead {
    /// "BDANSWER".
    pub magic: u64,
    /// [`super::APPLICATION_VERSION`].
    pub version: u32,
    /// One of [`Outcome`].
    pub outcome: u32,
    /// The region's generation, if attached.
    pub generation: u64,
}

const _: () = assert!(size_of::<AnswerHead>() == 24);

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What came of it.
    pub outcome: Outcome,
    /// The region's generation, if attached.
    pub generation: u64,
    /// Why not, for people.
    pub reason: String,
}

/// Bytes that are no answer: whoever listens there is no agent, or one of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what answered is no agent of this version")]
pub struct AnswerError;

impl Answer {
    /// The message. A reason that is too long is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let head = AnswerHead {
            magic: ANSWER_MAGIC,
            version: super::APPLICATION_VERSION,
            outcome: self.outcome as u32,
            generation: self.generation,
        };
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend_from_slice(self.reason.as_bytes());
        bytes.truncate(MAX_ANSWER);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn decode(bytes: &[u8]) -> Result<Answer, AnswerError> {
        let (head, reason) = AnswerHead::read_from_prefix(bytes).map_err(|_| AnswerError)?;
        if head.magic != ANSWER_MAGIC || head.version != super::APPLICATION_VERSION {
            return Err(AnswerError);
        }
        let outcomes = [Outcome::New, Outcome::Kept, Outcome::Refused, Outcome::NotNow, Outcome::Left];
        let outcome =
            outcomes.into_iter().find(|outcome| *outcome as u32 == head.outcome).ok_or(AnswerError)?;
        let reason = String::from_utf8_lossy(reason).chars().filter(|letter| !letter.is_control()).collect();
        Ok(Answer { outcome, generation: head.generation, reason })
    }
}
