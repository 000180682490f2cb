//! Reading: the header, and where the segments are. A recording may have been cut off or damaged, or be no recording.

use super::layout::{HEADER_BYTES, Header, HeaderError, SEGMENT_HEAD_BYTES, SegmentHead, VERSION, u64_at};
use super::moment::Gap;
use super::playback::Playback;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most bytes of a file that are read.
const MOST_BYTES: u64 = 2 << 30;
/// How often a file that is being written is read before what was overwritten meanwhile counts as damaged.
const MOST_ATTEMPTS: usize = 5;

/// Why a file is no recording that can be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refuses.
    #[error("it cannot be read: {0}")]
    System(io::Error),
    /// There is nothing in it.
    #[error("the file is empty")]
    Empty,
    /// It is another kind of file, or nothing of the recording is left.
    #[error("this is no recording of `backdoors`, or nothing of it can be read any more")]
    Foreign,
    /// A later version wrote it.
    #[error(
        "the recording has version {0} of the format, this program reads up to {VERSION}: use a later one"
    )]
    Newer(u32),
    /// It is larger than any recording.
    #[error("a file of {0} bytes is no recording: {MOST_BYTES} are the most")]
    TooLarge(u64),
}

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Recording {
    header: Option<Header>,
    bytes: Vec<u8>,
    /// By number.
    segments: Vec<Segment>,
    gaps: Vec<Gap>,
}

/// Where a segment is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub head: SegmentHead,
    pub begin: usize,
    pub end: usize,
}

impl Recording {
    /// Reads the file at `path`, which a recorder may be writing.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(path: &Path) -> Result<Recording, ReadError> {
        let mut file = File::open(path).map_err(ReadError::System)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut bytes = Vec::new();
            file.rewind().map_err(ReadError::System)?;
            (&file).take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(ReadError::System)?;
            if bytes.len() as u64 > MOST_BYTES {
                return Err(ReadError::TooLarge(file.metadata().map_err(ReadError::System)?.len()));
            }
            let recording = Recording::new(bytes)?;
            if attempts == MOST_ATTEMPTS || recording.is_still_in(&file) {
                return Ok(recording);
            }
        }
    }

    /// Looks at the bytes of a file.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn new(bytes: Vec<u8>) -> Result<Recording, ReadError> {
        let header = match Header::decode(&bytes) {
            Ok(header) => Ok(header),
            Err(HeaderError::Newer(version)) => return Err(ReadError::Newer(version)),
            Err(damage) => Err(damage),
        };
        let mut recording = Recording { header: None, bytes, segments: Vec::new(), gaps: Vec::new() };
        let stride = header.as_ref().map_or(0, |header| header.segment_bytes);
        recording.find_segments(usize::try_from(stride).unwrap_or(0));
        match header {
            Ok(header) => {
                if (recording.bytes.len() as u64) < header.length {
                    recording.gaps.push(Gap::CutOff { at: recording.bytes.len() as u64 });
                }
                recording.header = Some(header);
            }
            Err(_) if recording.bytes.is_empty() => return Err(ReadError::Empty),
            Err(_) if recording.segments.is_empty() => return Err(ReadError::Foreign),
            Err(_) => recording.gaps.insert(0, Gap::Header),
        }
        Ok(recording)
    }

    /// What the file says of itself; `None` if that is damaged.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// What of the file could not be read, apart from what [`Playback`] tells in its place.
    #[must_use]
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Plays it from the beginning.
    #[must_use]
    pub fn play(&self) -> Playback<'_> {
        Playback::new(&self.bytes, &self.segments)
    }

    /// Plays the newest segment alone, and tells where in the file that is; `None` if there is none.
    pub(super) fn newest(&self) -> Option<(Segment, Playback<'_>)> {
        let newest = self.segments.last()?;
        Some((*newest, Playback::new(&self.bytes, std::slice::from_ref(newest))))
    }

    /// Finds the segments: one behind the other, or else where the next one should be (`stride`), or is.
    fn find_segments(&mut self, stride: usize) {
        let bytes = &self.bytes;
        let mut damage: Option<usize> = None;
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let segment = SegmentHead::decode(&bytes[at..]).and_then(|head| {
                let length = usize::try_from(head.length).ok()?;
                let end = at.saturating_add(length).min(bytes.len());
                (length >= SEGMENT_HEAD_BYTES).then_some(Segment { head, begin: at, end })
            });
            if let Some(segment) = segment {
                self.gaps.extend(damage.take().map(|from| damaged(from, at)));
                self.segments.push(segment);
                at = segment.end;
                continue;
            }
            let on_stride = stride > 0 && (at - HEADER_BYTES).is_multiple_of(stride);
            if on_stride && u64_at(bytes, at) == Some(0) {
                // Not used yet, or just being taken again.
                self.gaps.extend(damage.take().map(|from| damaged(from, at)));
                at = at.saturating_add(stride);
            } else {
                damage.get_or_insert(at);
                at = at.saturating_add(if on_stride { stride } else { 8 });
            }
        }
        self.gaps.extend(damage.map(|from| damaged(from, bytes.len())));
        self.segments.sort_by_key(|segment| segment.head.number);
    }

    /// Whether no segment was taken again since it was read from `file`.
    fn is_still_in(&self, file: &File) -> bool {
        self.segments.iter().all(|segment| {
            let mut head = [0; SEGMENT_HEAD_BYTES];
            let read = file.read_exact_at(&mut head, segment.begin as u64);
            // A file that was cut off meanwhile is read once more.
            read.is_ok() && SegmentHead::decode(&head) == Some(segment.head)
        })
    }
}

fn damaged(from: usize, to: usize) -> Gap {
    Gap::Bytes { at: from as u64, count: (to - from) as u64 }
}
