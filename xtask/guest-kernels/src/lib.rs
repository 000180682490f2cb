//! The kernels that virtual machines of the tests boot, and where they are cached.
//!
//! They are Debian's own, unpacked but never installed on this machine. `cargo xtask setup` fills the cache and
//! the virtual-machine lab reads it. The same goes for what guests with systemd have.

mod systemd;

use std::{
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

pub use self::systemd::CachedSystemd;

/// Raised when a cache made by an older version of this program no longer fits, for instance because the list of
/// modules has grown.
pub const RECIPE: u32 = 2;

/// A kernel that the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// The newest that Debian backports to its stable release: its eBPF programs can signal any task.
    Newest,
    /// The long-term 6.1 of Debian 12: its eBPF programs can signal only the task they interrupt.
    Stable61,
}

impl Kernel {
    /// Every kernel that `cargo xtask setup` provides.
    pub const ALL: [Kernel; 2] = [Kernel::Newest, Kernel::Stable61];

    /// The name of its directory in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Newest => "newest",
            Kernel::Stable61 => "stable-6.1",
        }
    }

    /// The Debian suite whose `linux-image-amd64` it is.
    pub fn suite(self) -> &'static str {
        match self {
            Kernel::Newest => "trixie-backports",
            Kernel::Stable61 => "bookworm",
        }
    }

    /// Where it is, or would be, cached.
    ///
    /// # Errors
    /// When neither `XDG_CACHE_HOME` nor `HOME` says where caches go.
    pub fn directory(self) -> Result<PathBuf> {
        Ok(cache_directory()?.join("kernels").join(self.name()))
    }

    /// The cached kernel, or `None` when there is none that fits this version of the program.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn cached(self) -> Result<Option<CachedKernel>> {
        let directory = self.directory()?;
        let path = directory.join(STAMP);
        let stamp = match fs::read(&path) {
            Ok(stamp) => stamp,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        // A stamp that does not parse is one of another version: as good as none.
        match serde_json::from_slice::<Stamp>(&stamp) {
            Ok(stamp) if stamp.recipe == RECIPE => Ok(Some(CachedKernel { directory, stamp })),
            _ => Ok(None),
        }
    }
}

const STAMP: &str = "stamp.json";

/// What is known of a cached kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// [`RECIPE`] when it was cached.
    pub recipe: u32,
    /// As `uname -r` prints it.
    pub release: String,
    /// Version of the Debian package it comes from.
    pub version: String,
}

impl Stamp {
    /// Marks `directory` as holding a complete kernel. Written last.
    ///
    /// # Errors
    /// When the stamp cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(STAMP);
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct CachedKernel {
    directory: PathBuf,
    stamp: Stamp,
}

impl CachedKernel {
    /// As `uname -r` prints it.
    pub fn release(&self) -> &str {
        &self.stamp.release
    }

    /// Version of the Debian package it comes from.
    pub fn version(&self) -> &str {
        &self.stamp.version
    }

    /// The compressed kernel that a boot loader takes.
    pub fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// What belongs at `/lib/modules/RELEASE` in the guest: plain modules and the indices of `depmod`.
    pub fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.stamp.release)
    }
}

/// Where this project keeps what it fetched: `$XDG_CACHE_HOME/backdoors`, else `~/.cache/backdoors`.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
pub fn cache_directory() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if let Some(cache) = absolute("XDG_CACHE_HOME") {
        return Ok(cache.join("backdoors"));
    }
    match absolute("HOME") {
        Some(home) => Ok(home.join(".cache/backdoors")),
        None => bail!("cannot tell where to cache guest kernels: set HOME or XDG_CACHE_HOME"),
    }
}
