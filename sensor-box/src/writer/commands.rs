//! Command slots and acknowledgements as the target sees them.

use super::{LayOutError, Torn};
use crate::layout::{Acknowledgement, COMMAND_SLOTS, CommandSlot};
use crate::words::{SharedWords, to_bytes, to_words};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, IntoBytes};

const SLOT_WORDS: usize = size_of::<CommandSlot>() / 8;
const SEQUENCE: usize = offset_of!(CommandSlot, sequence) / 8;
const ACKNOWLEDGEMENT_WORDS: usize = size_of::<Acknowledgement>() / 8;
const GUARD: usize = offset_of!(Acknowledgement, guard) / 8;

/// All command slots. Monitors write them remotely at any time.
#[derive(Debug)]
pub struct CommandSlots<W> {
    words: W,
}

impl<W: SharedWords> CommandSlots<W> {
    /// Memory that holds [`COMMAND_SLOTS`] slots.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`] if it does not.
    pub fn new(words: W) -> Result<CommandSlots<W>, LayOutError> {
        if words.len() < COMMAND_SLOTS * SLOT_WORDS {
            return Err(LayOutError::TooSmall);
        }
        Ok(CommandSlots { words })
    }

    /// The slot's sequence word alone: cheap to poll.
    pub fn sequence(&self, slot: usize) -> u64 {
        if slot < COMMAND_SLOTS { self.words.load(slot * SLOT_WORDS + SEQUENCE) } else { 0 }
    }

    /// A copy of a slot; `None` if there is no such slot, or if its monitor wrote another command meanwhile: look
    /// again then.
    pub fn get(&self, slot: usize) -> Option<CommandSlot> {
        if slot >= COMMAND_SLOTS {
            return None;
        }
        let base = slot * SLOT_WORDS;
        let mut copy = [0; SLOT_WORDS];
        copy[SEQUENCE] = self.words.load(base + SEQUENCE);
        for (offset, word) in copy.iter_mut().enumerate().filter(|(offset, _)| *offset != SEQUENCE) {
            *word = self.words.load(base + offset);
        }
        if self.words.load(base + SEQUENCE) != copy[SEQUENCE] {
            return None;
        }
        let mut bytes = [0; size_of::<CommandSlot>()];
        to_bytes(&copy, &mut bytes);
        CommandSlot::read_from_bytes(&bytes).ok()
    }
}

/// All acknowledgements. One writer.
#[derive(Debug)]
pub struct Acknowledgements<W> {
    words: W,
}

impl<W: SharedWords> Acknowledgements<W> {
    /// Memory that holds [`COMMAND_SLOTS`] acknowledgements.
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`] if it does not.
    pub fn new(words: W) -> Result<Acknowledgements<W>, LayOutError> {
        if words.len() < COMMAND_SLOTS * ACKNOWLEDGEMENT_WORDS {
            return Err(LayOutError::TooSmall);
        }
        Ok(Acknowledgements { words })
    }

    /// Publishes an acknowledgement; its `guard` is this function's business. `false` if there is no such slot.
    pub fn publish(&self, slot: usize, acknowledgement: &Acknowledgement) -> bool {
        if slot >= COMMAND_SLOTS {
            return false;
        }
        let base = slot * ACKNOWLEDGEMENT_WORDS;
        let odd = self.words.load(base + GUARD) | 1;
        self.words.store(base + GUARD, odd);
        for (offset, word) in
            to_words::<ACKNOWLEDGEMENT_WORDS>(acknowledgement.as_bytes()).into_iter().enumerate()
        {
            if offset != GUARD {
                self.words.store(base + offset, word);
            }
        }
        self.words.store(base + GUARD, odd.wrapping_add(1));
        true
    }

    /// The acknowledgement of a slot; `None` if there is no such slot.
    ///
    /// # Errors
    /// [`Torn`] while it is being written.
    pub fn get(&self, slot: usize) -> Result<Option<Acknowledgement>, Torn> {
        if slot >= COMMAND_SLOTS {
            return Ok(None);
        }
        let base = slot * ACKNOWLEDGEMENT_WORDS;
        let guard = self.words.load(base + GUARD);
        let mut copy = [0; ACKNOWLEDGEMENT_WORDS];
        for (offset, word) in copy.iter_mut().enumerate() {
            *word = self.words.load(base + offset);
        }
        if guard % 2 == 1 || self.words.load(base + GUARD) != guard {
            return Err(Torn);
        }
        let mut bytes = [0; size_of::<Acknowledgement>()];
        to_bytes(&copy, &mut bytes);
        Acknowledgement::read_from_bytes(&bytes).map(Some).map_err(|_| Torn)
    }
}
