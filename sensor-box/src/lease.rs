//! Who of several monitors may act on a target: one word that they change by compare-and-swap, and the token that
//! every command carries.
//!
//! A monitor that was paused may wake up, believe that it still holds the lease, and write a command. No clock can
//! prevent that. So the target itself compares: it obeys a command only while [`LeaseWord::token`] is the command's
//! own [`Token`] and names the slot that the command came in. Each takeover changes the term, so tokens of earlier
//! holders never match again (until 2³² takeovers later).

use crate::decode::DecodeError;
use crate::layout::{COMMAND_SLOTS, LeaseBits, LeaseTable};
use crate::words::SharedWords;
use crate::writer::LayOutError;
use core::mem::{offset_of, size_of};
use zerocopy::FromBytes;

/// Word 0 of a [`LeaseTable`]: `term:32 | holder's slot + 1:8 | renewals:24`, the term in the high half. Every value
/// is one; a holder that is no slot is somebody who does not renew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseWord(u64);

impl LeaseWord {
    /// The word as it is in memory.
    #[must_use]
    pub const fn from_word(word: u64) -> LeaseWord {
        LeaseWord(word)
    }

    /// The word as it goes into memory.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Changes with every takeover.
    #[must_use]
    pub const fn term(self) -> u32 {
        (self.0 >> LeaseBits::TERM_SHIFT) as u32
    }

    /// Slot of the holder; `None` if the lease is free. From a hostile target it may be no slot at all.
    #[must_use]
    pub const fn holder(self) -> Option<u32> {
        ((self.0 >> LeaseBits::HOLDER_SHIFT) as u8 as u32).checked_sub(1)
    }

    /// Grows with every renewal, and wraps.
    #[must_use]
    pub const fn renewals(self) -> u32 {
        (self.0 & LeaseBits::RENEWALS) as u32
    }

    /// What this word allows its holder to do; `None` if nobody holds it.
    #[must_use]
    pub const fn token(self) -> Option<Token> {
        match self.holder() {
            Some(_) => Some(Token(self.0 & !LeaseBits::RENEWALS)),
            None => None,
        }
    }

    /// The word by which the holder says that it is still there.
    #[must_use]
    pub const fn renewed(self) -> LeaseWord {
        let renewals = self.0.wrapping_add(1) & LeaseBits::RENEWALS;
        LeaseWord(self.0 & !LeaseBits::RENEWALS | renewals)
    }

    /// The word by which the monitor of `slot` takes the lease: the next term, so that no earlier token holds.
    #[must_use]
    pub const fn taken_by(self, slot: u32) -> LeaseWord {
        let term = self.term().wrapping_add(1) as u64;
        LeaseWord(term << LeaseBits::TERM_SHIFT | (slot as u64 + 1) << LeaseBits::HOLDER_SHIFT)
    }

    /// The word by which the holder gives the lease up: nobody's, in the same term.
    #[must_use]
    pub const fn released(self) -> LeaseWord {
        LeaseWord((self.term() as u64) << LeaseBits::TERM_SHIFT)
    }

    /// Whether a command in `slot` that carries `token` is obeyed. The kernel half does the same (`bpf/commands.h`).
    #[must_use]
    pub const fn allows(self, slot: usize, token: u64) -> bool {
        let named = (token >> LeaseBits::HOLDER_SHIFT) as u8 as usize;
        token == self.0 & !LeaseBits::RENEWALS && named == slot + 1
    }
}

/// What shows that its bearer holds the lease, or held it: term and holder of the lease word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

impl Token {
    /// As a command carries it.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The term it is of.
    #[must_use]
    pub const fn term(self) -> u32 {
        (self.0 >> LeaseBits::TERM_SHIFT) as u32
    }
}

impl core::fmt::Display for Token {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let slot = LeaseWord(self.0).holder().unwrap_or_default();
        write!(formatter, "term {} of slot {slot}", self.term())
    }
}

/// A monitor's word about itself: `preference:8 | fitness:8 | beats:48`, the preference in the highest byte. It is
/// believed only as long as it keeps changing. Zero: there is no candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Candidacy {
    /// How much its operator wants this monitor to be the one that acts; more is better.
    pub preference: u8,
    /// How well it can reach the target now, by its own judgement: 0 not at all, 255 as well as can be.
    pub fitness: u8,
    /// Changes with every beat; 48 bits, never 0 of one who is a candidate.
    pub beats: u64,
}

impl Candidacy {
    const BEATS: u64 = (1 << 48) - 1;

    /// The word as it is in memory.
    #[must_use]
    pub const fn from_word(word: u64) -> Candidacy {
        Candidacy { preference: (word >> 56) as u8, fitness: (word >> 48) as u8, beats: word & Self::BEATS }
    }

    /// The word as it goes into memory; of the beats the low 48 bits.
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.preference as u64) << 56 | (self.fitness as u64) << 48 | self.beats & Self::BEATS
    }

    /// The number of the beat after this one.
    #[must_use]
    pub const fn next_beat(self) -> u64 {
        let next = self.beats.wrapping_add(1) & Self::BEATS;
        if next == 0 { 1 } else { next }
    }
}

/// A lease table as read from a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Who holds the lease.
    pub lease: LeaseWord,
    /// By slot, what its monitor says of itself; `None` if it never said anything.
    pub candidacies: [Option<Candidacy>; COMMAND_SLOTS],
}

impl LeaseView {
    /// Bytes of the table.
    pub const BYTES: usize = size_of::<LeaseTable>();
    /// Where the lease word is.
    pub const LEASE_OFFSET: u64 = offset_of!(LeaseTable, lease) as u64;

    /// Where the candidacy of a slot is.
    #[must_use]
    pub const fn candidacy_offset(slot: u32) -> u64 {
        offset_of!(LeaseTable, candidacies) as u64 + 8 * slot as u64
    }

    /// Reads a lease table. Any words are one: what they claim of others is believed only while it changes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer bytes than [`LeaseView::BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<LeaseView, DecodeError> {
        let (have, need) = (bytes.len(), LeaseView::BYTES);
        let (raw, _) = LeaseTable::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
            what: "lease table",
            have,
            need,
        })?;
        let candidacy = |word| (word != 0).then(|| Candidacy::from_word(word));
        Ok(LeaseView { lease: LeaseWord::from_word(raw.lease), candidacies: raw.candidacies.map(candidacy) })
    }
}

/// The lease as the target sees it. It reads the word and never writes it.
#[derive(Debug)]
pub struct LeaseWords<W> {
    words: W,
}

impl<W: SharedWords> LeaseWords<W> {
    /// Memory that holds a [`LeaseTable`].
    ///
    /// # Errors
    /// [`LayOutError::TooSmall`] if it does not.
    pub fn new(words: W) -> Result<LeaseWords<W>, LayOutError> {
        if words.len() < LeaseView::BYTES / 8 {
            return Err(LayOutError::TooSmall);
        }
        Ok(LeaseWords { words })
    }

    /// The lease word.
    pub fn word(&self) -> LeaseWord {
        LeaseWord::from_word(self.words.load(offset_of!(LeaseTable, lease) / 8))
    }
}
