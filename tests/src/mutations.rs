//! Commands as an enemy would write them who knows the layout, has seen many good ones, and lacks the key.

use backdoors_sensor_box::layout::CommandSlot;
use backdoors_sensor_box::{CommandKey, Seal};
use zerocopy::IntoBytes;

const WORDS: usize = size_of::<CommandSlot>() / 8;
/// Words of the code.
const MAC: std::ops::Range<usize> = 6..8;

/// Makes wrong commands of good ones. The same seed makes the same.
#[derive(Debug)]
pub struct Mutations {
    state: u64,
}

impl Mutations {
    /// Mutations that follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Mutations {
        Mutations { state: seed }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// What must not be obeyed: made of `good`, which was made by `seal` and was not written yet, and of `past`, which were
    /// obeyed already.
    pub fn wrong(&mut self, good: &CommandSlot, past: &[CommandSlot], seal: &Seal) -> CommandSlot {
        let mut words = words_of(good);
        let old = past.get(self.below(past.len().max(1))).map_or(words, words_of);
        match self.below(10) {
            // Noise, with the right number or without.
            0 => {
                words[..WORDS - 1].fill_with(|| self.next());
                if self.below(4) == 0 {
                    words[WORDS - 1] = self.next();
                }
            }
            // A few bits.
            1 | 2 => {
                for _ in 0..=self.below(4) {
                    words[self.below(WORDS)] ^= 1 << self.below(64);
                }
            }
            // A word of one's own choice.
            3 => {
                let new = self.interesting(good);
                words[self.below(WORDS)] = new;
            }
            // Words of another command, as they may be caught half written, too.
            4 => {
                let mask = self.next();
                for (index, word) in words.iter_mut().enumerate().filter(|(index, _)| mask >> index & 1 == 1)
                {
                    *word = old[index];
                }
            }
            // A replay, as it was or under the number that is next.
            5 => {
                words = old;
                if self.below(2) == 0 {
                    words[WORDS - 1] = good.sequence;
                }
            }
            // The code of another command, half of it, or none.
            6 => {
                let of = [old, [0; WORDS], [u64::MAX; WORDS]][self.below(3)];
                let part = [MAC, 6..7, 7..8][self.below(3)].clone();
                words[part.clone()].copy_from_slice(&of[part]);
            }
            // Words that changed places.
            7 => {
                let (one, other) = (self.below(WORDS), self.below(WORDS));
                words.swap(one, other);
            }
            // A code made with another key, or an honest one's for another place.
            8 => {
                let mut key = [0; 16];
                key.fill_with(|| self.next() as u8);
                let seal = Seal { key: CommandKey::from_bytes(key), ..*seal };
                words = words_of(&seal.put_on(*good));
            }
            _ => {
                let seal = match self.below(2) {
                    0 => Seal { slot: (seal.slot + 1 + self.below(15) as u32) % 16, ..*seal },
                    _ => Seal { generation: seal.generation ^ 1 << self.below(64), ..*seal },
                };
                words = words_of(&seal.put_on(*good));
            }
        }
        if words == words_of(good) {
            words[self.below(WORDS)] ^= 1;
        }
        slot_of(&words)
    }

    fn interesting(&mut self, good: &CommandSlot) -> u64 {
        let some = [
            0,
            1,
            3,
            u64::MAX,
            u64::from(u32::MAX),
            good.sequence + 1,
            good.sequence - 1,
            good.token,
            good.subject,
        ];
        some[self.below(some.len())]
    }
}

fn words_of(slot: &CommandSlot) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(slot.as_bytes().chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}

fn slot_of(words: &[u64; WORDS]) -> CommandSlot {
    let mut bytes = [0; size_of::<CommandSlot>()];
    for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    zerocopy::transmute!(bytes)
}
