//! Making a process less urgent.

use super::{Census, Undone};
use backdoors_sensor_box::Refusal;
use rustix::process::{Pid, setpriority_process};
use std::io;

/// Gives all threads of a process this nice value.
pub(super) fn set(pid: u64, start: u64, nice: u64, census: &dyn Census) -> Result<(), Undone> {
    let pid = u32::try_from(pid).map_err(|_| Refusal::NoSuchProcess)?;
    let is_it = || match census.start_of(pid) {
        None => Err(Refusal::NoSuchProcess),
        Some(found) if found != start => Err(Refusal::OtherProcess),
        Some(_) => Ok(()),
    };
    is_it()?;
    let nice = i32::try_from(nice).map_err(|_| Refusal::OutOfRange)?;
    for thread in threads(pid)? {
        match setpriority_process(Some(thread), nice) {
            // A thread that ended meanwhile needs no priority.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Its number may have become another's while that was done; then it must be told.
    is_it().map_err(Undone::from)
}

fn threads(pid: u32) -> io::Result<Vec<Pid>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let name = entry?.file_name();
        threads.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw));
    }
    Ok(threads)
}
