//! Servers of services, as the agent that runs takes them in.

use super::RunError;
use crate::applications::listen::bind;
use crate::config::Config;
use crate::keep::Keep;
use crate::kernel::Pins;
use crate::memory::TargetMemory;
use crate::services::{BoxesError, CapturedSessions, ServiceBoxes, listen};
use crate::source::Source;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// The boxes of all services; none if no server can attach.
pub(super) fn take_up(config: &Config, source: &Source) -> Result<Vec<ServiceBoxes>, BoxesError> {
    if config.service_socket.is_none() {
        return Ok(Vec::new());
    }
    let keep = match source {
        Source::Kernel(_) => Keep::Pinned(Pins::new(&config.pins)),
        Source::Procfs(_) => Keep::Memfds,
    };
    let numbered = (0..).zip(&config.services);
    numbered.map(|(number, service)| ServiceBoxes::take_up(&keep, number, service)).collect()
}

/// Listens for servers; what is returned ends it when it is dropped.
pub(super) fn serve(
    path: &Path,
    services: Arc<Vec<ServiceBoxes>>,
    memory: Arc<TargetMemory>,
) -> Result<UnixStream, RunError> {
    let listener = bind(path).map_err(|source| RunError::Services { path: path.into(), source })?;
    let (stop, stopper) = UnixStream::pair()?;
    thread::Builder::new().name("services".into()).spawn(move || {
        let captured = CapturedSessions::new(memory);
        if let Err(error) = listen::serve(&listener, &services, captured, stop.as_fd()) {
            tracing::error!(%error, "no server can attach any more, and sessions end with theirs");
        }
    })?;
    Ok(stopper)
}
