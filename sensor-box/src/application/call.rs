//! Calls of hooks: what the agent asks of an application that is attached, and what the application answers.

use super::APPLICATION_VERSION;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const CALL_MAGIC: u64 = u64::from_le_bytes(*b"BDCALLHK");
const ANSWERED_MAGIC: u64 = u64::from_le_bytes(*b"BDHKDONE");

/// The agent has a hook called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Tells this call from others over the same connection.
    pub id: u64,
    /// The hook, by its place among those that the application asked for.
    pub hook: u32,
    /// The word.
    pub word: u64,
    /// The call is not begun from this moment on, nanoseconds of the target's monotonic clock.
    pub until: u64,
}

/// The application has answered a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The call.
    pub id: u64,
    /// What became of it.
    pub result: HookResult,
}

/// What became of a call that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookResult {
    /// The hook did what it is for.
    Done,
    /// It did not, for a reason of its own.
    Failed(u32),
    /// It was not begun: the application took the call up too late.
    TooLate,
}

impl HookResult {
    /// The code of a hook that panicked.
    pub const PANICKED: u32 = u32::MAX;

    /// As a number: what became of it in the lower half, the reason in the upper.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Done => 2,
            Self::Failed(code) => 3 | u64::from(code) << 32,
            Self::TooLate => 4,
        }
    }

    /// The result with this number.
    #[must_use]
    pub fn from_number(number: u64) -> Option<HookResult> {
        let code = (number >> 32) as u32;
        let known = [Self::Done, Self::Failed(code), Self::TooLate];
        known.into_iter().find(|result| result.number() == number)
    }
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct CallMessage {
    magic: u64,
    version: u32,
    hook: u32,
    id: u64,
    word: u64,
    until: u64,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct AnsweredMessage {
    magic: u64,
    version: u32,
    reserved: u32,
    id: u64,
    result: u64,
}

const _: () = assert!(size_of::<CallMessage>() == 40 && size_of::<AnsweredMessage>() == 32);

impl Call {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> [u8; 40] {
        let Call { id, hook, word, until } = *self;
        let message = CallMessage { magic: CALL_MAGIC, version: APPLICATION_VERSION, hook, id, word, until };
        zerocopy::transmute!(message)
    }

    /// Reads a message; `None` if it is none of these.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Call> {
        let message = CallMessage::read_from_bytes(bytes).ok()?;
        let known = (message.magic, message.version) == (CALL_MAGIC, APPLICATION_VERSION);
        let CallMessage { id, hook, word, until, .. } = message;
        known.then_some(Call { id, hook, word, until })
    }
}

impl Answered {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> [u8; 32] {
        zerocopy::transmute!(AnsweredMessage {
            magic: ANSWERED_MAGIC,
            version: APPLICATION_VERSION,
            reserved: 0,
            id: self.id,
            result: self.result.number(),
        })
    }

    /// Reads a message from a process that may be anybody; `None` if it is none of these.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Answered> {
        let message = AnsweredMessage::read_from_bytes(bytes).ok()?;
        if (message.magic, message.version) != (ANSWERED_MAGIC, APPLICATION_VERSION) {
            return None;
        }
        Some(Answered { id: message.id, result: HookResult::from_number(message.result)? })
    }
}
