//! Fencing a target: after this it sends nothing from its services' addresses, whatever it does.

use crate::link::{Link, Region};
use backdoors_rdma::{AccessError, Operation};
use backdoors_sensor_box::fence::{FenceView, LIFTED, NotFenced, fetch_fence};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{CommandKey, FetchError};

/// Why a fence was not set, or not lifted.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The target has none; nothing was written.
    #[error(
        "the target has no fence: name `service_addresses` in its agent's configuration, and let this monitor \"fence\"; \
         `backdoors-agent check` tells what its kernel lacks"
    )]
    None,
    /// The memory cannot be reached. What was written may be there.
    #[error("the target's fence cannot be reached: {0}")]
    Access(#[from] AccessError),
    /// What is there is no fence.
    #[error("the target's fence cannot be read: {0}")]
    Table(backdoors_sensor_box::DecodeError),
    /// It was written, and does not hold.
    #[error(transparent)]
    NotFenced(#[from] NotFenced),
}

/// Who fences a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fenced {
    /// This monitor does, since an earlier order.
    pub by_this: bool,
    /// Another one does.
    pub by_another: bool,
}

/// Reads who fences the target now.
///
/// # Errors
/// [`FenceError`].
pub fn fenced(link: &mut dyn Link) -> Result<Fenced, FenceError> {
    let (slot, key) = (link.slot(), link.command_key());
    Ok(of(&look(link)?, slot, &key))
}

/// Who fences a target that was read so, for the monitor with this slot and key. What counts is as of the target's last tick, but for
/// what this monitor itself just wrote.
#[must_use]
pub fn of(view: &FenceView, slot: u32, key: &CommandKey) -> Fenced {
    let own = 1u64.checked_shl(slot).unwrap_or(0);
    let is_lifted = view.words.get(slot as usize).is_none_or(|word| *word == LIFTED);
    let by_this = !is_lifted && (view.held & own != 0 || view.holds(slot, key).is_ok());
    Fenced { by_this, by_another: view.held & !own != 0 }
}

/// Sets the fence, and reads back that it holds: nothing leaves from the services' addresses from then on. Where it would
/// not hold nothing is written. Returns what was read back.
///
/// # Errors
/// [`FenceError`].
pub fn set(link: &mut dyn Link) -> Result<FenceView, FenceError> {
    let word = link.region(RegionKind::FENCE_WORD).ok_or(FenceError::None)?;
    let (slot, key) = (link.slot(), link.command_key());
    look(link)?.would_hold(slot, &key)?;
    write(link, &word, key.fence_word())?;
    let view = look(link)?;
    view.holds(slot, &key)?;
    Ok(view)
}

/// Lifts the fence.
///
/// # Errors
/// [`FenceError`].
pub fn lift(link: &mut dyn Link) -> Result<(), FenceError> {
    let word = link.region(RegionKind::FENCE_WORD).ok_or(FenceError::None)?;
    write(link, &word, LIFTED)
}

/// Reads the fence.
///
/// # Errors
/// [`FenceError`].
pub fn look(link: &mut dyn Link) -> Result<FenceView, FenceError> {
    let region = link.region(RegionKind::FENCE).ok_or(FenceError::None)?;
    fetch_fence(|offset, into| crate::link::read(link, &region, offset, into)).map_err(|error| match error {
        FetchError::Access(error) => FenceError::Access(error),
        FetchError::Decode(error) => FenceError::Table(error),
    })
}

fn write(link: &mut dyn Link, word: &Region, value: u64) -> Result<(), FenceError> {
    let bytes = value.to_le_bytes();
    let to = word.range.slice(0, bytes.len() as u64);
    let to = to.ok_or(AccessError::Invalid("the region of the fence word is smaller than a word"))?;
    Ok(link.submit(&mut [Operation::Write { to, from: &bytes }])?)
}
