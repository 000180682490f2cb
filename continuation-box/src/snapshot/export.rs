//! The application's side of its boxes.

use super::layout::{BoxHead, BoxesHeader, ExportHead, Shape, ShapeError};
use super::view::BoxView;
use crate::resume::{Output, Resumption};
use backdoors_rdma::SharedMemory;
use core::mem::{offset_of, size_of};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use zerocopy::IntoBytes;

const WORD: usize = 8;

/// Why there is no memory for boxes. Nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Boxes of a senseless size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The system has none.
    #[error("no memory for boxes: {0}")]
    System(#[from] io::Error),
}

/// Why a snapshot was not exported. The one before stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// It is larger than its buffer.
    #[error(
        "the snapshot has {length} bytes and the box has room for {room}: say so when the boxes are made"
    )]
    TooLarge {
        /// Bytes of the snapshot.
        length: usize,
        /// Of the buffer.
        room: usize,
    },
}

/// Why a session has no box here. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// All are taken.
    #[error("all {0} boxes are taken: make more, or wait for sessions to end")]
    Full(u32),
    /// Its snapshot is larger than boxes are here.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// What it has written and is needed does not go into half of a ring.
    #[error("{needed} written bytes are to be held, in a ring of {ring}: it must be at least twice as large")]
    Ring {
        /// Bytes that must be held.
        needed: u64,
        /// Bytes of the ring.
        ring: u32,
    },
}

/// The memory of an application's boxes.
#[derive(Debug)]
pub struct BoxMemory {
    memory: SharedMemory,
    shape: Shape,
    taken: Mutex<BTreeSet<u32>>,
}

impl BoxMemory {
    /// New boxes, all of them nobody's; the descriptor is for who is to keep them beyond the application's end.
    ///
    /// # Errors
    /// [`MemoryError`].
    pub fn create(shape: Shape) -> Result<(Arc<BoxMemory>, OwnedFd), MemoryError> {
        let shape = shape.check()?;
        let (memory, fd) = SharedMemory::create("backdoors-boxes", shape.region_bytes())?;
        let boxes = BoxMemory { memory, shape, taken: Mutex::default() };
        boxes.write(0, shape.header().as_bytes());
        Ok((Arc::new(boxes), fd))
    }

    /// Takes a box for the connection whose socket has this cookie, which is not 0; `None` if all are taken.
    #[must_use]
    pub fn take(self: &Arc<BoxMemory>, cookie: u64) -> Option<SessionBox> {
        // A set of numbers is whole whoever panicked.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let index = (0..self.shape.capacity).find(|index| !taken.contains(index))?;
        taken.insert(index);
        drop(taken);
        let mut new = SessionBox {
            boxes: Arc::clone(self),
            index,
            newest: 0,
            exported: (0, 0),
            read: 0,
            written: 0,
            filled: 0,
            ahead: 0,
        };
        new.clear();
        new.store(offset_of!(BoxHead, cookie), cookie);
        Some(new)
    }

    /// Takes a box for a session that is resumed by this plan, with what is left of its old one: should this node fail, too,
    /// nothing is lost.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(
        self: &Arc<BoxMemory>,
        cookie: u64,
        old: &BoxView,
        plan: &Resumption,
    ) -> Result<SessionBox, RestoreError> {
        let (ring, room) = (self.shape.ring_bytes, self.shape.snapshot_bytes as usize);
        let length = old.newest.bytes.len();
        if length > room {
            return Err(ExportError::TooLarge { length, room }.into());
        }
        let stream = plan.unacknowledged.start..plan.unsent.end;
        let needed = stream.end - stream.start;
        let back = match plan.output {
            Output::Discard(_) if needed > u64::from(ring / 2) => {
                return Err(RestoreError::Ring { needed, ring });
            }
            Output::Discard(_) => 0,
            Output::Regenerate { back, .. } => back,
        };
        // The cookie is what makes a box somebody's, so it comes last.
        let mut new = self.take(0).ok_or(RestoreError::Full(self.shape.capacity))?;
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
        new.ahead = new.written - (old.newest.written - back);
        new.store(offset_of!(BoxHead, cookie), cookie);
        Ok(new)
    }

    /// What is written lies in the memory: offsets come from the shape that it was made with.
    fn write(&self, offset: usize, bytes: &[u8]) {
        let is_inside = self.memory.write_bytes(offset, bytes).is_ok();
        debug_assert!(is_inside, "{offset} and {} bytes", bytes.len());
    }

    /// The bytes of box `index`, as [`BoxView::decode`] reads them; `None` if there is none.
    #[must_use]
    pub fn read(&self, index: u32) -> Option<Vec<u8>> {
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

/// The box of one session.
#[derive(Debug)]
pub struct SessionBox {
    boxes: Arc<BoxMemory>,
    index: u32,
    newest: u64,
    /// What was read and written at the newest snapshot.
    exported: (u64, u64),
    read: u64,
    written: u64,
    filled: u64,
    /// Written bytes that the application, which was resumed, has not come to again.
    ahead: u64,
}

impl SessionBox {
    fn offset(&self, within: usize) -> usize {
        self.boxes.shape.box_offset(self.index) + within
    }

    fn store(&self, within: usize, value: u64) {
        self.boxes.memory.store(self.offset(within) / WORD, value);
    }

    fn clear(&mut self) {
        for word in 0..size_of::<BoxHead>() / WORD {
            self.store(word * WORD, 0);
        }
    }

    /// Bytes of the connection that the application has read.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Bytes of the connection that it has written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What it had read and written at its newest snapshot, or at the beginning.
    #[must_use]
    pub fn exported(&self) -> (u64, u64) {
        self.exported
    }

    /// Notes that so many more bytes were read.
    pub fn has_read(&mut self, count: usize) {
        self.read += count as u64;
        self.store(offset_of!(BoxHead, read), self.read);
    }

    /// How many of the bytes that the application writes next were written before it was resumed; they are passed, not written.
    #[must_use]
    pub fn ahead(&self) -> u64 {
        self.ahead
    }

    /// Notes that the application came to so many of [`SessionBox::ahead`] again.
    pub fn has_passed(&mut self, count: usize) {
        self.ahead = self.ahead.saturating_sub(count as u64);
    }

    /// Holds the first of these bytes that are about to be written, and says how many: at most half of the ring, whose other
    /// half holds what is not acknowledged yet. Where nothing is held all of them are only counted.
    pub fn will_write(&mut self, bytes: &[u8]) -> usize {
        let ring = self.boxes.shape.ring_bytes as usize;
        let count = if ring == 0 { bytes.len() } else { bytes.len().min(ring / 2) };
        if ring > 0 {
            self.hold(&bytes[..count]);
        }
        // Before the bytes leave, so that none has left that is not counted.
        self.store(offset_of!(BoxHead, written), self.written + count as u64);
        count
    }

    /// Puts bytes into the ring, which has room for them, behind what was written.
    fn hold(&mut self, bytes: &[u8]) {
        self.filled = self.filled.max(self.written + bytes.len() as u64);
        self.store(offset_of!(BoxHead, filled), self.filled);
        let ring = self.boxes.shape.ring_bytes as usize;
        let at = (self.written % ring as u64) as usize;
        let (now, then) = bytes.split_at(bytes.len().min(ring - at));
        let ring_offset = self.offset(self.boxes.shape.ring_offset());
        self.boxes.write(ring_offset + at, now);
        self.boxes.write(ring_offset, then);
    }

    /// Notes how many of the bytes that [`SessionBox::will_write`] held were written.
    pub fn has_written(&mut self, count: usize) {
        self.written += count as u64;
        self.store(offset_of!(BoxHead, written), self.written);
    }

    /// Makes this the newest snapshot: from here on the session is resumed at this point. It does not wait for anything, nor
    /// asks the system for anything.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn export(&mut self, snapshot: &[u8]) -> Result<(), ExportError> {
        let room = self.boxes.shape.snapshot_bytes as usize;
        if snapshot.len() > room {
            return Err(ExportError::TooLarge { length: snapshot.len(), room });
        }
        let number = self.newest + 1;
        let head = offset_of!(BoxHead, exports) + (number % 2) as usize * size_of::<ExportHead>();
        // A reader who sees any of what follows sees this, and knows that the snapshot that was here is gone.
        self.store(head + offset_of!(ExportHead, number), number);
        let offset = self.offset(self.boxes.shape.buffer_offset(number));
        self.boxes.write(offset, snapshot);
        self.store(head + offset_of!(ExportHead, length), snapshot.len() as u64);
        self.store(head + offset_of!(ExportHead, read), self.read);
        let written = self.written - self.ahead;
        self.store(head + offset_of!(ExportHead, written), written);
        self.store(offset_of!(BoxHead, newest), number);
        self.newest = number;
        self.exported = (self.read, written);
        Ok(())
    }
}

impl Drop for SessionBox {
    fn drop(&mut self) {
        self.store(offset_of!(BoxHead, cookie), 0);
        self.boxes.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.index);
    }
}

const _: () = assert!(size_of::<BoxesHeader>().is_multiple_of(WORD));
