//! The session table as the target lays it out; the kernel half fills it.

use super::LayOutError;
use crate::layout::VERSION;
use crate::session::layout::{SESSION_MAGIC, SessionRecord, SessionTableHeader, ring_stride};
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::size_of;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const HEADER_WORDS: usize = size_of::<SessionTableHeader>() / 8;
const RECORD_WORDS: usize = size_of::<SessionRecord>() / 8;

/// A session table in shared memory.
#[derive(Debug)]
pub struct SessionTable<W> {
    words: W,
}

impl<W: SharedWords> SessionTable<W> {
    /// Lays an empty table out, of as many records as fit.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`], and nothing changed.
    pub fn lay_out(
        words: W,
        generation: u64,
        ring_bytes: u32,
        receive_cap: u32,
    ) -> Result<SessionTable<W>, LayOutError> {
        let room = words.len().saturating_sub(HEADER_WORDS) / RECORD_WORDS;
        if room == 0 {
            return Err(LayOutError::TooSmall);
        }
        for index in 0..words.len() {
            words.store(index, 0);
        }
        let header = SessionTableHeader {
            magic: SESSION_MAGIC,
            version: VERSION,
            header_bytes: size_of::<SessionTableHeader>() as u32,
            generation,
            capacity: room as u32,
            record_bytes: size_of::<SessionRecord>() as u32,
            ring_bytes,
            ring_stride: ring_stride(ring_bytes),
            receive_cap,
            ..SessionTableHeader::new_zeroed()
        };
        // The magic comes last: without it there is no table.
        for (index, word) in to_words::<HEADER_WORDS>(header.as_bytes()).into_iter().enumerate().rev() {
            words.store(index, word);
        }
        Ok(SessionTable { words })
    }

    /// Takes up a table that was laid out before.
    ///
    /// # Errors
    /// [`LayOutError`] if it is none of this version; nothing changed.
    pub fn adopt(words: W) -> Result<SessionTable<W>, LayOutError> {
        if words.len() < HEADER_WORDS + RECORD_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let table = SessionTable { words };
        let header = table.header();
        let room = (table.words.len() - HEADER_WORDS) / RECORD_WORDS;
        let fits = header.magic == SESSION_MAGIC
            && header.version == VERSION
            && header.header_bytes as usize == size_of::<SessionTableHeader>()
            && header.record_bytes as usize == size_of::<SessionRecord>()
            && (1..=room).contains(&(header.capacity as usize));
        if fits { Ok(table) } else { Err(LayOutError::OtherLayout) }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> SessionTableHeader {
        let copy: [u64; HEADER_WORDS] = core::array::from_fn(|index| self.words.load(index));
        let mut bytes = [0; size_of::<SessionTableHeader>()];
        to_bytes(&copy, &mut bytes);
        SessionTableHeader::read_from_bytes(&bytes).unwrap_or_else(|_| SessionTableHeader::new_zeroed())
    }
}
