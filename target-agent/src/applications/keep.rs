//! Where applications' memory comes from, and how it outlives the agent.

use crate::kernel::Pins;
use crate::memory::Region;
use libbpf_rs::libbpf_sys::{BPF_F_MMAPABLE, bpf_map_create_opts};
use libbpf_rs::{MapCore, MapHandle, MapType};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Makes applications' memory and keeps it.
#[derive(Clone, Debug)]
pub enum Keep {
    /// In BPF array maps, pinned beside the kernel half: the next agent finds them. Their pages are the kernel's: they
    /// neither move nor are swapped out.
    Pinned(Pins),
    /// In memfds, which nobody finds again.
    Memfds,
}

/// Why there is no memory for an application. Nothing is left of it.
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
    /// New memory of `length` bytes, all zero, in the place of what was kept under this index.
    pub(super) fn make(&self, index: usize, length: usize) -> Result<Region, KeepError> {
        let Keep::Pinned(pins) = self else { return Ok(Region::create("backdoors-application", length)?) };
        let path = path(pins, index);
        self.discard(index);
        let pinned = create(length).and_then(|mut map| map.pin(&path).map(|()| map));
        let map = pinned.map_err(|source| KeepError::Map { path, source })?;
        let region = map.as_fd().try_clone_to_owned().and_then(|descriptor| Region::map(descriptor, length));
        region.map_err(|error| {
            self.discard(index);
            error.into()
        })
    }

    /// What is kept under this index.
    pub(super) fn open(&self, index: usize) -> Option<Result<Region, KeepError>> {
        let Keep::Pinned(pins) = self else { return None };
        let path = path(pins, index);
        if !path.exists() {
            return None;
        }
        let map = MapHandle::from_pinned_path(&path).map_err(|source| KeepError::Map { path, source });
        Some(map.and_then(|map| {
            let length = map.value_size() as usize;
            Ok(Region::map(map.as_fd().try_clone_to_owned()?, length)?)
        }))
    }

    /// Keeps what was made under this index no longer. Whoever maps it has it still.
    pub(super) fn discard(&self, index: usize) {
        let Keep::Pinned(pins) = self else { return };
        let path = path(pins, index);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an application's region stays pinned");
            }
            _ => {}
        }
    }
}

fn path(pins: &Pins, index: usize) -> PathBuf {
    pins.map(&format!("application_{index}"))
}

fn create(length: usize) -> Result<MapHandle, libbpf_rs::Error> {
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: BPF_F_MMAPABLE,
        ..bpf_map_create_opts::default()
    };
    // Lengths of regions are a page at most.
    MapHandle::create(MapType::Array, Some("bd_application"), 4, length as u32, 1, &options)
}
