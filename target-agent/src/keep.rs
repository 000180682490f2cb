//! Where the memory of applications and of services' boxes comes from, and how it outlives the agent.

use crate::kernel::Pins;
use crate::memory::Region;
use libbpf_rs::libbpf_sys::{BPF_F_MMAPABLE, bpf_map_create_opts};
use libbpf_rs::{MapCore, MapHandle, MapType};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Makes memory and keeps it, by names.
#[derive(Clone, Debug)]
pub enum Keep {
    /// In BPF array maps, pinned beside the kernel half: the next agent finds them. Their pages are the kernel's: they
    /// neither move nor are swapped out.
    Pinned(Pins),
    /// In memfds, which nobody finds again.
    Memfds,
}

/// Why there is no memory. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The system refused it.
    #[error("the system failed: {0}")]
    System(#[from] io::Error),
    /// No map can be made or kept.
    #[error("{path}: {source}")]
    Map {
        /// Where it was to be pinned.
        path: PathBuf,
        /// What the system says.
        source: libbpf_rs::Error,
    },
}

impl Keep {
    /// New memory of at least `length` bytes, all zero, in the place of what was kept under this name; the first `length` are mapped.
    ///
    /// # Errors
    /// [`KeepError`].
    pub fn make(&self, name: &str, length: usize) -> Result<Region, KeepError> {
        let Keep::Pinned(pins) = self else { return Ok(Region::create("backdoors-kept", length)?) };
        let path = pins.map(name);
        self.discard(name);
        let pinned = create(length).and_then(|mut map| map.pin(&path).map(|()| map));
        let map = pinned.map_err(|source| KeepError::Map { path, source })?;
        let region = map.as_fd().try_clone_to_owned().and_then(|descriptor| Region::map(descriptor, length));
        region.map_err(|error| {
            self.discard(name);
            error.into()
        })
    }

    /// What is kept under this name.
    #[must_use]
    pub fn open(&self, name: &str) -> Option<Result<Region, KeepError>> {
        let Keep::Pinned(pins) = self else { return None };
        let path = pins.map(name);
        if !path.exists() {
            return None;
        }
        let map = MapHandle::from_pinned_path(&path).map_err(|source| KeepError::Map { path, source });
        Some(map.and_then(|map| {
            let length = map.max_entries() as usize * map.value_size() as usize;
            Ok(Region::map(map.as_fd().try_clone_to_owned()?, length)?)
        }))
    }

    /// Keeps what was made under this name no longer. Whoever maps it has it still.
    pub fn discard(&self, name: &str) {
        let Keep::Pinned(pins) = self else { return };
        let path = pins.map(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "memory that nobody needs stays pinned");
            }
            _ => {}
        }
    }
}

/// An element of an array has to be allocated at once on some kernels, so memory that is longer than this has several.
const ELEMENT: usize = 1 << 16;

fn create(length: usize) -> Result<MapHandle, libbpf_rs::Error> {
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: BPF_F_MMAPABLE,
        ..bpf_map_create_opts::default()
    };
    let (element, count) = if length <= ELEMENT { (length, 1) } else { (ELEMENT, length.div_ceil(ELEMENT)) };
    let count = u32::try_from(count)
        .map_err(|_| libbpf_rs::Error::from(io::Error::from(io::ErrorKind::OutOfMemory)))?;
    MapHandle::create(MapType::Array, Some("bd_kept"), 4, element as u32, count, &options)
}
