//! A bound on processes and memory, on machines with either kind of cgroups.

use super::HostLimits;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Control groups of one host, one folder per hierarchy. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folders: Vec<PathBuf>,
}

impl Cgroup {
    pub(crate) fn create(limits: HostLimits) -> Result<Cgroup> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("backdoors-lab-{}-{number}", std::process::id());
        let mut cgroup = Cgroup { folders: Vec::new() };
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            let folder = root.join(&name);
            // Refused where the controllers are enabled already; then the writes below work anyway.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+pids +memory");
            cgroup.make(folder.clone())?;
            limit(&folder.join("pids.max"), limits.processes)?;
            limit(&folder.join("memory.max"), limits.memory)?;
        } else if root.join("pids").is_dir() {
            let folder = root.join("pids").join(&name);
            cgroup.make(folder.clone())?;
            limit(&folder.join("pids.max"), limits.processes)?;
            if root.join("memory").is_dir() {
                let folder = root.join("memory").join(&name);
                cgroup.make(folder.clone())?;
                limit(&folder.join("memory.limit_in_bytes"), limits.memory)?;
            }
        } else {
            bail!("no pids controller under {}: a host could not be bounded", root.display());
        }
        Ok(cgroup)
    }

    fn make(&mut self, folder: PathBuf) -> Result<()> {
        fs::create_dir(&folder).with_context(|| format!("making {}; labs need root", folder.display()))?;
        self.folders.push(folder);
        Ok(())
    }

    /// Shell text that moves the shell itself into these groups.
    pub(crate) fn enter_script(&self) -> String {
        self.folders.iter().map(|folder| format!("echo 0 > {}/cgroup.procs && ", folder.display())).collect()
    }
}

fn limit(file: &Path, value: u64) -> Result<()> {
    fs::write(file, value.to_string()).with_context(|| format!("writing {}", file.display()))
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel needs a moment to forget the last process of a group.
        let deadline = Instant::now() + Duration::from_secs(10);
        for folder in &self.folders {
            while fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
