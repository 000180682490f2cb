//! The directory: what a target shows a monitor of its memory, itself read from memory.
//!
//! The owner keeps one for each monitor, because each has keys of its own. A monitor that is connected finds new
//! regions, and sees old ones go, by reading it again; nobody on the target needs to answer.

use crate::access::{AccessError, Connection, Operation, RemoteRange};
use crate::memory::SharedMemory;
use crate::owner::Rights;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of a directory.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BDDIRECT");
/// Version of the layout. A reader refuses another.
pub const VERSION: u32 = 1;
/// Most entries a directory has; a reader refuses more.
pub const MAX_ENTRIES: usize = 256;
/// Bytes of a directory as this version writes it.
pub const BYTES: usize = size_of::<DirectoryHeader>() + MAX_ENTRIES * size_of::<DirectoryEntry>();
/// Most bytes a reader fetches of one.
pub const MAX_BYTES: usize = 64 * 1024;

/// How often a reader looks again when the owner is just writing.
const LOOKS: usize = 8;
const READ_ONLY: u32 = 1;
const WRITABLE: u32 = 2;

/// Head of the directory, little endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DirectoryHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of this header in bytes; entries start there.
    pub header_bytes: u32,
    /// Odd while the owner writes.
    pub sequence: u64,
    /// Entries in use.
    pub count: u32,
    /// Size of an entry in bytes. A newer owner may have longer ones.
    pub entry_bytes: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

/// One region, little endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DirectoryEntry {
    /// What the region holds.
    pub kind: u32,
    /// 1: may be read; 2: may be written too.
    pub rights: u32,
    /// Remote address of its first byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// The remote key.
    pub key: u32,
    /// Zero.
    pub reserved: u32,
    /// Generation of the region.
    pub generation: u64,
}

const _: () = {
    assert!(size_of::<DirectoryHeader>() == 64);
    assert!(offset_of!(DirectoryHeader, sequence) == SEQUENCE as usize);
    assert!(size_of::<DirectoryEntry>() == 40);
    assert!(BYTES <= MAX_BYTES);
    assert!(cfg!(target_endian = "little"), "layouts are read in place");
};

/// Where the sequence is, in bytes.
const SEQUENCE: u64 = 16;

/// A region as a monitor may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// What it holds.
    pub kind: u32,
    /// Where it is, and the key to it.
    pub range: RemoteRange,
    /// Its generation.
    pub generation: u64,
    /// What may be done with it.
    pub rights: Rights,
}

/// A validated directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    sequence: u64,
    regions: Vec<Region>,
}

impl Directory {
    /// The region of this kind.
    #[must_use]
    pub fn region(&self, kind: u32) -> Option<Region> {
        self.regions.iter().find(|region| region.kind == kind).copied()
    }

    /// All regions, in the owner's order.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Changes whenever the owner writes the directory anew. Eight bytes at [`Directory::sequence_in`] of it, little
    /// endian: who reads them along with others sees that there are other regions now.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Where the sequence of the directory at `range` is.
    #[must_use]
    pub fn sequence_in(range: RemoteRange) -> Option<RemoteRange> {
        range.slice(SEQUENCE, 8)
    }

    /// Validates bytes that came from another machine.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn decode(bytes: &[u8]) -> Result<Directory, DirectoryError> {
        let (header, _) = DirectoryHeader::read_from_prefix(bytes).map_err(|_| DirectoryError::Short)?;
        if header.magic != MAGIC {
            return Err(DirectoryError::Magic(header.magic));
        }
        if header.version != VERSION {
            return Err(DirectoryError::Version(header.version));
        }
        if header.sequence % 2 == 1 {
            return Err(DirectoryError::Torn);
        }
        let count = header.count as usize;
        let entry_bytes = header.entry_bytes as usize;
        let start = header.header_bytes as usize;
        if count > MAX_ENTRIES {
            return Err(DirectoryError::Count(header.count));
        }
        if start < size_of::<DirectoryHeader>() || entry_bytes < size_of::<DirectoryEntry>() {
            return Err(DirectoryError::Sizes { header: header.header_bytes, entry: header.entry_bytes });
        }
        let end = count
            .checked_mul(entry_bytes)
            .and_then(|entries| entries.checked_add(start))
            .ok_or(DirectoryError::Short)?;
        let entries = bytes.get(start..end).ok_or(DirectoryError::Short)?;
        let mut regions: Vec<Region> = Vec::with_capacity(count);
        for (index, entry) in entries.chunks_exact(entry_bytes).enumerate() {
            let (entry, _) = DirectoryEntry::read_from_prefix(entry).map_err(|_| DirectoryError::Short)?;
            let region = decode_entry(&entry).map_err(|why| DirectoryError::Entry { index, why })?;
            if regions.iter().any(|other| other.kind == region.kind) {
                return Err(DirectoryError::Entry { index, why: "its kind comes twice" });
            }
            regions.push(region);
        }
        Ok(Directory { sequence: header.sequence, regions })
    }

    /// Reads the directory at `range`, again if the owner is just writing it.
    ///
    /// # Errors
    /// See [`FetchDirectoryError`]. After a torn or wrong directory the connection is as good as before.
    pub fn fetch(
        connection: &mut dyn Connection,
        range: RemoteRange,
    ) -> Result<Directory, FetchDirectoryError> {
        let length = range.length.min(MAX_BYTES as u64);
        let whole = range.slice(0, length).ok_or(DirectoryError::Short)?;
        let sequence = Directory::sequence_in(range).ok_or(DirectoryError::Short)?;
        let mut bytes = vec![0; length as usize];
        for _ in 0..LOOKS {
            let (mut before, mut after) = ([0; 8], [0; 8]);
            connection.submit(&mut [
                Operation::Read { from: sequence, into: &mut before },
                Operation::Read { from: whole, into: &mut bytes },
                Operation::Read { from: sequence, into: &mut after },
            ])?;
            if before != after {
                continue;
            }
            match Directory::decode(&bytes) {
                Err(DirectoryError::Torn) => {}
                other => return Ok(other?),
            }
        }
        Err(DirectoryError::Torn.into())
    }
}

fn decode_entry(entry: &DirectoryEntry) -> Result<Region, &'static str> {
    let rights = match entry.rights {
        READ_ONLY => Rights::ReadOnly,
        WRITABLE => Rights::Writable,
        _ => return Err("it grants unknown rights"),
    };
    if entry.length == 0 {
        return Err("it is empty");
    }
    if entry.address.checked_add(entry.length).is_none() {
        return Err("it reaches past the end of memory");
    }
    Ok(Region {
        kind: entry.kind,
        range: RemoteRange { address: entry.address, length: entry.length, key: entry.key },
        generation: entry.generation,
        rights,
    })
}

/// Why bytes are no directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Fewer bytes than it claims to have.
    #[error("the directory is cut off")]
    Short,
    /// Not a directory.
    #[error("no directory: it starts with {0:#018x}")]
    Magic(u64),
    /// Of a version this program cannot read: update the older side.
    #[error("the directory has version {0}, this program reads {VERSION}: update the older side")]
    Version(u32),
    /// Caught in the middle of a change. A retry helps, unless its writer died.
    #[error("the directory is being written; look again")]
    Torn,
    /// More entries than there can be.
    #[error("the directory claims {0} entries, more than {MAX_ENTRIES}")]
    Count(u32),
    /// Header or entries shorter than this version's.
    #[error("the directory claims a header of {header} and entries of {entry} bytes, too short")]
    Sizes {
        /// Claimed size of the header.
        header: u32,
        /// Claimed size of an entry.
        entry: u32,
    },
    /// An entry that cannot be right.
    #[error("entry {index} of the directory is wrong: {why}")]
    Entry {
        /// Which.
        index: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// Why the directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FetchDirectoryError {
    /// The target's memory could not be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What was read is no directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The owner's side: writes one monitor's directory.
#[derive(Debug)]
pub struct DirectoryWriter {
    memory: Arc<SharedMemory>,
    sequence: u64,
}

impl DirectoryWriter {
    /// Makes an empty directory in memory of its own.
    ///
    /// # Errors
    /// As [`SharedMemory::create`].
    pub fn create() -> io::Result<(DirectoryWriter, OwnedFd)> {
        let (memory, fd) = SharedMemory::create("backdoors-directory", BYTES)?;
        let mut writer = DirectoryWriter { memory: Arc::new(memory), sequence: 0 };
        writer.publish(&[]);
        Ok((writer, fd))
    }

    /// The memory to be registered, read-only, for its monitor.
    #[must_use]
    pub fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// Replaces all entries. A reader sees the old ones, the new ones, or that they are being written.
    ///
    /// # Panics
    /// If there are more than [`MAX_ENTRIES`]; owners hold no more regions than that.
    pub fn publish(&mut self, regions: &[Region]) {
        assert!(regions.len() <= MAX_ENTRIES, "a directory of {} regions", regions.len());
        let sequence_word = SEQUENCE as usize / 8;
        self.memory.store(sequence_word, self.sequence + 1);
        let header = DirectoryHeader {
            magic: MAGIC,
            version: VERSION,
            header_bytes: size_of::<DirectoryHeader>() as u32,
            sequence: self.sequence + 1,
            count: regions.len() as u32,
            entry_bytes: size_of::<DirectoryEntry>() as u32,
            reserved: [0; 4],
        };
        let entries = regions.iter().map(|region| DirectoryEntry {
            kind: region.kind,
            rights: match region.rights {
                Rights::ReadOnly => READ_ONLY,
                Rights::Writable => WRITABLE,
            },
            address: region.range.address,
            length: region.range.length,
            key: region.range.key,
            reserved: 0,
            generation: region.generation,
        });
        let mut bytes = header.as_bytes().to_vec();
        entries.for_each(|entry| bytes.extend_from_slice(entry.as_bytes()));
        for (index, word) in bytes.chunks_exact(8).enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            // Each store is a release, so none of them is seen before the odd sequence is.
            self.memory.store(index, u64::from_le_bytes(value));
        }
        self.sequence += 2;
        self.memory.store(sequence_word, self.sequence);
    }
}

#[cfg(test)]
mod tests;
