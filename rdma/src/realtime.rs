//! What a process does that must go on working while its machine is sick: memory that is never paged out, and a
//! turn on the CPU before everybody else.
#![allow(unsafe_code, reason = "rustix has no sched_setscheduler")]

use rustix::mm::MlockAllFlags;
use std::io;

/// Keeps all memory of this process in RAM, also what it will map later.
///
/// # Errors
/// What `mlockall` says; without the right to, memory may be paged out as before.
pub fn lock_memory() -> io::Result<()> {
    rustix::mm::mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(io::Error::from)
}

/// Keeps memory of this process in RAM from when it is first used: for programs whose threads have more room for their stacks
/// than they need.
///
/// # Errors
/// As [`lock_memory`].
pub fn lock_used_memory() -> io::Result<()> {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(flags).map_err(io::Error::from)
}

/// Schedules the calling thread, and threads it starts from now on, before all ordinary ones (`SCHED_FIFO`).
/// `priority` is 1 to 99.
///
/// # Errors
/// What `sched_setscheduler` says; without the right to, scheduling is as before.
pub fn schedule_first(priority: i32) -> io::Result<()> {
    schedule(libc::SCHED_FIFO, priority)
}

/// Schedules the calling thread as an ordinary one again; threads it has started stay as they are.
///
/// # Errors
/// What `sched_setscheduler` says; then scheduling is as before.
pub fn schedule_ordinarily() -> io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: libc::c_int, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a live value of the type the call reads, and 0 names the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
