//! The bytes of a recording. Little endian.
//!
//! ```text
//! file     = header, padded to HEADER_BYTES · segments
//! header   = magic u64 · version u32 · length u32 of the JSON · crc u32 of version, length and JSON · 0u32 · JSON
//! segment  = magic u64 · number u64 · length u64 · run u64 · wall u64 · monotonic u64 · sequence u64 · crc u64
//!            · frames · 0u64
//! frame    = length of the payload u24 · kind u8 · crc u32 · sequence u32 · payload · padding to eight bytes
//! payload  = time u64 in nanoseconds after the segment's `monotonic`, then what the kind says, as varints
//! ```
//!
//! Segments of a recorder are of one length and are used in a circle: the one with the highest number is being
//! written. A segment's `length` counts from its magic to its end. The crc of a frame covers the segment's number,
//! the first word of the frame without the crc, its sequence and its payload; so what is left of an earlier turn
//! fails it. `sequence` counts frames over all segments: a jump means that frames are missing.
//!
//! A frame becomes visible when its first word does, which is written last; the word behind it is zeroed before. So
//! after a crash of the writer alone every frame is there whole or not at all.

use backdoors_sensor_box::CATALOGUE;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Version of this layout. A reader refuses a later one.
pub const VERSION: u32 = 1;
/// First word of the file.
pub const FILE_MAGIC: [u8; 8] = *b"BDRECORD";
/// First word of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"BDSEGMNT";
/// Where the segments begin.
pub const HEADER_BYTES: usize = 4096;
/// Length of the head of a segment.
pub const SEGMENT_HEAD_BYTES: usize = 64;
/// Length of the head of a frame.
pub const FRAME_HEAD_BYTES: usize = 12;
/// Most bytes of a payload.
pub const MOST_PAYLOAD_BYTES: usize = (1 << 24) - 1;
/// Bytes in front of the JSON of the header.
const PREFIX_BYTES: usize = 24;

/// Where a frame that begins `at` ends, and the next begins.
#[must_use]
pub fn frame_end(at: usize, payload: usize) -> usize {
    (at + FRAME_HEAD_BYTES + payload).next_multiple_of(8)
}

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the target.
    pub target: String,
    /// The program that wrote it.
    pub program: String,
    /// When the file was made, nanoseconds since 1970 UTC.
    pub created_ns: u64,
    /// The same for people.
    pub created: String,
    /// Length of a segment, bytes; 0 if they differ.
    pub segment_bytes: u64,
    /// Length of the file, bytes.
    pub length: u64,
    /// Names of the kinds of sensors, as the writer knew them.
    pub sensors: BTreeMap<u32, String>,
}

/// Why bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The magic is missing: another file, or a damaged one.
    NoMagic,
    /// A later version, whole.
    Newer(u32),
    /// Damaged or cut off.
    Damaged,
}

impl Header {
    /// A header for a new file.
    #[must_use]
    pub fn new(target: &str, wall: Duration, segment_bytes: u64, length: u64) -> Header {
        Header {
            target: target.to_owned(),
            program: concat!("backdoors ", env!("CARGO_PKG_VERSION")).to_owned(),
            created_ns: crate::clock::nanoseconds(wall),
            created: crate::clock::rfc3339(wall),
            segment_bytes,
            length,
            sensors: CATALOGUE.iter().map(|line| (line.kind.0, line.name.to_owned())).collect(),
        }
    }

    /// Its bytes, [`HEADER_BYTES`] of them; `None` if it does not fit.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let json = serde_json::to_vec(self).ok()?;
        let length = u32::try_from(json.len()).ok()?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&FILE_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&header_crc(VERSION, &json).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&json);
        (bytes.len() <= HEADER_BYTES).then(|| {
            bytes.resize(HEADER_BYTES, 0);
            bytes
        })
    }

    /// Reads a header off the front of a file.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        if !bytes.starts_with(&FILE_MAGIC) {
            return Err(HeaderError::NoMagic);
        }
        let number = |at| u32_at(bytes, at).ok_or(HeaderError::Damaged);
        let (version, length, crc) = (number(8)?, number(12)?, number(16)?);
        let json = bytes.get(PREFIX_BYTES..).and_then(|rest| rest.get(..length as usize));
        let json = json.ok_or(HeaderError::Damaged)?;
        if header_crc(version, json) != crc {
            return Err(HeaderError::Damaged);
        }
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        serde_json::from_slice(json).map_err(|_| HeaderError::Damaged)
    }
}

fn header_crc(version: u32, json: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(&(json.len() as u64).to_le_bytes());
    hasher.update(json);
    hasher.finalize()
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Counts the segments of a file, from 1.
    pub number: u64,
    /// From its magic to its end, bytes.
    pub length: u64,
    /// Which run of the monitor wrote it. The monotonic times of two runs may be of two boots.
    pub run: u64,
    /// Wall clock when it was begun, nanoseconds since 1970 UTC.
    pub wall: u64,
    /// The monitor's monotonic clock at that time, nanoseconds.
    pub monotonic: u64,
    /// Sequence of its first frame.
    pub sequence: u32,
}

impl SegmentHead {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        let words = [self.number, self.length, self.run, self.wall, self.monotonic, u64::from(self.sequence)];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        for (chunk, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let crc = u64::from(crc32fast::hash(&bytes[..56]));
        bytes[56..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a head off the front of `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<SegmentHead> {
        let bytes = bytes.get(..SEGMENT_HEAD_BYTES)?;
        let word = |index: usize| u64_at(bytes, 8 * index).unwrap_or(0);
        if !bytes.starts_with(&SEGMENT_MAGIC) || word(7) != u64::from(crc32fast::hash(&bytes[..56])) {
            return None;
        }
        let sequence = u32::try_from(word(6)).ok()?;
        Some(SegmentHead {
            number: word(1),
            length: word(2),
            run: word(3),
            wall: word(4),
            monotonic: word(5),
            sequence,
        })
    }
}

/// The crc of a frame of segment `number`.
#[must_use]
pub fn frame_crc(number: u64, kind: u8, sequence: u32, payload: &[u8]) -> u32 {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&number.to_le_bytes());
    head[8..12].copy_from_slice(&(payload.len() as u32 | u32::from(kind) << 24).to_le_bytes());
    head[12..].copy_from_slice(&sequence.to_le_bytes());
    let mut hasher = Hasher::new();
    hasher.update(&head);
    hasher.update(payload);
    hasher.finalize()
}

/// A frame in the bytes of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What it tells, see `moment.rs`.
    pub kind: u8,
    /// Its number.
    pub sequence: u32,
    /// The rest of it.
    pub payload: &'a [u8],
    /// Where the next one begins.
    pub end: usize,
}

/// What there is at a place of a segment.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// The end of what was written.
    End,
    /// Neither.
    Damage,
}

/// Looks for a frame of segment `number` at byte `at` of `segment`.
#[must_use]
pub fn frame_at(segment: &[u8], number: u64, at: usize) -> Found<'_> {
    let Some(word) = u64_at(segment, at) else { return Found::Damage };
    if word == 0 {
        return Found::End;
    }
    let (length, kind, crc) = ((word & 0xff_ffff) as usize, (word >> 24) as u8, (word >> 32) as u32);
    let Some(sequence) = u32_at(segment, at + 8) else { return Found::Damage };
    let begin = at + FRAME_HEAD_BYTES;
    let Some(payload) = segment.get(begin..).and_then(|rest| rest.get(..length)) else {
        return Found::Damage;
    };
    if frame_crc(number, kind, sequence, payload) != crc {
        return Found::Damage;
    }
    Found::Frame(Frame { kind, sequence, payload, end: frame_end(at, length) })
}

/// The word at byte `at`.
#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
