//! The file of a recorder: made, checked, locked and mapped.

use super::LEAST_BYTES;
use super::ring::{End, Ring};
use crate::clock::Clock;
use crate::recorder::layout::{HEADER_BYTES, Header, HeaderError};
use crate::recorder::reader::Recording;
use backdoors_rdma::{Protection, SharedMemory};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of a recording: more is a slip in the configuration.
const MOST_BYTES: u64 = 1 << 30;
/// Segments of a recording, and the length from which on there are so many.
const SEGMENTS: u64 = 16;
const LONG_SEGMENT: u64 = 256 << 10;

/// Why a target cannot be recorded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No file can be called so.
    #[error("`{0}` cannot be the name of a recording: use letters, digits, dots, dashes and underscores")]
    Name(String),
    /// The size cannot serve.
    #[error("a recording of {0} bytes: it takes from {LEAST_BYTES} to {MOST_BYTES}")]
    Size(u64),
    /// The file there is no recording.
    #[error("{0} is no recording and is left alone: move it away, or record into another folder")]
    Foreign(PathBuf),
    /// The file there is the recording of another target.
    #[error("{path} is the recording of target `{found}` and is left alone: move it away")]
    OfAnother {
        /// The file.
        path: PathBuf,
        /// The target it names.
        found: String,
    },
    /// Another monitor records into it.
    #[error("{0} is being written by another monitor: stop it, or record into another folder")]
    InUse(PathBuf),
    /// The system refuses.
    #[error(
        "cannot record into {path}: {error}; make its folder for this user, or name another as `recorder`"
    )]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The file that records `target` in `folder`.
#[must_use]
pub fn file_of(folder: &Path, target: &str) -> PathBuf {
    folder.join(format!("{target}.recording"))
}

/// Opens the recording of `target`, or makes it.
pub fn open(folder: &Path, target: &str, bytes: u64, clock: Box<dyn Clock>) -> Result<Ring, OpenError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
    if target.is_empty() || target.len() > 64 || !target.chars().all(plain) {
        return Err(OpenError::Name(target.to_owned()));
    }
    if !(LEAST_BYTES..=MOST_BYTES).contains(&bytes) {
        return Err(OpenError::Size(bytes));
    }
    let path = file_of(folder, target);
    let failed = |error| OpenError::System { path: path.clone(), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let segments = (bytes / LONG_SEGMENT).clamp(2, SEGMENTS);
    let segment_bytes = (bytes - HEADER_BYTES as u64) / segments / 8 * 8;
    let length = HEADER_BYTES as u64 + segments * segment_bytes;
    let (file, end) = match existing(&path, target, segment_bytes, length)? {
        Some(found) => found,
        None => (
            make(&path, target, clock.wall(), segment_bytes, length)?,
            End { place: 0, number: 0, sequence: 0 },
        ),
    };
    let map = |length| SharedMemory::map(file.as_fd(), 0, length, Protection::ReadWrite);
    let memory = usize::try_from(length).map_err(io::Error::other).and_then(map).map_err(failed)?;
    Ok(Ring::new(clock, memory, file, segment_bytes as usize, end))
}

/// The file if it is there and can be gone on with. If it is a recording that cannot, it is renamed.
fn existing(
    path: &Path,
    target: &str,
    segment_bytes: u64,
    length: u64,
) -> Result<Option<(File, End)>, OpenError> {
    let failed = |error| OpenError::System { path: path.to_owned(), error };
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    lock(&file, path)?;
    let found = file.metadata().map_err(failed)?.len();
    let bytes = if found > 2 * MOST_BYTES { Vec::new() } else { std::fs::read(path).map_err(failed)? };
    let header = match Header::decode(&bytes) {
        Ok(header) => Some(header),
        Err(HeaderError::NoMagic) => return Err(OpenError::Foreign(path.to_owned())),
        Err(HeaderError::Newer(_) | HeaderError::Damaged) => None,
    };
    if let Some(header) = header {
        if header.target != target {
            return Err(OpenError::OfAnother { path: path.to_owned(), found: header.target });
        }
        if header.segment_bytes == segment_bytes
            && found == length
            && let Some(end) = Recording::new(bytes).ok().and_then(|recording| end(&recording, segment_bytes))
        {
            return Ok(Some((file, end)));
        }
    }
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    std::fs::rename(path, old).map_err(failed)?;
    Ok(None)
}

/// Where a recorder goes on in `recording`; `None` if there is no going on.
fn end(recording: &Recording, segment_bytes: u64) -> Option<End> {
    let Some((segment, mut playback)) = recording.newest() else {
        return Some(End { place: 0, number: 0, sequence: 0 });
    };
    while playback.next().is_some() {}
    let number = Some(segment.head.number).filter(|number| *number < u64::MAX / 2)?;
    let place = (segment.begin - HEADER_BYTES) / usize::try_from(segment_bytes).ok()?;
    Some(End { place, number, sequence: playback.sequence().unwrap_or(0) })
}

/// A new file of its full length, that appears under its name when it is whole.
fn make(
    path: &Path,
    target: &str,
    wall: Duration,
    segment_bytes: u64,
    length: u64,
) -> Result<File, OpenError> {
    let failed = |error| OpenError::System { path: path.to_owned(), error };
    let header = Header::new(target, wall, segment_bytes, length).encode();
    let header = header.ok_or_else(|| failed(io::Error::other("the catalogue does not fit the header")))?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    lock(&file, path)?;
    file.set_len(0).map_err(failed)?;
    // All of it is taken now, so that a full disk is an error here and no signal when memory is written.
    match fallocate(&file, FallocateFlags::empty(), 0, length) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::copy(&mut io::Read::take(io::repeat(0), length), &mut file).map_err(failed)?;
            io::Seek::rewind(&mut file).map_err(failed)?;
        }
        Err(error) => return Err(failed(error.into())),
    }
    file.write_all(&header).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)?;
    Ok(file)
}

fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse(path.to_owned())),
        Err(error) => Err(OpenError::System { path: path.to_owned(), error: error.into() }),
    }
}
