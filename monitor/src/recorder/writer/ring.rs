//! Segments of one length in mapped memory, used in a circle.

use crate::clock::{Clock, nanoseconds};
use crate::recorder::layout::{
    FRAME_HEAD_BYTES, HEADER_BYTES, MOST_PAYLOAD_BYTES, SEGMENT_HEAD_BYTES, SegmentHead, frame_crc, frame_end,
};
use crate::recorder::scribe::Sink;
use backdoors_rdma::SharedMemory;
use std::fs::File;

/// Where frames go.
pub struct Ring {
    clock: Box<dyn Clock>,
    run: u64,
    memory: SharedMemory,
    /// Its lock keeps other writers out.
    _file: File,
    segment_bytes: usize,
    segments: usize,
    /// The segment being written: its place among the others, its number, and where the next frame begins.
    place: usize,
    number: u64,
    at: usize,
    sequence: u32,
    frame: Vec<u8>,
}

/// What an existing file says about where to go on.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Place of the newest segment.
    pub place: usize,
    /// Its number; 0 if there is none.
    pub number: u64,
    /// Sequence of the next frame.
    pub sequence: u32,
}

impl Ring {
    /// A ring in `memory`, which maps `file` from its beginning: a header, then segments. Nothing is written before
    /// the first segment is begun.
    pub fn new(
        clock: Box<dyn Clock>,
        memory: SharedMemory,
        file: File,
        segment_bytes: usize,
        end: End,
    ) -> Ring {
        let segments = (memory.len() - HEADER_BYTES) / segment_bytes;
        Ring {
            run: nanoseconds(clock.wall()),
            clock,
            memory,
            _file: file,
            segment_bytes,
            segments,
            place: end.place,
            number: end.number,
            at: segment_bytes,
            sequence: end.sequence,
            frame: Vec::with_capacity(segment_bytes / 2),
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let begin = HEADER_BYTES + self.place * self.segment_bytes;
        let written = self.memory.write_bytes(begin + at, bytes);
        debug_assert!(written.is_ok(), "all segments lie in the mapping, and all frames in their segment");
    }
}

impl Sink for Ring {
    /// Takes the oldest segment for what comes.
    fn begin(&mut self, monotonic: u64) {
        if self.number > 0 {
            self.place = (self.place + 1) % self.segments;
        }
        self.number += 1;
        let head = SegmentHead {
            number: self.number,
            length: self.segment_bytes as u64,
            run: self.run,
            wall: nanoseconds(self.clock.wall()),
            monotonic,
            sequence: self.sequence,
        };
        // Without its magic the segment is none; it becomes one again when everything else is in place.
        let bytes = head.encode();
        self.write(0, &[0; 8]);
        self.write(8, &bytes[8..]);
        self.write(SEGMENT_HEAD_BYTES, &[0; 8]);
        self.write(0, &bytes[..8]);
        self.at = SEGMENT_HEAD_BYTES;
    }

    fn append(&mut self, kind: u8, payload: &[u8]) -> bool {
        let end = frame_end(self.at, payload.len());
        // Behind it there must be room for the word that says there is nothing more.
        if payload.len() > MOST_PAYLOAD_BYTES || end + 8 > self.segment_bytes {
            return false;
        }
        let crc = frame_crc(self.number, kind, self.sequence, payload);
        let first = payload.len() as u64 | u64::from(kind) << 24 | u64::from(crc) << 32;
        self.frame.clear();
        self.frame.extend_from_slice(&self.sequence.to_le_bytes());
        self.frame.extend_from_slice(payload);
        self.frame.resize(end - self.at - 8, 0);
        self.write(end, &[0; 8]);
        self.write(self.at + 8, &self.frame);
        // This word makes the frame visible.
        self.write(self.at, &first.to_le_bytes());
        self.at = end;
        self.sequence = self.sequence.wrapping_add(1);
        true
    }

    fn could_hold(&self, payload: &[u8]) -> bool {
        FRAME_HEAD_BYTES + payload.len() + 24 <= (self.segment_bytes - SEGMENT_HEAD_BYTES) / 2
    }

    fn is_nearly_empty(&self) -> bool {
        self.at < self.segment_bytes / 4
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ring { segments, segment_bytes, number, at, sequence, .. } = self;
        formatter
            .debug_struct("Ring")
            .field("segments", segments)
            .field("segment_bytes", segment_bytes)
            .field("number", number)
            .field("at", at)
            .field("sequence", sequence)
            .finish_non_exhaustive()
    }
}
