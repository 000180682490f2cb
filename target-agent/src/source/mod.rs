//! Where the readings come from.

mod kernel;
mod procfs;

pub use kernel::{KernelSource, KernelSourceError};
pub use procfs::{ProcfsSource, ProcfsSourceError};

use crate::config::{Config, Mode};
use crate::kernel::LoadError;
use crate::limits::UnknownSensor;
use crate::memory::TargetMemory;
use crate::pressure::MemorySize;
use crate::seat::Seat;
use std::io;
use std::sync::Arc;

/// A running source of readings that obeys commands.
#[derive(Debug)]
pub enum Source {
    /// The kernel half.
    Kernel(Box<KernelSource>),
    /// The user half, from `/proc`.
    Procfs(ProcfsSource),
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No kernel half.
    #[error(transparent)]
    Kernel(#[from] KernelSourceError),
    /// No user half.
    #[error(transparent)]
    Procfs(#[from] ProcfsSourceError),
    /// A limit for a sensor that does not exist.
    #[error(transparent)]
    Limit(#[from] UnknownSensor),
}

impl Source {
    /// Takes up or loads a kernel half, or starts the user half in its place, as the mode says. No command reaches the
    /// processes in `protected`.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub fn bring_up(config: &Config, protected: &[u32]) -> Result<Source, SourceError> {
        let limits = config.limits()?.for_machine(MemorySize::read());
        let without = match config.mode {
            Mode::Procfs => None,
            Mode::Kernel => {
                return Ok(Source::Kernel(KernelSource::bring_up(config, limits, protected)?.into()));
            }
            Mode::Auto => match KernelSource::bring_up(config, limits.clone(), protected) {
                Ok(source) => return Ok(Source::Kernel(source.into())),
                // From inside a namespace /proc shows no more of the machine than the kernel half would.
                Err(error @ KernelSourceError::Load(LoadError::Inside)) => return Err(error.into()),
                Err(error @ KernelSourceError::Load(_)) => Some(error),
                // A kernel half may still be there, and obey: two must not.
                Err(error) => return Err(error.into()),
            },
        };
        if let Some(error) = without {
            tracing::warn!(%error, "no kernel half: the user half samples /proc instead");
        }
        if !config.service_addresses.is_empty() {
            tracing::error!("service_addresses cannot be fenced: that takes the kernel half");
        }
        Ok(Source::Procfs(ProcfsSource::bring_up(config, limits, protected)?))
    }

    /// What the target shows.
    #[must_use]
    pub fn memory(&self) -> &Arc<TargetMemory> {
        match self {
            Source::Kernel(source) => source.memory(),
            Source::Procfs(source) => source.memory(),
        }
    }

    /// Sees that everything the source needs is there, and that no command reaches `protected`.
    pub fn look_after(&mut self, config: &Config, protected: &[u32]) {
        if let Err(error) = self.memory().tell_time() {
            tracing::warn!(%error, "the audit ring tells no dates");
        }
        match self {
            Source::Kernel(source) => source.look_after(config, protected),
            Source::Procfs(source) => source.look_after(protected),
        }
    }

    /// Changes who may command through a slot, and what, to what `change` makes of it. Commands that are looked at from the
    /// next tick or round on are judged by it.
    ///
    /// # Errors
    /// What the system says; then nothing was changed.
    pub fn change_seat(&mut self, slot: u32, change: impl FnOnce(Seat) -> Seat) -> io::Result<()> {
        match self {
            Source::Kernel(source) => source.change_seat(slot, change),
            Source::Procfs(source) => source.change_seat(slot, change),
        }
    }

    /// Ends it, and leaves nothing behind.
    ///
    /// # Errors
    /// [`SourceError::Kernel`]; then `backdoors-agent detach` goes on.
    pub fn take_down(&mut self) -> Result<(), SourceError> {
        match self {
            Source::Kernel(source) => Ok(source.take_down()?),
            Source::Procfs(source) => {
                source.take_down();
                Ok(())
            }
        }
    }
}
