//! The list of requests that is posted, as the NIC's library takes it.
#![allow(unsafe_code, reason = "makes the structures of libibverbs")]

use crate::access::RemoteRange;
use crate::verbs::region::Region;
use crate::verbs::work::{Fencing, Work};
use rdma_mummy_sys as ffi;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;

/// Room for the requests of one post, made once so that posting allocates nothing.
pub(super) struct SendList {
    /// How many of the requests are in use.
    used: usize,
    // All of the depth, made once: what passes between a completion and the next post counts. The pointers among
    // these are set for each post and stale after it.
    requests: Vec<ffi::ibv_send_wr>,
    segments: Vec<ffi::ibv_sge>,
}

// SAFETY: the pointers in `requests` are used only within `with_list`, which sets those of the list itself; the others
// are null.
unsafe impl Send for SendList {}

impl fmt::Debug for SendList {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SendList").field("depth", &self.depth()).finish_non_exhaustive()
    }
}

impl SendList {
    /// Room for `depth` requests.
    pub(super) fn new(depth: usize) -> SendList {
        let segment = ffi::ibv_sge { addr: 0, length: 0, lkey: 0 };
        SendList {
            used: 0,
            requests: (0..depth).map(|_| no_request()).collect(),
            segments: vec![segment; depth],
        }
    }

    /// Most requests it holds.
    pub(super) fn depth(&self) -> usize {
        self.requests.len()
    }

    /// Replaces the requests. All of them get the number `request`; the last one asks for a completion. Local bytes
    /// lie inside `arena`, or are at most `inline`.
    pub(super) fn fill<'a>(
        &mut self,
        work: impl Iterator<Item = Work<'a>>,
        request: u64,
        arena: &Region,
        inline: usize,
    ) -> io::Result<()> {
        self.used = 0;
        let mut fencing = Fencing::default();
        for work in work {
            let (Some(posted), Some(segment)) =
                (self.requests.get_mut(self.used), self.segments.get_mut(self.used))
            else {
                return Err(invalid("more requests than the queue holds"));
            };
            *segment = match work {
                Work::WriteInline { bytes, .. } if bytes.len() <= inline => {
                    ffi::ibv_sge { addr: bytes.as_ptr() as u64, length: bytes.len() as u32, lkey: 0 }
                }
                _ => arena_segment(&work, arena)?,
            };
            posted.send_flags = 0;
            posted.wr_id = request;
            posted.num_sge = i32::from(segment.length > 0);
            (posted.opcode, posted.wr) = remote_part(&work);
            if matches!(work, Work::WriteInline { .. }) && segment.length > 0 {
                posted.send_flags |= ffi::ibv_send_flags::IBV_SEND_INLINE.0;
            }
            if fencing.needed(&work) {
                posted.send_flags |= ffi::ibv_send_flags::IBV_SEND_FENCE.0;
            }
            self.used += 1;
        }
        match self.requests[..self.used].last_mut() {
            None => Err(invalid("nothing to post")),
            Some(last) => {
                last.send_flags |= ffi::ibv_send_flags::IBV_SEND_SIGNALED.0;
                Ok(())
            }
        }
    }

    /// Calls `post` with the first request, linked to the others.
    pub(super) fn with_list<R>(&mut self, post: impl FnOnce(*mut ffi::ibv_send_wr) -> R) -> R {
        let mut next = std::ptr::null_mut();
        let used = self.requests[..self.used].iter_mut().zip(&mut self.segments[..self.used]);
        for (posted, segment) in used.rev() {
            posted.sg_list = segment;
            posted.next = next;
            next = posted;
        }
        post(next)
    }
}

fn arena_segment(work: &Work<'_>, arena: &Region) -> io::Result<ffi::ibv_sge> {
    let memory = arena.memory();
    let (offset, length) = work.arena().ok_or_else(|| invalid("too long to be sent inline"))?;
    let offset = offset as u64;
    if offset.checked_add(length).is_none_or(|end| end > memory.len() as u64) {
        return Err(invalid("outside the arena"));
    }
    let length = u32::try_from(length).map_err(|_| invalid("too long for one request"))?;
    Ok(ffi::ibv_sge { addr: memory.as_ptr() as u64 + offset, length, lkey: arena.local_key() })
}

/// The `ibv_wr_opcode` and remote part of a request.
fn remote_part(work: &Work<'_>) -> (ffi::ibv_wr_opcode::Type, ffi::wr_t) {
    let rdma =
        |range: RemoteRange| ffi::wr_t { rdma: ffi::rdma_t { remote_addr: range.address, rkey: range.key } };
    match *work {
        Work::Read { from, .. } => (ffi::ibv_wr_opcode::IBV_WR_RDMA_READ, rdma(from)),
        Work::Write { to, .. } | Work::WriteInline { to, .. } => {
            (ffi::ibv_wr_opcode::IBV_WR_RDMA_WRITE, rdma(to))
        }
        Work::CompareAndSwap { at, expected, new, .. } => (
            ffi::ibv_wr_opcode::IBV_WR_ATOMIC_CMP_AND_SWP,
            ffi::wr_t {
                atomic: ffi::atomic_t {
                    remote_addr: at.address,
                    compare_add: expected,
                    swap: new,
                    rkey: at.key,
                },
            },
        ),
    }
}

/// A request without anything in it.
fn no_request() -> ffi::ibv_send_wr {
    // SAFETY: pointers, integers, and unions of them, for which all zero is a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
