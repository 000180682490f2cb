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

/// Byte number `position` of a stream: the same everywhere, and never the same twice in a row of 251.
#[must_use]
pub fn byte(position: u64) -> u8 {
    (position % 251) as u8 ^ (position / 251 % 13) as u8
}

/// The bytes of the stream from a position on.
#[must_use]
pub fn bytes(from: u64, length: usize) -> Vec<u8> {
    (from..from + length as u64).map(byte).collect()
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
