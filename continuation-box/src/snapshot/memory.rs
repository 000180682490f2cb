//! The memory of a service's boxes, as those have it who write it: its server and its machine's agent, each in a process of its
//! own. A box is taken by whoever is first to exchange its cookie.

use super::export::{ExportError, SessionBox};
use super::layout::{BEING_MADE, BoxHead, BoxesHeader, MAGIC, MOST_NAME, Shape, ShapeError, VERSION};
use super::view::{Attachment, BoxView, Export, ViewError, export};
use crate::resume::{Output, Resumption};
use backdoors_rdma::{Protection, SharedMemory};
use core::mem::{offset_of, size_of};
use core::ops::Range;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{FromBytes, IntoBytes};

pub(super) const WORD: usize = 8;

/// Why there is no memory for boxes. Nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Boxes of a senseless size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// What is there are no boxes.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The system has none.
    #[error("no memory for boxes: {0}")]
    System(#[from] io::Error),
}

/// Why a session has no box here. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// All are taken.
    #[error("all {0} boxes are taken: make more, or wait for sessions to end")]
    Full(u32),
    /// Its snapshot is larger than boxes are here.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What it has sent, or what it has written and not sent, does not go into half of a ring; or both together not into all of it if
    /// nothing more is written.
    #[error(
        "{needed} written bytes are to be held, in a ring of {ring}: it must be at least twice as large as they are"
    )]
    Ring {
        /// Bytes that must be held.
        needed: u64,
        /// Bytes of the ring.
        ring: u32,
    },
    /// Plan and box are not about the same session.
    #[error("the plan is not for this box: {0}; plan anew with the box as it is")]
    Plan(&'static str),
}

/// Whose boxes these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The service's name, at most [`MOST_NAME`] bytes.
    pub name: &'a str,
    /// Its number in the target's configuration.
    pub service: u32,
    /// Tells this memory from earlier one.
    pub generation: u64,
}

/// Where a session goes on that a box has: at its newest snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// Bytes of the connection that had been read.
    pub read: u64,
    /// And written: what was written beyond the snapshot counts, as it was sent.
    pub written: u64,
    /// How many of those the application, which begins at its snapshot, writes again. They are passed.
    pub ahead: u64,
}

/// The memory of a service's boxes.
#[derive(Debug)]
pub struct BoxMemory {
    pub(super) memory: SharedMemory,
    pub(super) shape: Shape,
    /// Where the next free box is looked for first: most of those before it are taken.
    next: AtomicU32,
}

impl BoxMemory {
    /// New boxes of nobody in particular, all of them free; the descriptor is for who is to keep them beyond the application's end.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn create(shape: Shape) -> Result<(Arc<BoxMemory>, OwnedFd), MemoryError> {
        let shape = shape.check()?;
        let (_, fd) = SharedMemory::create("backdoors-boxes", shape.region_bytes())?;
        Ok((BoxMemory::lay_out(fd.as_fd(), shape, Owner::default())?, fd))
    }

    /// Makes boxes, all of them free, of memory that is all zero and has at least [`Shape::region_bytes`].
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn lay_out(
        fd: BorrowedFd<'_>,
        shape: Shape,
        owner: Owner<'_>,
    ) -> Result<Arc<BoxMemory>, MemoryError> {
        let shape = shape.check()?;
        let memory = SharedMemory::map(fd, 0, shape.region_bytes(), Protection::ReadWrite)?;
        let mut name = [0; MOST_NAME];
        for (place, byte) in name.iter_mut().zip(owner.name.bytes()) {
            *place = byte;
        }
        let header = BoxesHeader {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<BoxesHeader>() as u32,
            capacity: shape.capacity,
            // A box is at most a head, two snapshots and a ring of the largest size.
            box_bytes: shape.box_bytes() as u32,
            snapshot_bytes: shape.snapshot_bytes,
            ring_bytes: shape.ring_bytes,
            generation: owner.generation,
            service: owner.service,
            attachment: Attachment::Never as u32,
            since: 0,
            pid: 0,
            lost: 0,
            reserved: 0,
            name,
        };
        let boxes = BoxMemory { memory, shape, next: AtomicU32::new(0) };
        boxes.write(0, header.as_bytes());
        Ok(Arc::new(boxes))
    }

    /// Boxes that were made earlier, as they are: those that have a cookie are taken.
    ///
    /// # Errors
    /// [`MemoryError`]; [`MemoryError::View`] if there are none.
    pub fn over(fd: BorrowedFd<'_>) -> Result<Arc<BoxMemory>, MemoryError> {
        let mut head = [0; size_of::<BoxesHeader>()];
        let header = SharedMemory::map(fd, 0, head.len(), Protection::ReadOnly)?;
        header.read_bytes(0, &mut head).map_err(io::Error::other)?;
        let shape = Shape::decode(&head)?;
        let memory = SharedMemory::map(fd, 0, shape.region_bytes(), Protection::ReadWrite)?;
        Ok(Arc::new(BoxMemory { memory, shape, next: AtomicU32::new(0) }))
    }

    /// How large they are.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What tells this memory from earlier one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.memory.load(offset_of!(BoxesHeader, generation) / WORD)
    }

    /// Shows whether the service's server is attached, since when by the machine's monotonic clock, and which process it is.
    pub fn show_attachment(&self, attachment: Attachment, since: u64, pid: u32) {
        self.memory.store(offset_of!(BoxesHeader, since) / WORD, since);
        self.memory.store(offset_of!(BoxesHeader, pid) / WORD, pid.into());
        let word = offset_of!(BoxesHeader, service) / WORD;
        let service = self.memory.load(word) & u64::from(u32::MAX);
        self.memory.store(word, service | (attachment as u64) << 32);
    }

    /// Counts a session that could not go on.
    pub fn count_lost(&self) {
        self.memory.fetch_add(offset_of!(BoxesHeader, lost) / WORD, 1);
    }

    /// Takes a box for the connection whose socket has this cookie; `None` if all are taken.
    #[must_use]
    pub fn take(self: &Arc<BoxMemory>, cookie: u64) -> Option<SessionBox> {
        let mut new = self.reserve()?;
        new.name(cookie);
        Some(new)
    }

    fn reserve(self: &Arc<BoxMemory>) -> Option<SessionBox> {
        let is_taken = |index: &u32| {
            let word = self.shape.box_offset(*index) / WORD;
            self.memory.load(word) == 0 && self.memory.compare_exchange(word, 0, BEING_MADE).is_ok()
        };
        let capacity = self.shape.capacity;
        let first = self.next.load(Ordering::Relaxed) % capacity;
        let index = (first..capacity).chain(0..first).find(is_taken)?;
        self.next.store(index + 1, Ordering::Relaxed);
        let new = SessionBox::new(Arc::clone(self), index, BEING_MADE);
        for word in 1..size_of::<BoxHead>() / WORD {
            new.store(word * WORD, 0);
        }
        Some(new)
    }

    /// Takes a box for a session that is resumed by this plan, with a snapshot of so many bytes, and that was ended or not. It is
    /// still to be [filled](BoxMemory::restore), or freed: its cookie is [`BEING_MADE`] until then.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn reserve_for(
        self: &Arc<BoxMemory>,
        snapshot: u64,
        is_ended: bool,
        plan: &Resumption,
    ) -> Result<u32, RestoreError> {
        self.check_room(snapshot, is_ended, plan)?;
        let reserved = self.reserve().ok_or(RestoreError::Full(self.shape.capacity))?;
        let index = reserved.index();
        reserved.leave();
        Ok(index)
    }

    fn check_room(&self, snapshot: u64, is_ended: bool, plan: &Resumption) -> Result<(), RestoreError> {
        let (ring, room) = (self.shape.ring_bytes, self.shape.snapshot_bytes as usize);
        let length = usize::try_from(snapshot).unwrap_or(usize::MAX);
        if length > room {
            return Err(ExportError::TooLarge { length, room }.into());
        }
        let length = |range: &Range<u64>| range.end.checked_sub(range.start);
        let backwards = RestoreError::Plan("its output ends before it begins");
        let (Some(sent), Some(unsent)) = (length(&plan.unacknowledged), length(&plan.unsent)) else {
            return Err(backwards);
        };
        let (needed, room_for_output) = match is_ended {
            true => (sent.saturating_add(unsent), ring),
            // What was sent is in the kernel's queue from the beginning. Nothing new is written before the rest is there, too, and the
            // kernel takes no more than half of the ring. Both together are more only where the newest acknowledgement is not
            // noted yet: it is when it comes, and the next packet leaves behind it.
            false => (sent.max(unsent), ring / 2),
        };
        if matches!(plan.output, Output::Discard(_)) && needed > u64::from(room_for_output) {
            return Err(RestoreError::Ring { needed, ring });
        }
        Ok(())
    }

    /// Fills a box that was [taken](BoxMemory::reserve_for) for this with what is left of the old one: should this node fail, too,
    /// nothing is lost. From then on it is that of the connection whose socket has this cookie.
    ///
    /// # Errors
    /// [`RestoreError`]; then the box is free.
    pub fn restore(
        self: &Arc<BoxMemory>,
        index: u32,
        cookie: u64,
        old: &BoxView,
        plan: &Resumption,
    ) -> Result<SessionBox, RestoreError> {
        if self.cookie(index) != Some(BEING_MADE) {
            return Err(RestoreError::Plan("its box was not taken for it"));
        }
        let mut new = SessionBox::new(Arc::clone(self), index, BEING_MADE);
        self.check_room(old.newest.bytes.len() as u64, old.is_ended, plan)?;
        let stream = plan.unacknowledged.start..plan.unsent.end;
        let back = match plan.output {
            Output::Discard(_) => 0,
            Output::Regenerate { back, .. } => back,
        };
        let begins = old
            .newest
            .written
            .checked_sub(back)
            .ok_or(RestoreError::Plan("it goes back before the beginning"))?;
        let ring = self.shape.ring_bytes;
        new.read = old.newest.read;
        if ring > 0 {
            new.written = stream.start;
            new.hold(&old.written_bytes(stream.clone()).unwrap_or_default());
        }
        new.written = old.newest.written.max(stream.end);
        new.newest = old.newest.number.saturating_sub(1);
        new.has_read(0);
        new.has_written(0);
        if old.newest.number > 0 {
            new.ahead = new.written - old.newest.written;
            new.export(&old.newest.bytes)?;
        }
        new.ahead = new.written - begins;
        if old.is_ended {
            new.end();
        }
        new.name(cookie);
        Ok(new)
    }

    /// Takes over a box that somebody left, of the connection whose socket has this cookie, to go on as `from` says. `None` if
    /// it is not that connection's.
    #[must_use]
    pub fn take_over(self: &Arc<BoxMemory>, index: u32, cookie: u64, from: &Continued) -> Option<SessionBox> {
        if self.cookie(index)? != cookie {
            return None;
        }
        let mut taken = SessionBox::new(Arc::clone(self), index, cookie);
        taken.newest = taken.load(offset_of!(BoxHead, newest));
        taken.filled = taken.load(offset_of!(BoxHead, filled));
        (taken.read, taken.written, taken.ahead) = (from.read, from.written, from.ahead);
        taken.exported = (from.read, from.written.saturating_sub(from.ahead));
        taken.has_read(0);
        taken.has_written(0);
        Some(taken)
    }

    /// The cookie of box `index`, 0 if it is free; `None` if there is no such box.
    #[must_use]
    pub fn cookie(&self, index: u32) -> Option<u64> {
        (index < self.shape.capacity).then(|| self.memory.load(self.shape.box_offset(index) / WORD))
    }

    /// Frees box `index` if it still is that of this cookie.
    pub fn free(&self, index: u32, cookie: u64) {
        if index < self.shape.capacity && cookie != 0 {
            // Another one's is not touched.
            let _ = self.memory.compare_exchange(self.shape.box_offset(index) / WORD, cookie, 0);
        }
    }

    /// The head of box `index`, as it is now; `None` if there is no such box.
    #[must_use]
    pub fn head(&self, index: u32) -> Option<BoxHead> {
        if index >= self.shape.capacity {
            return None;
        }
        let mut bytes = [0; size_of::<BoxHead>()];
        self.memory.read_bytes(self.shape.box_offset(index), &mut bytes).ok()?;
        BoxHead::read_from_bytes(&bytes).ok()
    }

    /// The newest snapshot of box `index`; `None` if there is no such box, or what it has is no snapshot.
    #[must_use]
    pub fn newest(&self, index: u32) -> Option<Export> {
        let head = self.head(index)?;
        let mut buffer = vec![0; self.shape.snapshot_bytes as usize];
        let offset = self.shape.box_offset(index) + self.shape.buffer_offset(head.newest);
        self.memory.read_bytes(offset, &mut buffer).ok()?;
        export(head.newest, &head, &buffer).ok()
    }

    /// The first of the written bytes at these positions of box `index`, as many as fit. They must be held.
    pub fn copy_written(&self, index: u32, positions: Range<u64>, into: &mut [u8]) -> usize {
        let ring = self.shape.ring_bytes as usize;
        let length = into.len().min((positions.end - positions.start) as usize).min(ring);
        if length == 0 || index >= self.shape.capacity {
            return 0;
        }
        let at = (positions.start % ring as u64) as usize;
        let ring_offset = self.shape.box_offset(index) + self.shape.ring_offset();
        let (now, then) = into[..length].split_at_mut(length.min(ring - at));
        let read = |offset, into: &mut [u8]| self.memory.read_bytes(offset, into).is_ok();
        let is_inside = read(ring_offset + at, now) && read(ring_offset, then);
        debug_assert!(is_inside, "{positions:?}");
        length
    }

    /// What is written lies in the memory: offsets come from the shape that it was made with.
    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        let is_inside = self.memory.fill(offset, bytes).is_ok();
        debug_assert!(is_inside, "{offset} and {} bytes", bytes.len());
    }

    /// The bytes of box `index`, as [`BoxView::decode`] reads them; `None` if there is none.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Vec<u8>> {
        if index >= self.shape.capacity {
            return None;
        }
        let mut bytes = vec![0; self.shape.box_bytes()];
        self.memory.read_bytes(self.shape.box_offset(index), &mut bytes).ok()?;
        Some(bytes)
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.shape.region_bytes()];
        self.memory.read_bytes(0, &mut bytes).unwrap();
        bytes
    }
}

const _: () = assert!(size_of::<BoxesHeader>().is_multiple_of(WORD));
const _: () = assert!(offset_of!(BoxHead, cookie) == 0);
