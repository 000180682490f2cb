//! Where the kernel half is kept while no process holds it: a folder of a bpf file system.

use rustix::fs::{CWD, FsWord, statfs};
use rustix::mount::MountFlags;
use std::io;
use std::path::{Path, PathBuf};

const BPF_FS_MAGIC: FsWord = 0xcafe_4a11;

/// The folder of one agent's pins.
#[derive(Clone, Debug)]
pub struct Pins {
    folder: PathBuf,
}

/// Why the kernel half cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The folder's parent is on no bpf file system, and none can be mounted there.
    #[error(
        "{parent} is on no bpf file system and none can be mounted there ({source}): run `mount -t bpf bpf {parent}`, or set \
         `pins` to a folder of one; nothing was changed"
    )]
    NoBpfFs {
        /// The parent folder.
        parent: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A pin or the folder cannot be made, read or removed.
    #[error(
        "{path}: {source}; see that the agent runs as root, and that no other agent uses this folder for `pins`"
    )]
    Path {
        /// What could not be accessed.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Pins {
    /// The pins in `folder`, which need not be there.
    #[must_use]
    pub fn new(folder: &Path) -> Pins {
        Pins { folder: folder.into() }
    }

    /// Sees that the folder is there, on a bpf file system; mounts one on its parent if that is empty.
    ///
    /// # Errors
    /// See [`PinsError`].
    pub fn prepare(&self) -> Result<(), PinsError> {
        let parent = self.folder.parent().unwrap_or(Path::new("/"));
        let failed = |source| PinsError::NoBpfFs { parent: parent.into(), source };
        std::fs::create_dir_all(parent).map_err(failed)?;
        if !is_bpf_fs(parent).map_err(failed)? {
            if std::fs::read_dir(parent).map_err(failed)?.next().is_some() {
                return Err(failed(io::Error::from(io::ErrorKind::DirectoryNotEmpty)));
            }
            rustix::mount::mount("bpf", parent, "bpf", MountFlags::empty(), None)
                .map_err(|error| failed(error.into()))?;
            tracing::info!(path = %parent.display(), "mounted a bpf file system");
        }
        match rustix::fs::mkdirat(CWD, &self.folder, rustix::fs::Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(PinsError::Path { path: self.folder.clone(), source: error.into() }),
        }
    }

    /// Where the map with this name is.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        // The bpf file system takes no dots.
        self.folder.join(format!("map_{}", name.rsplit('.').next().unwrap_or(name)))
    }

    /// Where the link of the program with this name is.
    #[must_use]
    pub fn link(&self, program: &str) -> PathBuf {
        self.folder.join(format!("link_{program}"))
    }

    /// Where the program with this name is, if it is kept by itself.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("program_{name}"))
    }

    /// Whether anything is pinned.
    #[must_use]
    pub fn any(&self) -> bool {
        std::fs::read_dir(&self.folder).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Removes all pins and the folder: the kernel half ends unless a process still holds it. It is no error if
    /// there is none.
    ///
    /// # Errors
    /// [`PinsError::Path`]; then some pins are left, and a retry goes on.
    pub fn remove(&self) -> Result<(), PinsError> {
        let failed = |path: &Path, source| PinsError::Path { path: path.into(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|source| failed(&self.folder, source))?,
        };
        for entry in entries {
            let path = entry.map_err(|source| failed(&self.folder, source))?.path();
            std::fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        }
        std::fs::remove_dir(&self.folder).map_err(|source| failed(&self.folder, source))
    }
}

fn is_bpf_fs(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.f_type == BPF_FS_MAGIC)
}
