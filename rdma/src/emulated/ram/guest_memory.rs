//! A virtual machine's RAM, as the file it is outside.

use crate::emulated::ram::message::{PAGE, PageRun};
use crate::memory::{Protection, SharedMemory};
use crate::owner::{OwnerError, RegionRequest, Rights};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Most bytes of RAM. Up to here every type of PC that QEMU emulates has its RAM in one piece from address 0 on; with
/// more, a part of it lies elsewhere.
pub const MAX_RAM: u64 = 0xb000_0000;
/// File system number of hugetlbfs, `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: i64 = 0x9584_58f6;

/// The file behind a guest's RAM.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    /// Pages in it.
    pages: u64,
}

impl GuestMemory {
    /// Opens the file named by `mem-path` of QEMU's `memory-backend-file`, which must be shared.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` if it is no regular file, holds no whole pages or more than [`MAX_RAM`], or
    /// is made of huge pages.
    pub fn open(path: &Path) -> io::Result<GuestMemory> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let file = File::options().read(true).write(true).open(path)?;
        let metadata = file.metadata()?;
        let length = metadata.len();
        if !metadata.is_file() || length == 0 || !length.is_multiple_of(PAGE) {
            return Err(invalid(format!("no file of whole pages: it has {length} bytes")));
        }
        if length > MAX_RAM {
            let most = MAX_RAM >> 20;
            return Err(invalid(format!("RAM of more than {most} MiB does not lie in one piece")));
        }
        if rustix::fs::fstatfs(&file)?.f_type == HUGETLBFS {
            return Err(invalid("a file of huge pages: use one of /dev/shm".into()));
        }
        if rustix::param::page_size() as u64 != PAGE {
            return Err(invalid(format!("pages here have another size than {PAGE} bytes")));
        }
        Ok(GuestMemory { file, pages: length / PAGE })
    }

    /// Maps the pages that the guest says a region has. They are the guest's own choice, and may overlap others: what
    /// it lets be written is its own memory in any case.
    ///
    /// # Errors
    /// [`OwnerError::Invalid`] if a page lies outside its RAM or they are not as many as the region takes;
    /// [`OwnerError::Memory`] if the system does not map them.
    pub fn map(&self, region: &RegionRequest, pages: &[PageRun]) -> Result<SharedMemory, OwnerError> {
        let needed = pages_of(region)?;
        let invalid = |why: &str| Err(OwnerError::Invalid(why.into()));
        let mut given = 0u64;
        let mut pieces = Vec::with_capacity(pages.len());
        for PageRun(first, count) in pages {
            let count = u64::from(*count);
            if count == 0 || first.checked_add(count).is_none_or(|end| end > self.pages) {
                return invalid("a page outside the guest's RAM");
            }
            given += count;
            if given > needed {
                break;
            }
            // Both lie within a file of less than 3 GiB.
            pieces.push((first * PAGE, (count * PAGE) as usize));
        }
        if given != needed {
            return invalid("other pages than the region takes");
        }
        let protection = match region.rights {
            Rights::ReadOnly => Protection::ReadOnly,
            Rights::Writable => Protection::ReadWrite,
        };
        let skipped = (region.offset % PAGE) as usize;
        // It is no more than the pages given, and those lie within the file.
        let length = region.length as usize;
        SharedMemory::gather(self.file.as_fd(), &pieces, skipped, length, protection)
            .map_err(|error| OwnerError::Memory(error.to_string()))
    }
}

/// How many pages a region touches.
///
/// # Errors
/// [`OwnerError::Invalid`] if it is empty or starts or ends where no memory can be.
pub fn pages_of(region: &RegionRequest) -> Result<u64, OwnerError> {
    let end = region.offset.checked_add(region.length).filter(|end| i64::try_from(*end).is_ok());
    match end {
        Some(end) if region.length > 0 && region.offset.is_multiple_of(8) => {
            Ok(end.div_ceil(PAGE) - region.offset / PAGE)
        }
        _ => Err(OwnerError::Invalid(
            "a region has a length, an offset that is a multiple of eight, and an end within what addresses can tell"
                .into(),
        )),
    }
}
