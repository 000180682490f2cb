//! The fence as its target writes it; the kernel half reads the words, and writes what was withheld.

use super::LayOutError;
use crate::authentication::CommandKey;
use crate::fence::LIFTED;
use crate::fence::layout::{FENCE_MAGIC, FenceTable, MAX_FENCED, address_bytes};
use crate::layout::{COMMAND_SLOTS, VERSION};
use crate::words::{SharedWords, to_words};
use core::mem::{offset_of, size_of};
use core::net::IpAddr;
use zerocopy::{FromZeros, IntoBytes};

const TABLE_WORDS: usize = size_of::<FenceTable>() / 8;
const MAGIC: usize = offset_of!(FenceTable, magic) / 8;
const SIZES: usize = offset_of!(FenceTable, version) / 8;
const GENERATION: usize = offset_of!(FenceTable, generation) / 8;
const WORDS: usize = offset_of!(FenceTable, words) / 8;
const CHECKS: usize = offset_of!(FenceTable, checks) / 8;
const LOOKED_AT: usize = offset_of!(FenceTable, looked_at) / 8;
const INTERFACES: usize = offset_of!(FenceTable, interfaces) / 8;

/// A fence in shared memory.
#[derive(Debug)]
pub struct Fence<W> {
    words: W,
}

impl<W: SharedWords> Fence<W> {
    /// Lays a fence out that is not set, around the first [`MAX_FENCED`] of these addresses.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`], and nothing changed.
    pub fn lay_out(words: W, generation: u64, addresses: &[IpAddr]) -> Result<Fence<W>, LayOutError> {
        if words.len() < TABLE_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let mut covered = [[0; 16]; MAX_FENCED];
        for (place, address) in covered.iter_mut().zip(addresses) {
            *place = address_bytes(*address);
        }
        let table = FenceTable {
            magic: FENCE_MAGIC,
            version: VERSION,
            table_bytes: size_of::<FenceTable>() as u32,
            generation,
            slots: COMMAND_SLOTS as u32,
            addresses: addresses.len().min(MAX_FENCED) as u32,
            covered,
            ..FenceTable::new_zeroed()
        };
        // The magic comes last: without it there is no fence.
        for (index, word) in to_words::<TABLE_WORDS>(table.as_bytes()).into_iter().enumerate().rev() {
            words.store(index, word);
        }
        Ok(Fence { words })
    }

    /// Takes up a fence that was laid out before.
    ///
    /// # Errors
    /// [`LayOutError`] if there is none of this version; nothing changed.
    pub fn adopt(words: W) -> Result<Fence<W>, LayOutError> {
        if words.len() < TABLE_WORDS {
            return Err(LayOutError::TooSmall);
        }
        let sizes = u64::from(VERSION) | (size_of::<FenceTable>() as u64) << 32;
        let fits = words.load(MAGIC) == FENCE_MAGIC && words.load(SIZES) == sizes;
        if fits { Ok(Fence { words }) } else { Err(LayOutError::OtherLayout) }
    }

    /// As in the sensor box.
    pub fn generation(&self) -> u64 {
        self.words.load(GENERATION)
    }

    /// What the monitor of a slot wrote; 0 if there is no such slot.
    pub fn word(&self, slot: usize) -> u64 {
        if slot < COMMAND_SLOTS { self.words.load(WORDS + slot) } else { LIFTED }
    }

    /// Writes a slot's word as its monitor would: to carry a fence over to memory that was made anew, or to lift it.
    pub fn set_word(&self, slot: usize, word: u64) {
        if slot < COMMAND_SLOTS {
            self.words.store(WORDS + slot, word);
        }
    }

    /// Says the holder of which key may fence from a slot, if anybody.
    pub fn set_check(&self, slot: usize, key: Option<CommandKey>) {
        if slot < COMMAND_SLOTS {
            self.words.store(CHECKS + slot, key.map_or(0, |key| key.fence_check()));
        }
    }

    /// Tells at how many interfaces packets are looked at, of how many, and when that was found, nanoseconds of the monotonic
    /// clock.
    pub fn set_interfaces(&self, covered: u32, interfaces: u32, now: u64) {
        self.words.store(INTERFACES, u64::from(interfaces) | u64::from(covered) << 32);
        self.words.store(LOOKED_AT, now);
    }
}
