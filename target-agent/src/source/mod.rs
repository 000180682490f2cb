//! Where the readings come from.

mod kernel;

pub use kernel::{KernelSource, KernelSourceError};

use crate::config::Config;
use crate::limits::UnknownSensor;
use crate::memory::TargetMemory;
use std::sync::Arc;

/// A running source of readings that obeys commands.
#[derive(Debug)]
pub enum Source {
    /// The kernel half.
    Kernel(KernelSource),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No kernel half.
    #[error(transparent)]
    Kernel(#[from] KernelSourceError),
    /// A limit for a sensor that does not exist.
    #[error(transparent)]
    Limit(#[from] UnknownSensor),
}

impl Source {
    /// Takes up or loads a kernel half. No command reaches the processes in `protected`.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn bring_up(config: &Config, protected: &[u32]) -> Result<Source, SourceError> {
        let limits = config.limits()?;
        Ok(Source::Kernel(KernelSource::bring_up(config, limits, protected)?))
    }

    /// What the target shows.
    #[must_use]
    pub fn memory(&self) -> &Arc<TargetMemory> {
        match self {
            Source::Kernel(source) => source.memory(),
        }
    }

    /// Sees that everything the source needs is there, and that no command reaches `protected`.
    pub fn look_after(&mut self, config: &Config, protected: &[u32]) {
        match self {
            Source::Kernel(source) => source.look_after(config, protected),
        }
    }

    /// Ends it, and leaves nothing behind.
    ///
    /// # Errors
    /// [`SourceError::Kernel`]; then `backdoors-agent detach` goes on.
    pub fn take_down(&mut self) -> Result<(), SourceError> {
        match self {
            Source::Kernel(source) => Ok(source.take_down()?),
        }
    }
}
