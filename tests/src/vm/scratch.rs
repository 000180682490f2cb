//! Directories of virtual machines: unique, and removed even if their owner was killed.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

const PREFIX: &str = "backdoors-vm-";
/// Made once the lock is held: a directory without it may be one whose owner is about to lock it.
const OWNED: &str = "owned";

/// A directory that goes with its owner. Its owner holds a lock on it, which also goes when it is killed; then the
/// next owner of such a directory removes it.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Scratch> {
        Scratch::new_in(&std::env::temp_dir())
    }

    /// For what is to stay in memory.
    pub(super) fn in_memory() -> io::Result<Scratch> {
        Scratch::new_in(Path::new("/dev/shm"))
    }

    fn new_in(parent: &Path) -> io::Result<Scratch> {
        remove_orphans(parent);
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::open(directory.path())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::write(directory.path().join(OWNED), b"")?;
        Ok(Scratch { directory, _lock: lock })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Best effort: what cannot be removed is not ours, or is being removed by somebody else.
fn remove_orphans(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !path.join(OWNED).exists() {
            continue;
        }
        let Ok(directory) = File::open(&path) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_whose_owner_was_killed_goes_and_one_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let [used, orphan, new] =
            ["used", "orphan", "new"].map(|name| parent.path().join(format!("{PREFIX}{name}")));
        for directory in [&used, &orphan, &new] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(used.join(OWNED), b"").unwrap();
        fs::write(orphan.join(OWNED), b"").unwrap();
        let lock = File::open(&used).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        remove_orphans(parent.path());
        assert!(used.exists() && new.exists() && !orphan.exists());
    }
}
