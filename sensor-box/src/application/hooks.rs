//! Hooks as a monitor reads them, and what became of calls as the agent writes it.

use super::call::HookResult;
use super::rules::{HookSpec, check_range, name_of};
use super::{ApplicationHookRecord, HOOK_BYTES, NAME_BYTES};
use core::mem::{offset_of, size_of};
use zerocopy::FromBytes;

const _: () = assert!(size_of::<[u64; 5]>() == CHECK - CALLS, "the words of calls lie side by side");
const CALLS: usize = offset_of!(ApplicationHookRecord, calls);
const CHECK: usize = offset_of!(ApplicationHookRecord, check);
/// So that words that are all zero do not check.
const SALT: u64 = u64::from_le_bytes(*b"BDHOOKCK");

/// One hook of an application, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationHook {
    /// Name; no other hook of the application has it. Its place among them is what a call names it by.
    pub name: String,
    /// Least word that it takes.
    pub least: u64,
    /// Greatest word that it takes.
    pub most: u64,
    /// What was called; `None` if it was just being written, or the agent died over it: then until the next call.
    pub calls: Option<HookCalls>,
}

/// The calls of a hook in this generation of its application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookCalls {
    /// How many were made.
    pub made: u64,
    /// The last of them.
    pub last: Option<LastCall>,
}

/// A call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCall {
    /// Its word.
    pub word: u64,
    /// What became of it; `None` if it was not answered yet.
    pub result: Option<HookResult>,
    /// When it was made, nanoseconds of the target's monotonic clock.
    pub called_at: u64,
    /// When it was answered, on the same clock; 0 if it was not yet.
    pub answered_at: u64,
}

/// In the place of a result: there is none yet.
const UNANSWERED: u64 = 1;

impl HookCalls {
    /// One more call was made.
    #[must_use]
    pub fn and_one(self, word: u64, at: u64) -> HookCalls {
        let last = LastCall { word, result: None, called_at: at, answered_at: 0 };
        HookCalls { made: self.made.wrapping_add(1), last: Some(last) }
    }

    /// The last one was answered.
    #[must_use]
    pub fn answered(self, result: HookResult, at: u64) -> HookCalls {
        let answer = |last| LastCall { result: Some(result), answered_at: at, ..last };
        HookCalls { last: self.last.map(answer), ..self }
    }

    /// The words of a record from [`ApplicationHookRecord::calls`] to [`ApplicationHookRecord::check`].
    #[must_use]
    pub fn words(&self) -> [u64; 6] {
        let words = match self.last {
            None => [self.made, 0, 0, 0, 0],
            Some(last) => {
                let result = last.result.map_or(UNANSWERED, HookResult::number);
                [self.made, last.word, result, last.called_at, last.answered_at]
            }
        };
        let [made, word, result, called_at, answered_at] = words;
        [made, word, result, called_at, answered_at, check(&words)]
    }

    /// The opposite; `None` of a mixture, and of what this version does not know.
    pub(super) fn of(record: &ApplicationHookRecord) -> Option<HookCalls> {
        let ApplicationHookRecord { calls, word, result, called_at, answered_at, .. } = *record;
        if record.check != check(&[calls, word, result, called_at, answered_at]) {
            return None;
        }
        let last = |result| Some(LastCall { word, result, called_at, answered_at });
        let last = match result {
            0 => None,
            UNANSWERED => last(None),
            number => last(Some(HookResult::from_number(number)?)),
        };
        Some(HookCalls { made: calls, last })
    }
}

/// Changes with each of the words.
fn check(words: &[u64; 5]) -> u64 {
    words.iter().fold(SALT, |check, word| check.rotate_left(13) ^ word)
}

/// Index of the first word of calls within a record.
pub(super) const CALLS_WORD: usize = CALLS / 8;

/// Reads a hook's record, which is as long as this version's at least. The calls are not read.
pub(super) fn announced<'a>(
    record: &ApplicationHookRecord,
    field: &'a [u8; NAME_BYTES],
) -> Result<HookSpec<'a>, super::SpecError> {
    let spec = HookSpec { name: name_of("hook", field)?, least: record.least, most: record.most };
    check_range(&spec).map(|()| spec)
}

/// The records in `bytes`, each with its name's bytes.
pub(super) fn records(
    bytes: &[u8],
    record_bytes: usize,
) -> impl Iterator<Item = (ApplicationHookRecord, &[u8; NAME_BYTES])> {
    debug_assert!(record_bytes >= HOOK_BYTES, "whoever calls this looked");
    bytes.chunks_exact(record_bytes).filter_map(|chunk| {
        let (record, _) = ApplicationHookRecord::read_from_prefix(chunk).ok()?;
        Some((record, chunk.first_chunk()?))
    })
}
