//! The process table as the user half writes it where there is no kernel half.

use super::{LayOutError, Torn};
use crate::layout::{MAX_PROCESSES, PROCESS_MAGIC, ProcessEntry, ProcessTableHeader, VERSION};
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const HEADER_WORDS: usize = size_of::<ProcessTableHeader>() / 8;
const ENTRY_WORDS: usize = size_of::<ProcessEntry>() / 8;
const USE: usize = offset_of!(ProcessTableHeader, capacity) / 8;
const LOST: usize = offset_of!(ProcessTableHeader, lost) / 8;
/// `sequence` and `pid` share the first word of an entry.
const GUARD: usize = offset_of!(ProcessEntry, sequence) / 8;

/// A process table in shared memory. One thread writes an entry at a time.
#[derive(Debug)]
pub struct ProcessTable<W> {
    words: W,
}

impl<W: SharedWords> ProcessTable<W> {
    /// Lays an empty table out; as many entries as fit.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`], and nothing changed.
    pub fn lay_out(words: W, generation: u64) -> Result<ProcessTable<W>, LayOutError> {
        let room = words.len().saturating_sub(HEADER_WORDS) / ENTRY_WORDS;
        if room == 0 {
            return Err(LayOutError::TooSmall);
        }
        for index in 0..words.len() {
            words.store(index, 0);
        }
        let header = ProcessTableHeader {
            magic: PROCESS_MAGIC,
            version: VERSION,
            header_bytes: size_of::<ProcessTableHeader>() as u32,
            generation,
            capacity: room.min(MAX_PROCESSES) as u32,
            high_water: 0,
            entry_bytes: size_of::<ProcessEntry>() as u32,
            reserved_word: 0,
            lost: 0,
            reserved: [0; 10],
        };
        // The magic comes last: without it there is no table.
        for (index, word) in to_words::<HEADER_WORDS>(header.as_bytes()).into_iter().enumerate().rev() {
            words.store(index, word);
        }
        Ok(ProcessTable { words })
    }

    /// Takes up a table that was laid out before, e.g. by the kernel half's loader.
    ///
    /// # Errors
    /// [`LayOutError::OtherLayout`] if it is none of this version; nothing changed.
    pub fn adopt(words: W) -> Result<ProcessTable<W>, LayOutError> {
        if words.len() < HEADER_WORDS + ENTRY_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let header = read_table_header(&words);
        let fits = header.magic == PROCESS_MAGIC
            && header.version == VERSION
            && header.header_bytes as usize == size_of::<ProcessTableHeader>()
            && header.entry_bytes as usize == size_of::<ProcessEntry>()
            && HEADER_WORDS + header.capacity as usize * ENTRY_WORDS <= words.len();
        if fits { Ok(ProcessTable { words }) } else { Err(LayOutError::OtherLayout) }
    }

    /// The header as it is now.
    pub fn header(&self) -> ProcessTableHeader {
        read_table_header(&self.words)
    }

    /// Entries there is room for.
    pub fn capacity(&self) -> usize {
        let room = (self.words.len() - HEADER_WORDS) / ENTRY_WORDS;
        (self.header().capacity as usize).min(room)
    }

    /// Writes an entry; its `sequence` is the table's business. `false` if there is no such entry.
    pub fn put(&self, index: usize, entry: &ProcessEntry) -> bool {
        if index >= self.capacity() {
            return false;
        }
        let base = HEADER_WORDS + index * ENTRY_WORDS;
        let odd = (self.words.load(base + GUARD) as u32) | 1;
        self.words.store(base + GUARD, u64::from(odd));
        for (offset, word) in to_words::<ENTRY_WORDS>(entry.as_bytes()).into_iter().enumerate() {
            if offset != GUARD {
                self.words.store(base + offset, word);
            }
        }
        self.words.store(base + GUARD, u64::from(odd.wrapping_add(1)) | u64::from(entry.pid) << 32);
        let used = self.words.load(USE);
        if (used >> 32) as usize <= index {
            self.words.store(USE, (used & 0xffff_ffff) | ((index as u64 + 1) << 32));
        }
        true
    }

    /// Frees an entry.
    pub fn clear(&self, index: usize) {
        if index < self.capacity() {
            let base = HEADER_WORDS + index * ENTRY_WORDS;
            let odd = (self.words.load(base + GUARD) as u32) | 1;
            self.words.store(base + GUARD, u64::from(odd.wrapping_add(1)));
        }
    }

    /// The entry at `index`, if it is in use.
    ///
    /// # Errors
    /// [`Torn`] while it is being written.
    pub fn get(&self, index: usize) -> Result<Option<ProcessEntry>, Torn> {
        if index >= self.capacity() {
            return Ok(None);
        }
        let base = HEADER_WORDS + index * ENTRY_WORDS;
        let guard = self.words.load(base + GUARD);
        if guard >> 32 == 0 && guard.is_multiple_of(2) {
            return Ok(None);
        }
        let mut copy = [0; ENTRY_WORDS];
        for (offset, word) in copy.iter_mut().enumerate() {
            *word = self.words.load(base + offset);
        }
        if guard % 2 == 1 || self.words.load(base + GUARD) != guard {
            return Err(Torn);
        }
        let mut bytes = [0; size_of::<ProcessEntry>()];
        to_bytes(&copy, &mut bytes);
        ProcessEntry::read_from_bytes(&bytes).map(Some).map_err(|_| Torn)
    }

    /// Sets how many processes found no free entry.
    pub fn set_lost(&self, lost: u64) {
        self.words.store(LOST, lost);
    }
}

fn read_table_header<W: SharedWords>(words: &W) -> ProcessTableHeader {
    let mut copy = [0; HEADER_WORDS];
    for (index, word) in copy.iter_mut().enumerate() {
        *word = words.load(index);
    }
    let mut bytes = [0; size_of::<ProcessTableHeader>()];
    to_bytes(&copy, &mut bytes);
    // Any bytes make a header: it has no invalid values, only wrong ones.
    ProcessTableHeader::read_from_bytes(&bytes).unwrap_or_else(|_| ProcessTableHeader::new_zeroed())
}
