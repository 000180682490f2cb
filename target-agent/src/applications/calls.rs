//! Calls of applications' hooks: wanted by any thread of the agent, made by the one that serves applications, answered
//! by the application in its own time. Nobody waits: whoever wants a call is told what became of it.

use super::ConnectionId;
use backdoors_sensor_box::application::HookResult;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

/// A call of an application's hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookCall {
    /// The application: the kind of its region, counted from
    /// [`RegionKind::APPLICATION_FIRST`](backdoors_sensor_box::layout::RegionKind::APPLICATION_FIRST).
    pub application: u32,
    /// The generation of its region.
    pub generation: u64,
    /// The hook, by its place among those of the application.
    pub hook: u32,
    /// The word.
    pub word: u64,
    /// When an answer comes too late. The application does not begin a call after that.
    pub deadline: Instant,
}

/// Why a hook did not do what it is for, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was called.
    #[error(
        "no such application is attached: nothing was called; it ended or attached anew, so look for its generation again"
    )]
    NotAttached,
    /// Nothing was called, and a retry cannot help.
    #[error("the application has {hooks} hooks, and that is none of them: nothing was called")]
    NoSuchHook {
        /// Hooks that it has.
        hooks: usize,
    },
    /// Nothing was called, and a retry with the same word cannot help.
    #[error("the hook takes words from {least} to {most}, not {word}: nothing was called")]
    OutOfRange {
        /// The word.
        word: u64,
        /// Least word of the hook.
        least: u64,
        /// Its greatest word.
        most: u64,
    },
    /// Nothing was called.
    #[error("the application has not answered an earlier call yet: nothing was called; retry when it has")]
    Busy,
    /// The hook was called, and says that it failed.
    #[error(
        "the hook failed with code {0}; what it changed, and whether a retry can help, is the application's to say"
    )]
    Failed(u32),
    /// Whether the hook was called is not known, but none begins later than now.
    #[error(
        "the application did not answer in time: it may be stuck, or still be at it; look at its calls before a retry"
    )]
    NoAnswer,
    /// Whether the hook was called is not known.
    #[error(
        "the application or the agent ended before there was an answer: look at what the hook is for before a retry"
    )]
    Ended,
}

/// Where calls are wanted. Clones want them at the same place.
#[derive(Clone, Debug)]
pub struct Caller {
    wanted: Sender<Wanted>,
    bell: Arc<UnixStream>,
}

/// Where calls arrive, for [`serve`](super::listen::serve).
#[derive(Debug)]
pub struct Inbox {
    wanted: Receiver<Wanted>,
    bell: UnixStream,
    /// The other end, which must not be closed when the last caller goes.
    _ringing: Arc<UnixStream>,
}

/// A call, and who is to be told.
#[derive(Debug)]
pub(super) struct Wanted {
    pub call: HookCall,
    pub tell: Tell,
}

/// Tells what became of a call: once, also if nobody else comes to do it.
pub(super) struct Tell(Option<Teller>);

type Teller = Box<dyn FnOnce(Result<(), CallError>) + Send>;

impl Tell {
    pub fn tell(mut self, what: Result<(), CallError>) {
        if let Some(tell) = self.0.take() {
            tell(what);
        }
    }
}

impl Drop for Tell {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(CallError::Ended));
        }
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tell")
    }
}

impl Caller {
    /// Two ends: one to want calls, one to serve them.
    ///
    /// # Errors
    /// If the system has no sockets left.
    pub fn new() -> io::Result<(Caller, Inbox)> {
        let (bell, ringing) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringing.set_nonblocking(true)?;
        let (sender, wanted) = mpsc::channel();
        let ringing = Arc::new(ringing);
        Ok((Caller { wanted: sender, bell: Arc::clone(&ringing) }, Inbox { wanted, bell, _ringing: ringing }))
    }

    /// Has a hook called, and returns at once. `tell` is told, once, what became of it, at the deadline at the latest:
    /// `Ok` if the hook did what it is for. It runs on the thread that serves applications and must not wait; if that
    /// has ended, on this one.
    pub fn call(&self, call: HookCall, tell: impl FnOnce(Result<(), CallError>) + Send + 'static) {
        // What cannot be sent is dropped, and thereby told.
        if self.wanted.send(Wanted { call, tell: Tell(Some(Box::new(tell))) }).is_ok() {
            // If there is no room the bell rings already.
            let _ = (&*self.bell).write(&[1]);
        }
    }
}

impl Inbox {
    /// What becomes readable when a call is wanted.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The calls that are wanted.
    pub(super) fn take(&self) -> impl Iterator<Item = Wanted> {
        // The bell is silenced first, so that a call that comes meanwhile rings it again.
        while matches!((&self.bell).read(&mut [0; 64]), Ok(1..)) {}
        self.wanted.try_iter()
    }
}

/// Calls that applications have not answered yet; one each at most.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    calls: Vec<Waiting>,
    last_id: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    connection: ConnectionId,
    id: u64,
    pub hook: u32,
    deadline: Instant,
    /// `None` once it was told that there is no answer. The application is still at it, for all that is known.
    tell: Option<Tell>,
}

impl Waiting {
    /// Tells who wanted the call what the application answered.
    pub fn tell(self, result: HookResult) {
        if let Some(tell) = self.tell {
            tell.tell(match result {
                HookResult::Done => Ok(()),
                HookResult::Failed(code) => Err(CallError::Failed(code)),
                HookResult::TooLate => Err(CallError::NoAnswer),
            });
        }
    }
}

impl Outstanding {
    /// Whether the application of a connection is still to answer.
    pub fn is_busy(&self, connection: ConnectionId) -> bool {
        self.calls.iter().any(|waiting| waiting.connection == connection)
    }

    /// A number for the next call.
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes note that a call was sent.
    pub fn sent(&mut self, connection: ConnectionId, id: u64, wanted: Wanted) {
        let HookCall { hook, deadline, .. } = wanted.call;
        self.calls.push(Waiting { connection, id, hook, deadline, tell: Some(wanted.tell) });
    }

    /// Forgets a call that was answered, and returns it; `None` if nothing of the kind was asked.
    pub fn answered(&mut self, connection: ConnectionId, id: u64) -> Option<Waiting> {
        let asked = |waiting: &Waiting| (waiting.connection, waiting.id) == (connection, id);
        Some(self.calls.swap_remove(self.calls.iter().position(asked)?))
    }

    /// Forgets the call of a connection that ended; who wanted it is told.
    pub fn lose(&mut self, connection: ConnectionId) {
        self.calls.retain(|waiting| waiting.connection != connection);
    }

    /// Tells of calls that were not answered in time.
    pub fn expire(&mut self, now: Instant) {
        for waiting in self.calls.iter_mut().filter(|waiting| waiting.deadline <= now) {
            if let Some(tell) = waiting.tell.take() {
                tell.tell(Err(CallError::NoAnswer));
            }
        }
    }

    /// When the next call will not have been answered in time.
    pub fn next_deadline(&self) -> Option<Instant> {
        let waited_for = self.calls.iter().filter(|waiting| waiting.tell.is_some());
        waited_for.map(|waiting| waiting.deadline).min()
    }
}

#[cfg(test)]
mod tests;
