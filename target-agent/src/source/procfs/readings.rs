//! What `/proc` tells.

use procfs::process::{ProcState, Process, all_processes};
use procfs::{CurrentSI, KernelStats, ProcError, ProcResult};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

const PF_KTHREAD: u32 = 0x0020_0000;
const NANOSECONDS: u64 = 1_000_000_000;

/// A live process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Process id.
    pub pid: u32,
    /// The parent's; 0 outside the pid namespace.
    pub parent: u32,
    /// Real user id.
    pub user: u32,
    /// Start on the monotonic clock, nanoseconds, as exact as the kernel tells: to a hundredth of a second.
    pub start: u64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// Memory moved to swap space, bytes.
    pub swap: u64,
    /// CPU time, nanoseconds.
    pub cpu_time: u64,
    /// Command name, zero-terminated unless it fills the field.
    pub command: [u8; 16],
    /// A kernel thread.
    pub kernel: bool,
}

/// Everything at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Live processes.
    pub processes: Vec<Seen>,
    /// Processes and threads started since boot, on the whole machine.
    pub forks: u64,
    /// Processes killed for want of memory since boot, on the whole machine.
    pub oom_kills: u64,
}

/// Reads `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// What the monotonic clock lacks of the one that processes' starts are told in, which counts sleep too. Taken
    /// once: the start is part of a process's identity and must not change.
    asleep: u64,
    ticks_per_second: u64,
    page: u64,
}

impl Reader {
    /// A reader for this machine.
    #[must_use]
    pub fn new() -> Reader {
        let boot = nanoseconds(ClockId::Boottime);
        Reader {
            asleep: boot.saturating_sub(now()),
            ticks_per_second: procfs::ticks_per_second().max(1),
            page: procfs::page_size(),
        }
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// If `/proc` is not there. Processes that end meanwhile are left out.
    pub fn read(&self) -> ProcResult<Readings> {
        let processes =
            all_processes()?.filter_map(|process| self.look(&process.ok()?).ok().flatten()).collect();
        let forks = KernelStats::current()?.processes;
        let oom_kills = procfs::vmstat()?.get("oom_kill").copied().unwrap_or(0);
        Ok(Readings { processes, forks, oom_kills: u64::try_from(oom_kills).unwrap_or(0) })
    }

    /// Start and real user of the process that has this id now.
    #[must_use]
    pub fn identity(&self, pid: u32) -> Option<(u64, u32)> {
        let process = Process::new(i32::try_from(pid).ok()?).ok()?;
        let stat = process.stat().ok()?;
        Some((self.since_boot(stat.starttime), Status::read(stat.pid).ok()?.user))
    }

    fn look(&self, process: &Process) -> ProcResult<Option<Seen>> {
        let stat = process.stat()?;
        // The first thread may be gone while others go on.
        if matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead)) && stat.num_threads <= 1 {
            return Ok(None);
        }
        let status = Status::read(stat.pid)?;
        let mut command = [0; 16];
        for (to, from) in command.iter_mut().zip(stat.comm.bytes()) {
            *to = from;
        }
        Ok(Some(Seen {
            pid: stat.pid.unsigned_abs(),
            parent: stat.ppid.unsigned_abs(),
            user: status.user,
            start: self.since_boot(stat.starttime),
            rss: stat.rss * self.page,
            swap: status.swap,
            cpu_time: self.time(stat.utime + stat.stime),
            command,
            kernel: stat.flags & PF_KTHREAD != 0,
        }))
    }

    fn since_boot(&self, ticks: u64) -> u64 {
        self.time(ticks).saturating_sub(self.asleep)
    }

    fn time(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(NANOSECONDS / self.ticks_per_second)
    }
}

/// Of a process's status, read as bytes: a process that gives itself a name that is no text must not become invisible
/// by it.
struct Status {
    /// Real user id.
    user: u32,
    /// Memory moved to swap space, bytes.
    swap: u64,
}

impl Status {
    fn read(pid: i32) -> ProcResult<Status> {
        let status = std::fs::read(format!("/proc/{pid}/status"))?;
        let number = |key: &str| {
            let line =
                status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
            let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
            std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok()
        };
        let user = number("Uid:").and_then(|user| u32::try_from(user).ok());
        Ok(Status {
            user: user.ok_or_else(|| ProcError::Other(format!("process {pid} shows no user")))?,
            // Not there where the kernel has no swap.
            swap: number("VmSwap:").unwrap_or(0).saturating_mul(1024),
        })
    }
}

/// The monotonic clock, nanoseconds.
#[must_use]
pub fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let time = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
