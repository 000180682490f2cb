//! Where in physical memory the pages of a mapping are, as a driver has to tell its NIC.

use crate::emulated::ram::message::{PAGE, PageRun};
use crate::memory::SharedMemory;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of /proc/self/pagemap for a page.
const ENTRY: u64 = 8;
const PRESENT: u64 = 1 << 63;
/// The rest of an entry that is present tells the page's number.
const NUMBER: u64 = (1 << 55) - 1;

/// The pages that `memory` is in, in its order. They mean something only as long as the kernel does not move them.
///
/// # Errors
/// What the system says; `PermissionDenied` without CAP_SYS_ADMIN, from which the kernel hides where pages are;
/// `Unsupported` for pages of another size; `NotFound` if one is not in memory.
pub(super) fn runs(memory: &SharedMemory) -> io::Result<Vec<PageRun>> {
    if rustix::param::page_size() as u64 != PAGE {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let address = memory.as_ptr() as u64;
    let first = address / PAGE;
    let count = (address + memory.len() as u64).div_ceil(PAGE) - first;
    let mut entries = vec![0; (count * ENTRY) as usize];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, first * ENTRY)?;
    numbers(&entries)
}

fn numbers(entries: &[u8]) -> io::Result<Vec<PageRun>> {
    let mut runs: Vec<PageRun> = Vec::new();
    for entry in entries.chunks_exact(ENTRY as usize) {
        let mut bytes = [0; ENTRY as usize];
        bytes.copy_from_slice(entry);
        let entry = u64::from_le_bytes(bytes);
        if entry & PRESENT == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "a page that is not in memory"));
        }
        let number = entry & NUMBER;
        if number == 0 {
            let why = "the kernel does not tell where pages are: CAP_SYS_ADMIN is needed";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        match runs.last_mut() {
            Some(PageRun(first, count)) if *first + u64::from(*count) == number => *count += 1,
            _ => runs.push(PageRun(number, 1)),
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: &[u64]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn pages_side_by_side_become_one_run() {
        let flags = PRESENT | 1 << 61;
        let found = numbers(&entries(&[7, 8, 9, 3, 10, 11].map(|number| flags | number))).unwrap();
        assert_eq!(found, [PageRun(7, 3), PageRun(3, 1), PageRun(10, 2)]);
    }

    #[test]
    fn pages_that_are_hidden_or_away_are_no_pages() {
        let kind = |numbers_: &[u64]| numbers(&entries(numbers_)).unwrap_err().kind();
        assert_eq!(kind(&[PRESENT | 7, PRESENT]), io::ErrorKind::PermissionDenied);
        assert_eq!(kind(&[PRESENT | 7, 8]), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_window_of_a_mapping_decides_how_many_pages_there_are() {
        let (_all, fd) = SharedMemory::create("test", 3 * PAGE as usize).unwrap();
        let window = |offset, length| {
            let protection = crate::Protection::ReadWrite;
            let memory =
                SharedMemory::map(std::os::fd::AsFd::as_fd(&fd), offset, length, protection).unwrap();
            for word in 0..memory.words() {
                memory.store(word, 1);
            }
            match runs(&memory) {
                Ok(runs) => runs.iter().map(|PageRun(_, count)| count).sum::<u32>(),
                // Who may not see the numbers still knows that there are pages.
                Err(error) => panic!("{error}: run the tests as root"),
            }
        };
        assert_eq!(window(0, PAGE as usize), 1);
        assert_eq!(window(8, PAGE as usize), 2);
        assert_eq!(window(PAGE - 8, PAGE as usize + 16), 3);
    }
}
