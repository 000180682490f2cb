//! Whose a command is: a keyed code over everything that it says, where it says so, and since when that place is there.
//!
//! The code is SipHash-2-4 of 128 bits (Aumasson and Bernstein), over 32 words: opcode and flags, subject, start, bound
//! on victims, argument, token, sequence, slot, generation, and the 23 of the reason. So the bytes of a slot are worth nothing in another slot or in memory that
//! was made anew, and the sequence, which a target accepts once, makes them worth nothing a second time. The kernel half
//! does the same in `target-agent/bpf/authentication.h`.

use crate::layout::CommandSlot;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

/// What a target and one monitor know, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CommandKey([u8; 16]);

impl CommandKey {
    /// The key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> CommandKey {
        CommandKey(bytes)
    }

    /// The word by which the holder of this key fences its target. Never 0.
    #[must_use]
    pub fn fence_word(&self) -> u64 {
        self.word_for(b"fence: be silent")
    }

    /// What a target shows to say that this key's fence word counts. It tells nobody the word. Never 0.
    #[must_use]
    pub fn fence_check(&self) -> u64 {
        self.word_for(b"fence: it counts")
    }

    /// The code of a purpose. The code of a command is made of 256 bytes, so it is never this one.
    fn word_for(&self, purpose: &[u8; 16]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(purpose);
        hasher.finish128().h1.max(1)
    }
}

impl core::fmt::Debug for CommandKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("CommandKey(secret)")
    }
}

/// What makes a command its monitor's own, in one slot of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Known to target and monitor.
    pub key: CommandKey,
    /// The monitor's slot.
    pub slot: u32,
    /// Generation of the regions.
    pub generation: u64,
}

impl Seal {
    /// The code that the command must carry in [`CommandSlot::mac`].
    #[must_use]
    pub fn code(&self, command: &CommandSlot) -> [u64; 2] {
        let words = [
            u64::from(command.opcode) | u64::from(command.flags) << 32,
            command.subject,
            command.start,
            command.most_victims,
            command.argument,
            command.token,
            command.sequence,
            u64::from(self.slot),
            self.generation,
        ];
        let mut hasher = SipHasher24::new_with_key(&self.key.0);
        words.iter().for_each(|word| hasher.write(&word.to_le_bytes()));
        hasher.write(&command.reason);
        let code = hasher.finish128();
        [code.h1, code.h2]
    }

    /// The command with its code.
    #[must_use]
    pub fn put_on(&self, command: CommandSlot) -> CommandSlot {
        CommandSlot { mac: self.code(&command), ..command }
    }

    /// Whether the command carries the right code. Takes the same time whichever bits are wrong.
    #[must_use]
    pub fn is_on(&self, command: &CommandSlot) -> bool {
        let [low, high] = self.code(command);
        (low ^ command.mac[0]) | (high ^ command.mac[1]) == 0
    }
}
