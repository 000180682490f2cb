//! Which memory an owner dares to map: an access must never end its process, whoever handed the memory over.

use crate::owner::OwnerError;
use rustix::fs::{FallocateFlags, SealFlags};
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};

/// File system number of hugetlbfs, `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: i64 = 0x9584_58f6;
/// `BPF_MAP_TYPE_ARRAY` of linux/bpf.h.
const BPF_ARRAY: u64 = 2;
/// `BPF_F_MMAPABLE` of linux/bpf.h.
const BPF_MMAPABLE: u64 = 1 << 10;

/// Checks that `fd` is memory that holds `length` bytes from `offset` on and can never hold fewer: a memfd sealed
/// against shrinking, whose pages are made here and now, or a mmapable BPF array map.
///
/// # Errors
/// [`OwnerError::Memory`] if it is something else or too small; [`OwnerError::Invalid`] if `offset` is no multiple of
/// eight or the region is empty or reaches past what addresses can tell.
pub fn check(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), OwnerError> {
    let end = end_of(offset, length)?;
    // Nothing before this asks a file system: one in user space could keep the owner waiting for ever.
    let size = match rustix::fs::fcntl_get_seals(fd) {
        Ok(seals) => memfd_size(fd, seals)?,
        Err(_) => bpf_array_size(fd)?,
    };
    if end > size {
        return Err(too_small(size, end));
    }
    if rustix::fs::fcntl_get_seals(fd).is_ok() {
        rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, offset, length)
            .map_err(|error| OwnerError::Memory(format!("its pages cannot be had: {error}")))?;
    }
    Ok(())
}

/// Checks that `fd` is memory that holds `length` bytes from `offset` on, can never hold fewer, and whose pages the
/// kernel never moves to another place in physical memory: a mmapable BPF array map. Those of a memfd may be moved
/// even if they are locked.
///
/// # Errors
/// As [`check`].
pub fn check_unmovable(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), OwnerError> {
    let end = end_of(offset, length)?;
    if rustix::fs::fcntl_get_seals(fd).is_ok() {
        return Err(OwnerError::Memory(
            "the kernel may move the pages of a memfd, and this NIC could not follow: pass a mmapable BPF array map"
                .into(),
        ));
    }
    let size = bpf_array_size(fd)?;
    if end > size {
        return Err(too_small(size, end));
    }
    Ok(())
}

fn end_of(offset: u64, length: u64) -> Result<u64, OwnerError> {
    if length == 0 || !offset.is_multiple_of(8) {
        return Err(OwnerError::Invalid(
            "a region has a length, and an offset that is a multiple of eight".into(),
        ));
    }
    offset
        .checked_add(length)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| OwnerError::Invalid("a region that reaches past what addresses can tell".into()))
}

fn too_small(size: u64, end: u64) -> OwnerError {
    OwnerError::Memory(format!("it has {size} bytes, the region would end at {end}"))
}

fn memfd_size(fd: BorrowedFd<'_>, seals: SealFlags) -> Result<u64, OwnerError> {
    let failed = |error| OwnerError::Memory(format!("it cannot be examined: {error}"));
    if !seals.contains(SealFlags::SHRINK) {
        return Err(OwnerError::Memory("a file that is not sealed against shrinking".into()));
    }
    if rustix::fs::fstatfs(fd).map_err(failed)?.f_type == HUGETLBFS {
        return Err(OwnerError::Memory("a file of huge pages".into()));
    }
    let size = rustix::fs::fstat(fd).map_err(failed)?.st_size;
    u64::try_from(size).map_err(|_| OwnerError::Memory("a file of negative size".into()))
}

fn bpf_array_size(fd: BorrowedFd<'_>) -> Result<u64, OwnerError> {
    let other = || OwnerError::Memory("neither a memfd nor a mmapable BPF array map".into());
    let mut text = String::new();
    std::fs::File::open(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .map_err(|error| OwnerError::Memory(format!("it cannot be examined: {error}")))?;
    array_size(&text).ok_or_else(other)
}

/// Bytes of the array map that /proc describes so; `None` if it is anything else.
fn array_size(fdinfo: &str) -> Option<u64> {
    let field = |name: &str| {
        let value = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        }
    };
    (field("map_type")? == BPF_ARRAY && field("map_flags")? & BPF_MMAPABLE != 0).then_some(())?;
    field("value_size")?.checked_next_multiple_of(8)?.checked_mul(field("max_entries")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use std::os::fd::AsFd;

    fn refusal(fd: impl AsFd, offset: u64, length: u64) -> String {
        check(fd.as_fd(), offset, length).unwrap_err().to_string()
    }

    #[test]
    fn a_sealed_memfd_is_good_up_to_its_last_byte() {
        let (_memory, fd) = crate::SharedMemory::create("test", 100).unwrap();
        assert_eq!(check(fd.as_fd(), 0, 100), Ok(()));
        assert_eq!(check(fd.as_fd(), 96, 4), Ok(()));
        assert!(refusal(&fd, 96, 5).contains("it has 100 bytes, the region would end at 101"));
    }

    #[test]
    fn regions_without_bytes_or_sense_are_refused() {
        let (_memory, fd) = crate::SharedMemory::create("test", 4096).unwrap();
        for (offset, length) in [(0, 0), (4, 8), (u64::MAX - 7, 8), (8, u64::MAX), (i64::MAX as u64 - 7, 64)]
        {
            assert!(
                matches!(check(fd.as_fd(), offset, length), Err(OwnerError::Invalid(_))),
                "{offset} {length}"
            );
        }
    }

    #[test]
    fn what_could_shrink_is_refused() {
        let memfd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&memfd, 4096).unwrap();
        assert!(refusal(&memfd, 0, 64).contains("not sealed against shrinking"));
    }

    #[test]
    fn what_is_no_memory_is_refused() {
        let (_reader, pipe) = std::io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        let directory = std::fs::File::open("/proc/self").unwrap();
        for fd in [pipe.as_fd(), event.as_fd(), directory.as_fd()] {
            assert!(refusal(fd, 0, 64).contains("neither a memfd nor a mmapable BPF array map"));
        }
        assert!(refusal(&file, 0, 64).contains("cannot be registered"));
    }

    #[test]
    fn only_mmapable_array_maps_have_a_size() {
        let text = |kind, flags, value: u64, entries: u64| {
            format!(
                "pos:\t0\nflags:\t02000002\nmap_type:\t{kind}\nkey_size:\t4\nvalue_size:\t{value}\nmax_entries:\t{entries}\nmap_flags:\t{flags}\n"
            )
        };
        assert_eq!(array_size(&text(2, "0x400", 12, 10)), Some(160));
        assert_eq!(array_size(&text(1, "0x400", 12, 10)), None);
        assert_eq!(array_size(&text(2, "0x0", 12, 10)), None);
        assert_eq!(array_size(&text(2, "0x400", u64::MAX, 10)), None);
        assert_eq!(array_size(&text(2, "0x400", u64::MAX / 16 * 8, 10)), None);
        assert_eq!(array_size("pos:\t0\n"), None);
    }
}
