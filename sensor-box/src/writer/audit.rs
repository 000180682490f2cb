//! The audit ring as the target writes it.

use super::LayOutError;
use crate::audit::layout::{AUDIT_MAGIC, AuditHeader, AuditRecord, MAX_AUDIT_RECORDS};
use crate::layout::VERSION;
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const HEADER_WORDS: usize = size_of::<AuditHeader>() / 8;
const RECORD_WORDS: usize = size_of::<AuditRecord>() / 8;
const WRITTEN: usize = offset_of!(AuditHeader, written) / 8;
const WALL_OFFSET: usize = offset_of!(AuditHeader, wall_offset) / 8;
const LEFT_OUT: usize = offset_of!(AuditHeader, left_out) / 8;
const GUARD: usize = offset_of!(AuditRecord, guard) / 8;

/// An audit ring in shared memory. One thread writes records; any may tell the time.
#[derive(Debug)]
pub struct AuditRing<W> {
    words: W,
}

impl<W: SharedWords> AuditRing<W> {
    /// Lays an empty ring out, of as many records as fit.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`], and nothing changed.
    pub fn lay_out(words: W, generation: u64) -> Result<AuditRing<W>, LayOutError> {
        let room = words.len().saturating_sub(HEADER_WORDS) / RECORD_WORDS;
        if room == 0 {
            return Err(LayOutError::TooSmall);
        }
        for index in 0..words.len() {
            words.store(index, 0);
        }
        let header = AuditHeader {
            magic: AUDIT_MAGIC,
            version: VERSION,
            header_bytes: size_of::<AuditHeader>() as u32,
            generation,
            capacity: room.min(MAX_AUDIT_RECORDS) as u32,
            record_bytes: size_of::<AuditRecord>() as u32,
            ..AuditHeader::new_zeroed()
        };
        // The magic comes last: without it there is no ring.
        for (index, word) in to_words::<HEADER_WORDS>(header.as_bytes()).into_iter().enumerate().rev() {
            words.store(index, word);
        }
        Ok(AuditRing { words })
    }

    /// Takes up a ring that was laid out before.
    ///
    /// # Errors
    /// [`LayOutError`] if it is none of this version; nothing changed.
    pub fn adopt(words: W) -> Result<AuditRing<W>, LayOutError> {
        if words.len() < HEADER_WORDS + RECORD_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let ring = AuditRing { words };
        let header = ring.header();
        let fits = header.magic == AUDIT_MAGIC
            && header.version == VERSION
            && header.header_bytes as usize == size_of::<AuditHeader>()
            && header.record_bytes as usize == size_of::<AuditRecord>()
            && header.capacity > 0
            && header.capacity as usize <= ring.room();
        if fits { Ok(ring) } else { Err(LayOutError::OtherLayout) }
    }

    /// The header as it is now.
    pub fn header(&self) -> AuditHeader {
        let mut copy = [0; HEADER_WORDS];
        for (index, word) in copy.iter_mut().enumerate() {
            *word = self.words.load(index);
        }
        let mut bytes = [0; size_of::<AuditHeader>()];
        to_bytes(&copy, &mut bytes);
        AuditHeader::read_from_bytes(&bytes).unwrap_or_else(|_| AuditHeader::new_zeroed())
    }

    /// Adds a record; its `guard` is this function's business.
    pub fn write(&self, record: &AuditRecord) {
        // The words are in memory that others write: never trust them beyond the memory there is.
        let capacity = (self.header().capacity as usize).clamp(1, self.room()) as u64;
        let number = self.words.load(WRITTEN).wrapping_add(1);
        let base = HEADER_WORDS + (number.wrapping_sub(1) % capacity) as usize * RECORD_WORDS;
        self.words.store(base + GUARD, number << 1 | 1);
        for (offset, word) in to_words::<RECORD_WORDS>(record.as_bytes()).into_iter().enumerate() {
            if offset != GUARD {
                self.words.store(base + offset, word);
            }
        }
        self.words.store(base + GUARD, number << 1);
        self.words.store(WRITTEN, number);
    }

    /// Says how many refusals got no record, ever.
    pub fn set_left_out(&self, count: u64) {
        self.words.store(LEFT_OUT, count);
    }

    /// Says what to add to a time of the monotonic clock to get nanoseconds since 1970.
    pub fn set_wall_offset(&self, nanoseconds: u64) {
        self.words.store(WALL_OFFSET, nanoseconds);
    }

    fn room(&self) -> usize {
        (self.words.len() - HEADER_WORDS) / RECORD_WORDS
    }
}
