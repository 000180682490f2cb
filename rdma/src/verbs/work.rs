//! Work requests: what a queue pair is asked to do, in safe words.

use crate::access::RemoteRange;

/// One work request. Its local bytes are a part of the queue pair's arena, or are copied when it is posted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'a> {
    /// Copy remote bytes into the arena.
    Read { from: RemoteRange, offset: usize },
    /// Copy bytes of the arena there.
    Write { to: RemoteRange, offset: usize },
    /// Copy these few bytes there; none at all asks only whether the other side is there.
    WriteInline { to: RemoteRange, bytes: &'a [u8] },
    /// Compare-and-swap; the eight bytes found go into the arena.
    CompareAndSwap { at: RemoteRange, expected: u64, new: u64, offset: usize },
}

impl Work<'_> {
    /// Whether it waits for an answer that carries data. Such requests may still be under way when later ones that
    /// change memory are executed.
    pub(super) fn awaits_data(&self) -> bool {
        matches!(self, Work::Read { .. } | Work::CompareAndSwap { .. })
    }

    /// The part of the arena it uses, as offset and length.
    pub(super) fn arena(&self) -> Option<(usize, u64)> {
        match *self {
            Work::Read { from: range, offset } | Work::Write { to: range, offset } => {
                Some((offset, range.length))
            }
            Work::CompareAndSwap { offset, .. } => Some((offset, 8)),
            Work::WriteInline { .. } => None,
        }
    }
}

/// Keeps operations of a batch in order where a reliable connection alone would not: after a READ or an atomic, a
/// WRITE or an atomic may overtake it unless fenced. A READ after anything, and a WRITE after a WRITE, stay in order.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    data_awaited: bool,
}

impl Fencing {
    /// Whether the next request must wait for the answers to those before it.
    pub(super) fn needed(&mut self, next: &Work<'_>) -> bool {
        let fenced = self.data_awaited && !matches!(next, Work::Read { .. });
        self.data_awaited = next.awaits_data() || (self.data_awaited && !fenced);
        fenced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: RemoteRange = RemoteRange { address: 64, length: 8, key: 1 };
    const READ: Work<'_> = Work::Read { from: RANGE, offset: 0 };
    const WRITE: Work<'_> = Work::Write { to: RANGE, offset: 0 };
    const INLINE: Work<'_> = Work::WriteInline { to: RANGE, bytes: &[1; 8] };
    const SWAP: Work<'_> = Work::CompareAndSwap { at: RANGE, expected: 0, new: 1, offset: 0 };

    fn fences(batch: &[Work<'_>]) -> Vec<bool> {
        let mut fencing = Fencing::default();
        batch.iter().map(|work| fencing.needed(work)).collect()
    }

    #[test]
    fn what_changes_memory_waits_for_reads_before_it() {
        assert_eq!(fences(&[READ, WRITE]), [false, true]);
        assert_eq!(fences(&[READ, INLINE]), [false, true]);
        assert_eq!(fences(&[READ, SWAP]), [false, true]);
        assert_eq!(fences(&[READ, READ, READ, WRITE]), [false, false, false, true]);
    }

    #[test]
    fn one_fence_does_for_all_writes_behind_it() {
        assert_eq!(fences(&[READ, WRITE, INLINE, WRITE]), [false, true, false, false]);
        assert_eq!(fences(&[READ, WRITE, READ, WRITE]), [false, true, false, true]);
    }

    #[test]
    fn a_swap_is_waited_for_as_a_read_is() {
        assert_eq!(fences(&[SWAP, WRITE]), [false, true]);
        assert_eq!(fences(&[SWAP, SWAP, WRITE]), [false, true, true]);
        assert_eq!(fences(&[SWAP, READ, READ]), [false, false, false]);
    }

    #[test]
    fn writes_and_the_reads_after_them_need_no_fence() {
        assert_eq!(fences(&[WRITE, INLINE, READ, READ]), [false; 4]);
    }
}
