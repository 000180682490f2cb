//! Room for the descriptors of many sessions.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsFd;

/// Raises this process's limit of open files as far as it may, and has the kernel make its table large enough for `count` of them.
/// It would grow when they come, and each time keep the threads of this process waiting for all processors: many milliseconds
/// where sessions are taken over within a few. Tells the most that there can be, if that is less. `any` is any descriptor.
///
/// # Errors
/// What the system says. All goes on as before, then.
pub fn make_room(count: u64, any: impl AsFd) -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    let most = maximum.unwrap_or(u64::MAX);
    let last = i32::try_from(count.min(most).saturating_sub(1)).unwrap_or(i32::MAX);
    // A table never shrinks again.
    drop(fcntl_dupfd_cloexec(any, last)?);
    Ok(maximum.filter(|most| *most < count))
}
