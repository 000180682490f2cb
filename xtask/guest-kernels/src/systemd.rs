//! Debian's systemd, two daemons against shortage of memory, and what installs packages, for guests that want them.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cache_directory;

/// Raised when what is kept of the packages changes.
const RECIPE: u32 = 2;
const STAMP: &str = "stamp.json";

/// systemd and the daemons in the cache: unpacked from Debian's packages, never installed on this machine.
#[derive(Clone, Debug)]
pub struct CachedSystemd {
    directory: PathBuf,
    stamp: Stamp,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stamp {
    recipe: u32,
    versions: Vec<(String, String)>,
}

impl CachedSystemd {
    /// The Debian suite that it comes from.
    pub const SUITE: &'static str = "bookworm";

    /// Where it is, or would be, cached.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` says where caches go.
    pub fn directory() -> Result<PathBuf> {
        Ok(cache_directory()?.join("systemd"))
    }

    /// What is cached, or `None` when that is nothing that fits this version of the program.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn find() -> Result<Option<CachedSystemd>> {
        let directory = Self::directory()?;
        let path = directory.join(STAMP);
        let stamp = match fs::read(&path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        // A stamp that does not parse is one of another version: as good as none.
        match serde_json::from_slice::<Stamp>(&stamp) {
            Ok(stamp) if stamp.recipe == RECIPE => Ok(Some(CachedSystemd { directory, stamp })),
            _ => Ok(None),
        }
    }

    /// Marks `directory` as complete, made of these packages and versions. Written last.
    ///
    /// # Errors
    /// When the stamp cannot be written.
    pub fn complete(directory: &Path, versions: Vec<(String, String)>) -> Result<()> {
        let path = directory.join(STAMP);
        fs::write(&path, serde_json::to_vec_pretty(&Stamp { recipe: RECIPE, versions })?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// What belongs at `/` in the guest. Libraries that the guest may have anyway are in `/usr/lib`, where loaders look last.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The version of one of the packages.
    #[must_use]
    pub fn version(&self, package: &str) -> Option<&str> {
        self.stamp.versions.iter().find(|(name, _)| name == package).map(|(_, version)| version.as_str())
    }
}
