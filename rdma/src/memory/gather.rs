//! Pieces of a file mapped side by side, as a NIC's translation table makes scattered pages one region.

use super::{Protection, SharedMemory};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::BorrowedFd;

impl SharedMemory {
    /// Maps pieces of a file one behind the other, and of the result the `length` bytes from `offset` on. A piece is
    /// its place in the file and its length, in bytes, both multiples of the page size. All of them must lie within
    /// the file, which must not shrink, or an access ends the process.
    ///
    /// # Errors
    /// `InvalidInput` if a piece is not made of pages, if the bytes wanted are none or not within the pieces, or if
    /// `offset` is no multiple of eight; otherwise what `mmap` says.
    pub fn gather(
        fd: BorrowedFd<'_>,
        pieces: &[(u64, usize)],
        offset: usize,
        length: usize,
        protection: Protection,
    ) -> io::Result<SharedMemory> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let page = rustix::param::page_size();
        let whole = |(at, length): &(u64, usize)| {
            *length > 0 && length.is_multiple_of(page) && at.is_multiple_of(page as u64)
        };
        if !pieces.iter().all(whole) {
            return Err(invalid("a piece that is not made of pages"));
        }
        let mapped = pieces
            .iter()
            .try_fold(0usize, |sum, (_, length)| sum.checked_add(*length))
            .filter(|mapped| isize::try_from(*mapped).is_ok())
            .ok_or_else(|| invalid("a mapping larger than memory can be"))?;
        let fits = offset.checked_add(length).is_some_and(|end| end <= mapped);
        if length == 0 || !offset.is_multiple_of(8) || !fits {
            return Err(invalid("bytes that the pieces do not have"));
        }

        // SAFETY: no address is asked for, so the kernel picks one where nothing of this process is.
        let mapping = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?
        .cast::<u8>();
        // SAFETY: `offset < mapped`, so the result lies in the mapping just made.
        let start = unsafe { mapping.add(offset) };
        // From here on, dropping it unmaps everything: also what was put into the place reserved.
        let memory = SharedMemory { mapping, mapped, start, length, protection };
        let flags = match protection {
            Protection::ReadOnly => ProtFlags::READ,
            Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        let mut filled = 0;
        for (at, length) in pieces {
            // SAFETY: `filled` is less than `mapped`, the sum of all lengths.
            let place = unsafe { mapping.add(filled) };
            // SAFETY: `length` bytes from `place` on lie in the mapping made above, which is this value's alone and
            // which nobody has been given a pointer into.
            unsafe {
                rustix::mm::mmap(place.cast(), *length, flags, MapFlags::SHARED | MapFlags::FIXED, fd, *at)
            }?;
            filled += length;
        }
        Ok(memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn scattered_pages_look_like_one_piece_of_memory() {
        let page = rustix::param::page_size();
        let (file, fd) = SharedMemory::create("test", 8 * page).unwrap();
        let pieces = [(5 * page as u64, page), (page as u64, 2 * page)];
        let memory =
            SharedMemory::gather(fd.as_fd(), &pieces, 16, 3 * page - 16, Protection::ReadWrite).unwrap();
        let bytes: Vec<u8> = (0..memory.len()).map(|place| (place % 251) as u8).collect();
        memory.write_bytes(0, &bytes).unwrap();
        let mut found = vec![0; bytes.len()];
        file.read_bytes(5 * page + 16, &mut found[..page - 16]).unwrap();
        file.read_bytes(page, &mut found[page - 16..]).unwrap();
        assert_eq!(found, bytes);
        assert!(memory.read_bytes(1, &mut found).is_err());
        drop(memory);
        assert_eq!(file.load(5 * page / 8), 0);
    }

    #[test]
    fn what_is_not_made_of_pages_or_not_there_is_not_gathered() {
        let page = rustix::param::page_size();
        let (_file, fd) = SharedMemory::create("test", 2 * page).unwrap();
        let gather = |pieces: &[(u64, usize)], offset, length| {
            SharedMemory::gather(fd.as_fd(), pieces, offset, length, Protection::ReadOnly)
                .map_err(|error| error.kind())
        };
        let all = [(0, 2 * page)];
        for (pieces, offset, length) in [
            (&all[..], 0, 2 * page + 1),
            (&all, 4, 8),
            (&all, 0, 0),
            (&all, usize::MAX - 7, 16),
            (&[], 0, 8),
            (&[(8, page)], 0, 8),
            (&[(0, 8)], 0, 8),
            (&[(0, 0), (0, page)], 0, 8),
            (&[(0, usize::MAX - page + 1), (0, page)], 0, 8),
        ] {
            assert_eq!(gather(pieces, offset, length).err(), Some(io::ErrorKind::InvalidInput));
        }
        assert!(gather(&all, 8, 2 * page - 8).is_ok());
    }
}
