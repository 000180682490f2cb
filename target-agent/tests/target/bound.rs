//! A bound on the processes of one test. Bombs are real here: whatever goes wrong, the machine must not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Processes and threads of one test, its agent and owner included.
const MOST: u32 = 300;

/// A control group. Removed when dropped.
pub struct Bound(PathBuf);

impl Bound {
    /// Makes one; a test that cannot be bounded must not run.
    pub fn new() -> Bound {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("backdoors-agent-test-{}-{:?}", std::process::id(), thread::current().id());
        let name = name.replace(['(', ')'], "");
        let parent = if root.join("cgroup.controllers").exists() {
            // Refused where the controller is enabled already; then the write below works anyway.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+pids");
            root.to_owned()
        } else {
            root.join("pids")
        };
        let bound = Bound(parent.join(name));
        fs::create_dir(&bound.0).unwrap_or_else(|error| panic!("no bound on processes: {error}"));
        fs::write(bound.0.join("pids.max"), MOST.to_string())
            .unwrap_or_else(|error| panic!("no pids controller, so no bound on processes: {error}"));
        bound
    }

    /// Shell text that puts the shell itself inside, and fails if it cannot.
    pub fn enter(&self) -> String {
        format!("echo 0 > {}/cgroup.procs", self.0.display())
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // The kernel needs a moment to forget the last process of a group.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && start.elapsed() < Duration::from_secs(10)
        {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
