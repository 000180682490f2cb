//! The application's side of its boxes.

use super::layout::{BoxHead, ExportHead};
use super::memory::{BoxMemory, WORD};
use core::mem::{offset_of, size_of};
use core::ops::Range;
use std::sync::Arc;

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

/// The box of one session.
#[derive(Debug)]
pub struct SessionBox {
    boxes: Arc<BoxMemory>,
    index: u32,
    cookie: u64,
    pub(super) newest: u64,
    /// What was read and written at the newest snapshot.
    pub(super) exported: (u64, u64),
    pub(super) read: u64,
    pub(super) written: u64,
    pub(super) filled: u64,
    /// Written bytes that the application, which was resumed, has not come to again.
    pub(super) ahead: u64,
    is_left: bool,
}

impl SessionBox {
    pub(super) fn new(boxes: Arc<BoxMemory>, index: u32, cookie: u64) -> SessionBox {
        SessionBox {
            boxes,
            index,
            cookie,
            newest: 0,
            exported: (0, 0),
            read: 0,
            written: 0,
            filled: 0,
            ahead: 0,
            is_left: false,
        }
    }

    fn offset(&self, within: usize) -> usize {
        self.boxes.shape.box_offset(self.index) + within
    }

    pub(super) fn store(&self, within: usize, value: u64) {
        self.boxes.memory.store(self.offset(within) / WORD, value);
    }

    pub(super) fn load(&self, within: usize) -> u64 {
        self.boxes.memory.load(self.offset(within) / WORD)
    }

    /// From here on it is the box of this connection.
    pub(super) fn name(&mut self, cookie: u64) {
        self.cookie = cookie;
        self.store(offset_of!(BoxHead, cookie), cookie);
    }

    /// Which box it is.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Says in the box that the application is done with the session: all was written that ever will be.
    pub fn end(&mut self) {
        self.store(offset_of!(BoxHead, ended), 1);
    }

    /// Leaves the box as it is, for somebody else to go on with.
    pub fn leave(mut self) {
        self.is_left = true;
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
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.filled = self.filled.max(self.written + bytes.len() as u64);
        self.store(offset_of!(BoxHead, filled), self.filled);
        let ring = self.boxes.shape.ring_bytes as usize;
        let at = (self.written % ring as u64) as usize;
        let (now, then) = bytes.split_at(bytes.len().min(ring - at));
        let ring_offset = self.offset(self.boxes.shape.ring_offset());
        self.boxes.write(ring_offset + at, now);
        self.boxes.write(ring_offset, then);
    }

    /// The first of the written bytes at these positions, as many as fit. They must be held.
    pub fn copy_written(&self, positions: Range<u64>, into: &mut [u8]) -> usize {
        self.boxes.copy_written(self.index, positions, into)
    }

    /// Bytes of its ring; 0 if it holds nothing.
    #[must_use]
    pub fn ring_bytes(&self) -> u32 {
        self.boxes.shape.ring_bytes
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
        if !self.is_left {
            self.boxes.free(self.index, self.cookie);
        }
    }
}
