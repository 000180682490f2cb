//! Applications, as the agent that runs takes them in.

use super::{Agent, RunError, lock};
use crate::applications::listen::{self, Registry};
use crate::applications::{Applications, CallError, ConnectionId, HookCall, Inbox};
use crate::config::Config;
use crate::keep::Keep;
use crate::kernel::Pins;
use crate::source::Source;
use backdoors_rdma::owner::OwnerError;
use backdoors_sensor_box::application::{Answer, HookResult, Outcome, Request};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// What an earlier agent kept; nothing if this one serves no applications.
pub(super) fn take_up(config: &Config, source: &Source) -> Applications {
    // Beside a kernel half that outlives the agent, what applications show outlives it, too.
    let keep = match source {
        Source::Kernel(_) => Keep::Pinned(Pins::new(&config.pins)),
        Source::Procfs(_) => Keep::Memfds,
    };
    let mut applications = Applications::take_up(keep, Instant::now());
    if config.applications.is_none() {
        applications.clear();
    }
    applications
}

/// Listens for applications, and calls their hooks; what is returned ends it when it is dropped.
pub(super) fn serve(path: &Path, agent: Arc<Mutex<Agent>>, inbox: Inbox) -> Result<UnixStream, RunError> {
    let listener =
        listen::bind(path).map_err(|source| RunError::Applications { path: path.into(), source })?;
    let (stop, stopper) = UnixStream::pair()?;
    thread::Builder::new().name("applications".into()).spawn(move || {
        if let Err(error) = listen::serve(&listener, &mut Reception(agent), &inbox, stop.as_fd()) {
            tracing::error!(%error, "no application can attach any more");
        }
    })?;
    Ok(stopper)
}

impl Agent {
    /// Without an owner the application is attached all the same: the next owner is handed its region, too.
    fn attach(
        &mut self,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
    ) -> (Answer, Option<OwnedFd>) {
        let not_now = |reason: String| (Answer { outcome: Outcome::NotNow, generation: 0, reason }, None);
        if self.stopped {
            return not_now("the target's agent is stopping".into());
        }
        let attached = match self.applications.attach(request, pid, connection, Instant::now()) {
            Ok(attached) => attached,
            Err(error) => return (error.answer(), None),
        };
        match attached.memory.as_ref().map(|_| self.hand_over()) {
            Some(Err(error @ OwnerError::Lost(_))) => {
                tracing::warn!(%error, "nobody sees the application yet");
            }
            Some(Err(error)) => {
                self.applications.leave(connection);
                return not_now(error.to_string());
            }
            Some(Ok(())) | None => {}
        }
        (attached.answer(), attached.memory)
    }

    fn retire_application(&mut self) {
        if !self.stopped
            && let Err(error) = self.hand_over()
        {
            tracing::warn!(%error, "an application that left is still shown");
        }
    }
}

/// Where applications attach and leave.
struct Reception(Arc<Mutex<Agent>>);

impl Registry for Reception {
    fn attach(
        &mut self,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
    ) -> (Answer, Option<OwnedFd>) {
        lock(&self.0).attach(request, pid, connection)
    }

    fn leave(&mut self, connection: ConnectionId) {
        let mut agent = lock(&self.0);
        agent.applications.leave(connection);
        agent.retire_application();
    }

    fn lose(&mut self, connection: ConnectionId) {
        let mut agent = lock(&self.0);
        if agent.applications.lose(connection) {
            agent.retire_application();
        }
    }

    fn callee(&mut self, call: &HookCall) -> Result<ConnectionId, CallError> {
        lock(&self.0).applications.callee(call)
    }

    fn called(&mut self, connection: ConnectionId, hook: u32, word: u64) {
        lock(&self.0).applications.called(connection, hook, word);
    }

    fn answered(&mut self, connection: ConnectionId, hook: u32, result: HookResult) {
        lock(&self.0).applications.answered(connection, hook, result);
    }
}
