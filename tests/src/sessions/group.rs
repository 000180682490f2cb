//! The control group of one host's services: hosts share a kernel, and each agent captures the connections of its own.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A control group of the unified hierarchy. Removed when dropped.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes one.
    ///
    /// # Errors
    /// If not root, or if control groups of version 2 are not mounted.
    pub fn create() -> Result<Group> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let unified = mounts.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            (fields.get(2) == Some(&"cgroup2")).then(|| fields.get(1).copied()).flatten()
        });
        let unified = Path::new(unified.context("control groups of version 2 are not mounted")?);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = unified.join(format!("backdoors-services-{}-{number}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("making {}; labs need root", folder.display()))?;
        Ok(Group { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The kernel needs a moment to forget the last process of a group.
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.folder).is_err() && self.folder.exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
