//! Streams of bytes that both ends know, and what a client and a server say to each other in labs.
//!
//! A client says what it wants in one line, and then the stream begins:
//!
//! | line | server | client |
//! | --- | --- | --- |
//! | `download N` | writes N bytes of the stream and ends | says nothing more |
//! | `echo` | writes every byte it reads, changed, and ends at the end | writes the stream |
//! | `sink` | reads to the end, then writes how many bytes came and their hash | writes the stream |

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// Byte number `position` of a stream: the same everywhere, and never the same twice in a row of 251.
#[must_use]
pub fn byte(position: u64) -> u8 {
    (position % 251) as u8 ^ (position / 251 % 13) as u8
}

/// After so many bytes the stream begins anew.
const ROUND: u64 = 251 * 13;

/// The bytes of the stream from a position on.
#[must_use]
pub fn bytes(from: u64, length: usize) -> Vec<u8> {
    static ONCE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..ROUND).map(byte).collect());
    // The remainder is less than a round.
    let first = (from % ROUND) as usize;
    let mut bytes = Vec::with_capacity(length + ROUND as usize);
    bytes.extend_from_slice(&ONCE[first..]);
    while bytes.len() < length {
        bytes.extend_from_slice(&ONCE);
    }
    bytes.truncate(length);
    bytes
}

/// What comes back for a byte.
#[must_use]
pub fn echoed(byte: u8) -> u8 {
    byte ^ 0x5a
}

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// So many bytes.
    Download(u64),
    /// What it says, changed.
    Echo,
    /// That it listens.
    Sink,
}

impl fmt::Display for Wish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Download(count) => write!(formatter, "download {count}"),
            Wish::Echo => formatter.write_str("echo"),
            Wish::Sink => formatter.write_str("sink"),
        }
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(line: &str) -> Result<Wish, String> {
        match line.trim().split_once(' ') {
            Some(("download", count)) => {
                Ok(Wish::Download(count.parse().map_err(|_| format!("`{count}` is no number"))?))
            }
            None if line.trim() == "echo" => Ok(Wish::Echo),
            None if line.trim() == "sink" => Ok(Wish::Sink),
            _ => Err(format!("`{line}` is no wish")),
        }
    }
}

/// A hash that goes on byte by byte (FNV-1a, 64 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Default for Hash {
    fn default() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// Goes on with these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_the_stream_are_its_bytes_wherever_they_begin() {
        for (from, length) in [(0, 1), (0, 10_000), (3262, 3), (5000, 0), (1 << 40, 7000)] {
            let right: Vec<u8> = (from..from + length).map(byte).collect();
            assert_eq!(bytes(from, length as usize), right, "{length} from {from}");
        }
    }

    #[test]
    fn a_wish_is_read_as_it_was_said() {
        for wish in [Wish::Download(7), Wish::Echo, Wish::Sink] {
            assert_eq!(wish.to_string().parse(), Ok(wish));
        }
        assert!("download much".parse::<Wish>().is_err());
    }
}
