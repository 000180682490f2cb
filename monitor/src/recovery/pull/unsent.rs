//! What was written and never sent, which is read when the sessions speak.

use super::PullError;
use super::draft::Stretch;
use super::reading::{Boxes, Heads, fetch_in_order};
use crate::link::Link;

/// Written bytes in a box of the target that its connection has not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Which box.
    pub(super) index: usize,
    /// Whose it was.
    pub(super) cookie: u64,
    /// Positions of the first one, and behind the last one.
    pub(super) from: u64,
    pub(super) to: u64,
}

/// Fetches what was never sent, for each box that has any; `None` if it is not there any more.
///
/// # Errors
/// [`PullError`]; then none is.
pub fn fetch_unsent(
    link: &mut dyn Link,
    boxes: &Boxes,
    wanted: &[Unsent],
) -> Result<Vec<Option<Vec<u8>>>, PullError> {
    let stretch = |unsent: &Unsent| {
        let length = usize::try_from(unsent.to.saturating_sub(unsent.from)).unwrap_or(0);
        Stretch::of_box(boxes.shape, unsent.index, unsent.from, length)
    };
    let mut stretches: Vec<Stretch> = wanted.iter().map(stretch).collect();
    let mut pieces = Vec::new();
    stretches.iter_mut().try_for_each(|stretch| stretch.wanted(&boxes.region, &mut pieces))?;
    let mut after = Heads::of(Some(boxes));
    fetch_in_order(link, [pieces, after.wanted_of(boxes)?])?;
    let after = after.read();
    let ring = u64::from(boxes.shape.ring_bytes);
    let is_there = |unsent: &Unsent| {
        let head = after.get(unsent.index).filter(|head| head.cookie == unsent.cookie);
        head.is_some_and(|head| head.filled.saturating_sub(ring) <= unsent.from && head.filled >= unsent.to)
    };
    let fetched = wanted.iter().zip(stretches);
    Ok(fetched.map(|(unsent, stretch)| is_there(unsent).then_some(stretch.bytes)).collect())
}
