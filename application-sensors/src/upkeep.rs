//! The library's one thread: sleeps while the application is attached, and attaches it anew when the agent comes back.

use crate::agent::Failure;
use crate::application::{Shared, WithoutAgent, warn};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

/// Least time between two tries, and what is added to it, by process, lest all applications come at once.
const RETRY_MILLISECONDS: u32 = 400;
const SPREAD_MILLISECONDS: u32 = 200;

/// Starts the thread. It ends when what is returned is closed.
pub fn start(shared: Arc<Shared>) -> io::Result<OwnedFd> {
    let (watched, ended) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // The application's signals are for its own threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = thread::Builder::new().name("backdoors".into()).spawn(move || keep_up(&shared, &watched));
    before.thread_set_mask()?;
    spawned.map(|_| ended)
}

fn keep_up(shared: &Shared, ended: &OwnedFd) {
    let wait = RETRY_MILLISECONDS + std::process::id() % SPREAD_MILLISECONDS;
    let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(wait) * 1_000_000 };
    let mut said = String::new();
    loop {
        let connection = shared.connection();
        let mut events = vec![PollFd::new(ended, PollFlags::empty())];
        events.extend(connection.iter().map(|connection| PollFd::new(connection, PollFlags::empty())));
        let timeout = if connection.is_some() { None } else { Some(&pause) };
        if !matches!(poll(&mut events, timeout), Ok(_) | Err(rustix::io::Errno::INTR)) {
            // Without poll there is no upkeep. What is attached stays so.
            return;
        }
        let mut over = events.iter().map(|event| !event.revents().is_empty());
        if over.next().unwrap_or(true) {
            return;
        }
        if over.next().unwrap_or(false) {
            shared.lose();
        }
        if connection.is_some() {
            continue;
        }
        match shared.attach_anew() {
            Ok(true) => said.clear(),
            Ok(false) => return,
            Err(Failure::NoAgent(_)) => {}
            Err(Failure::Refused { reason, .. }) if reason == said => {}
            Err(Failure::Refused { reason, .. }) => {
                if shared.without_agent != WithoutAgent::Ignore {
                    warn(&format!("the agent at {} refused: {reason}", shared.path.display()));
                }
                said = reason;
            }
        }
    }
}
