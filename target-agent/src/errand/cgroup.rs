//! Stopping a control group, and having it go on (cgroup v2, `cgroup.freeze`).

use super::{Census, Undone};
use backdoors_sensor_box::Refusal;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How long a group may take until all of it stands still.
const STANDS_STILL: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Groups that are looked at before one counts as unknown.
const MOST_GROUPS: usize = 65536;

/// Where the unified hierarchy of control groups is.
#[derive(Clone, Debug)]
pub struct Hierarchy(PathBuf);

impl Hierarchy {
    /// The one that is mounted first, if any is.
    #[must_use]
    pub fn mounted() -> Option<Hierarchy> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounts.lines().find_map(Hierarchy::of_line)
    }

    /// Of a line of mountinfo: `36 25 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw`.
    fn of_line(line: &str) -> Option<Hierarchy> {
        let (mount, system) = line.split_once(" - ")?;
        (system.split(' ').next()? == "cgroup2")
            .then(|| mount.split(' ').nth(4))?
            .map(|path| Hierarchy(path.into()))
    }

    /// The group with this id: the number of its directory's inode.
    fn find(&self, id: u64) -> Result<PathBuf, Undone> {
        let mut to_visit = vec![self.0.clone()];
        let mut visited = 0;
        while let Some(path) = to_visit.pop() {
            visited += 1;
            if fs::metadata(&path).is_ok_and(|found| found.ino() == id) {
                return Ok(path);
            }
            if visited < MOST_GROUPS {
                to_visit.extend(below(&path));
            }
        }
        Err(Refusal::NoSuchCgroup.into())
    }

    /// Stops a group and all below it, or has them go on. None is stopped that has a process which no command reaches.
    pub(super) fn freeze(&self, id: u64, frozen: bool, census: &dyn Census) -> Result<(), Undone> {
        let group = self.find(id)?;
        if group == self.0 {
            return Err(Refusal::RootCgroup.into());
        }
        if frozen {
            may_be_frozen(&group, census)?;
        }
        fs::write(group.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let begun = Instant::now();
        while is_frozen(&group)? != frozen {
            if begun.elapsed() >= STANDS_STILL {
                return Err(rustix::io::Errno::TIMEDOUT.into());
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

/// Groups right below this one; those that go meanwhile are none.
fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn may_be_frozen(group: &Path, census: &dyn Census) -> Result<(), Undone> {
    let mut to_visit = vec![group.to_path_buf()];
    while let Some(path) = to_visit.pop() {
        for line in fs::read_to_string(path.join("cgroup.procs"))?.lines() {
            // 0: a process of another pid namespace, about which nothing is known here.
            let pid: u32 = line.parse().ok().filter(|pid| *pid > 0).ok_or(Refusal::Protected)?;
            let user = match fs::metadata(format!("/proc/{pid}")) {
                Ok(found) => found.uid(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            census.may_reach(pid, user)?;
        }
        to_visit.extend(below(&path));
    }
    Ok(())
}

fn is_frozen(group: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(group.join("cgroup.events"))?.lines().any(|line| line == "frozen 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unified_hierarchy_counts() {
        let of = |line| Hierarchy::of_line(line).map(|found| found.0);
        let unified = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(of(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(of("32 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
        assert_eq!(of("not a mount"), None);
    }
}
