//! The one module that touches shared memory.
//!
//! The rules:
//! 1. The bytes may change at any moment: the kernel, other processes and the NIC write them. So nothing here ever
//!    hands out a reference to them, and nothing keeps a decision that a second look could overturn.
//! 2. Words of eight bytes, aligned, are read and written whole, by atomics ([`SharedMemory::load`], `store`,
//!    `compare_exchange`) or by volatile copies of whole words ([`SharedMemory::read_bytes`], `write_bytes`).
//! 3. Stores are releases and loads are acquires; a copy of bytes counts as one of either.
//! 4. Every access is checked against the mapping's length, and every write against its protection.
//! 5. A mapping lives as long as the value that owns it. Backing files must not shrink meanwhile, or an access ends
//!    the process (SIGBUS); who maps memory handed over by somebody else asks [`crate::owner::backing`] first.
#![allow(unsafe_code, reason = "mapping memory and accessing it while others write it needs raw pointers")]

mod gather;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes that are copied at once where their order does not matter: the compiler makes a few wide stores of that.
const LINE: usize = 64;

/// What this process may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Read it.
    ReadOnly,
    /// Read and write it.
    ReadWrite,
}

/// Bytes outside the mapping, or a write to a mapping that may only be read. Nothing was accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access outside the mapping or against its protection")]
pub struct OutOfRange;

/// Memory shared with the kernel, other processes or a NIC.
#[derive(Debug)]
pub struct SharedMemory {
    /// Start of the mapping, page aligned.
    mapping: *mut u8,
    /// Length of the mapping, a multiple of the page size.
    mapped: usize,
    /// First byte of the window, a multiple of eight, inside the mapping.
    start: *mut u8,
    /// Length of the window; `start + length` lies inside the mapping.
    length: usize,
    protection: Protection,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread; all accesses are atomic or volatile.
unsafe impl Send for SharedMemory {}
// SAFETY: as for `Send`: shared use is what atomic and volatile accesses are for.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps `length` bytes of a file, memfd or mmapable BPF map from `offset` on. The mapping itself covers whole
    /// pages, so neither needs to be a multiple of the page size.
    ///
    /// # Errors
    /// `InvalidInput` if `length` is 0 or too large or `offset` is no multiple of eight; otherwise what `mmap` says.
    pub fn map(
        fd: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        protection: Protection,
    ) -> io::Result<SharedMemory> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        if length == 0 {
            return Err(invalid("a mapping of no bytes"));
        }
        if !offset.is_multiple_of(8) {
            return Err(invalid("an offset that is no multiple of eight"));
        }
        let page = rustix::param::page_size();
        let skipped = (offset % page as u64) as usize;
        let mapped = length
            .checked_add(skipped)
            .and_then(|end| end.checked_next_multiple_of(page))
            .filter(|mapped| isize::try_from(*mapped).is_ok())
            .ok_or_else(|| invalid("a mapping larger than memory can be"))?;
        let flags = match protection {
            Protection::ReadOnly => ProtFlags::READ,
            Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: no address is asked for, so the kernel picks one where nothing of this process is.
        let mapping = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                mapped,
                flags,
                MapFlags::SHARED,
                fd,
                offset - skipped as u64,
            )
        }?
        .cast::<u8>();
        // SAFETY: `skipped < page <= mapped`, so the result lies in the mapping just made.
        let start = unsafe { mapping.add(skipped) };
        Ok(SharedMemory { mapping, mapped, start, length, protection })
    }

    /// Makes a memfd of `length` bytes, all zero, that cannot shrink or grow, and maps it to be written. The
    /// descriptor is for those it is to be shared with.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` say; `InvalidInput` if `length` is 0.
    pub fn create(name: &str, length: usize) -> io::Result<(SharedMemory, OwnedFd)> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, length as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let memory = SharedMemory::map(fd.as_fd(), 0, length, Protection::ReadWrite)?;
        Ok((memory, fd))
    }

    /// Length in bytes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whole words of eight bytes in it.
    #[must_use]
    pub fn words(&self) -> usize {
        self.length / 8
    }

    /// Where the first byte is in this process, for registration with a NIC. The pointer is good as long as this
    /// value; use it for accesses under the rules above alone.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.start
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words(), "word {index} of a mapping of {} words", self.words());
        // SAFETY: index * 8 + 8 <= length, so the word lies inside the mapping, which lives as long as `self`.
        let word = unsafe { self.start.cast::<u64>().add(index) };
        // SAFETY: `word` is aligned, as `start` is; the memory is shared, and only atomic accesses are made through
        // the reference, which does not leave this module.
        unsafe { AtomicU64::from_ptr(word) }
    }

    fn assert_writable(&self) {
        assert!(self.protection == Protection::ReadWrite, "a write to a mapping that may only be read");
    }

    /// The word at `index` (in words), whole; what its writer stored before it is seen after this.
    ///
    /// # Panics
    /// If there is no such word.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// Makes the word at `index` (in words) `value`; who sees it sees all that was stored before.
    ///
    /// # Panics
    /// If there is no such word, or the mapping may only be read.
    pub fn store(&self, index: usize, value: u64) {
        self.assert_writable();
        self.word(index).store(value, Ordering::Release);
    }

    /// Makes the word at `index` (in words) `new` if it is `current`; returns what it was, `Ok` if it was swapped.
    ///
    /// # Errors
    /// The word's value, if it was not `current`; then nothing changed.
    ///
    /// # Panics
    /// If there is no such word, or the mapping may only be read.
    pub fn compare_exchange(&self, index: usize, current: u64, new: u64) -> Result<u64, u64> {
        self.assert_writable();
        self.word(index).compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
    }

    /// Adds to the word at `index` (in words), wrapping around; returns what it was.
    ///
    /// # Panics
    /// If there is no such word, or the mapping may only be read.
    pub fn fetch_add(&self, index: usize, value: u64) -> u64 {
        self.assert_writable();
        self.word(index).fetch_add(value, Ordering::AcqRel)
    }

    /// Puts other memory in the place of this one, at the same address. Accesses of other threads meanwhile reach the
    /// one or the other; none fails. What was in the old memory is not carried over, and a NIC that was told of it
    /// still reaches it.
    ///
    /// # Errors
    /// `InvalidInput` if the other window has another length or place in its pages, or another protection; otherwise
    /// what `mremap` says. Nothing changed then.
    pub fn replace(&self, other: SharedMemory) -> io::Result<()> {
        let skipped = |memory: &SharedMemory| memory.start.addr() - memory.mapping.addr();
        let shape =
            |memory: &SharedMemory| (memory.length, memory.mapped, skipped(memory), memory.protection);
        if shape(self) != shape(&other) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "memory of another shape"));
        }
        // SAFETY: both ranges were mapped by this module and have the same length. That of
        // `other` is its own and nobody accesses it any more, as it was given away. That of `self` stays mapped, by
        // other memory of the same protection: the kernel exchanges the two under its lock, and all accesses to it are
        // atomic or volatile, and keep nothing of what they found there.
        unsafe {
            rustix::mm::mremap_fixed(
                other.mapping.cast(),
                other.mapped,
                self.mapped,
                MremapFlags::MAYMOVE,
                self.mapping.cast(),
            )
        }?;
        // Its range is not mapped any more: unmapping it could hit what is mapped there next.
        std::mem::forget(other);
        Ok(())
    }

    fn contains(&self, offset: usize, length: usize) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.length)
    }

    /// Copies bytes out, from `offset` on (in bytes), in rising order, aligned words whole.
    ///
    /// # Errors
    /// [`OutOfRange`]; then `into` is as it was.
    pub fn read_bytes(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfRange> {
        if !self.contains(offset, into.len()) {
            return Err(OutOfRange);
        }
        let (first, last) = unaligned_ends(offset, into.len());
        let (head, rest) = into.split_at_mut(first);
        let (middle, tail) = rest.split_at_mut(rest.len() - last);
        self.read_singly(offset, head);
        let mut at = offset + head.len();
        for word in middle.chunks_exact_mut(8) {
            // SAFETY: `contains` holds for `at` and the eight bytes behind it.
            let from = unsafe { self.start.add(at) }.cast::<u64>();
            // SAFETY: inside the mapping; aligned, as `start` is and `at` is a multiple of eight.
            let value = unsafe { from.read_volatile() };
            word.copy_from_slice(&value.to_ne_bytes());
            at += 8;
        }
        self.read_singly(at, tail);
        fence(Ordering::Acquire);
        Ok(())
    }

    /// Copies bytes in, from `offset` on (in bytes), in rising order, aligned words whole.
    ///
    /// # Errors
    /// [`OutOfRange`]; then nothing was written.
    pub fn write_bytes(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        if !self.contains(offset, from.len()) || self.protection != Protection::ReadWrite {
            return Err(OutOfRange);
        }
        fence(Ordering::Release);
        let (first, last) = unaligned_ends(offset, from.len());
        let (head, rest) = from.split_at(first);
        let (middle, tail) = rest.split_at(rest.len() - last);
        self.write_singly(offset, head);
        let mut at = offset + head.len();
        for word in middle.chunks_exact(8) {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            // SAFETY: `contains` holds for `at` and the eight bytes behind it.
            let to = unsafe { self.start.add(at) }.cast::<u64>();
            // SAFETY: inside the mapping, which may be written; aligned, as `start` is and `at` is a multiple of eight.
            unsafe { to.write_volatile(u64::from_ne_bytes(value)) };
            at += 8;
        }
        self.write_singly(at, tail);
        Ok(())
    }

    /// Copies bytes in, from `offset` on (in bytes), in any order, faster than [`SharedMemory::write_bytes`]: for what nobody
    /// reads before a word that is [stored](SharedMemory::store) afterwards tells of it.
    ///
    /// # Errors
    /// [`OutOfRange`]; then nothing was written.
    pub fn fill(&self, offset: usize, from: &[u8]) -> Result<(), OutOfRange> {
        if !self.contains(offset, from.len()) || self.protection != Protection::ReadWrite {
            return Err(OutOfRange);
        }
        fence(Ordering::Release);
        let (lines, rest) = from.as_chunks::<LINE>();
        let mut at = offset;
        for line in lines {
            // SAFETY: `contains` holds for `at` and the bytes of the line behind it.
            let to = unsafe { self.start.add(at) }.cast::<[u8; LINE]>();
            // SAFETY: inside the mapping, which may be written; bytes are always aligned.
            unsafe { to.write_volatile(*line) };
            at += LINE;
        }
        self.write_bytes(at, rest)
    }

    /// `offset` and the bytes behind it must lie in the window.
    fn read_singly(&self, offset: usize, into: &mut [u8]) {
        for (index, byte) in into.iter_mut().enumerate() {
            // SAFETY: both callers checked that `offset + into.len()` is inside the mapping.
            let from = unsafe { self.start.add(offset + index) };
            // SAFETY: inside the mapping; bytes are always aligned.
            *byte = unsafe { from.read_volatile() };
        }
    }

    /// `offset` and the bytes behind it must lie in the window, and the mapping must be writable.
    fn write_singly(&self, offset: usize, from: &[u8]) {
        for (index, byte) in from.iter().enumerate() {
            // SAFETY: both callers checked that `offset + from.len()` is inside the mapping.
            let to = unsafe { self.start.add(offset + index) };
            // SAFETY: inside the mapping, which may be written; bytes are always aligned.
            unsafe { to.write_volatile(*byte) };
        }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this very length; no pointer into it is used after this value's end.
        let unmapped = unsafe { rustix::mm::munmap(self.mapping.cast(), self.mapped) };
        debug_assert!(unmapped.is_ok());
    }
}

/// How many bytes at the start and at the end of `length` bytes at `offset` belong to words that are not whole.
fn unaligned_ends(offset: usize, length: usize) -> (usize, usize) {
    let first = (offset.next_multiple_of(8) - offset).min(length);
    (first, (length - first) % 8)
}

#[cfg(test)]
mod tests;
