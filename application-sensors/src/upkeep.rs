//! The library's threads. One sleeps while the application is attached, and attaches it anew when the agent comes back;
//! if there are hooks it takes their calls, which another one runs.

use crate::agent::Failure;
use crate::application::{WithoutAgent, warn};
use crate::hooks::Arrived;
use crate::shared::Shared;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, ThreadId};

/// Least time between two tries, and what is added to it, by process, lest all applications come at once.
const RETRY_MILLISECONDS: u32 = 400;
const SPREAD_MILLISECONDS: u32 = 200;

/// Starts the threads. They end when the first of what is returned is closed; the second is the one that runs hooks.
pub fn start(shared: &Arc<Shared>) -> io::Result<(OwnedFd, Option<ThreadId>)> {
    let (watched, ended) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // The application's signals are for its own threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = spawn(shared, watched);
    before.thread_set_mask()?;
    spawned.map(|caller| (ended, caller))
}

fn spawn(shared: &Arc<Shared>, watched: OwnedFd) -> io::Result<Option<ThreadId>> {
    let (calls, arriving) = channel();
    let caller = if shared.has_hooks() {
        let shared = Arc::clone(shared);
        // It ends when the other thread has, which holds the sender.
        let run = move || arriving.iter().for_each(|arrived| shared.hooks.serve(&arrived));
        Some(thread::Builder::new().name("backdoors-hooks".into()).spawn(run)?.thread().id())
    } else {
        None
    };
    let shared = Arc::clone(shared);
    let run = move || keep_up(&shared, &watched, &calls);
    thread::Builder::new().name("backdoors".into()).spawn(run)?;
    Ok(caller)
}

fn keep_up(shared: &Shared, ended: &OwnedFd, calls: &Sender<Arrived>) {
    let wait = RETRY_MILLISECONDS + std::process::id() % SPREAD_MILLISECONDS;
    let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(wait) * 1_000_000 };
    let mut said = String::new();
    loop {
        let connection = shared.connection();
        let mut events = vec![PollFd::new(ended, PollFlags::empty())];
        events.extend(connection.iter().map(|connection| PollFd::new(connection, PollFlags::IN)));
        let timeout = if connection.is_some() { None } else { Some(&pause) };
        if !matches!(poll(&mut events, timeout), Ok(_) | Err(rustix::io::Errno::INTR)) {
            // Without poll there is no upkeep. What is attached stays so.
            return;
        }
        let mut events = events.iter().map(PollFd::revents);
        if events.next().is_none_or(|ended| !ended.is_empty()) {
            // A hook that does not return must not keep the application attached.
            shared.lose();
            return;
        }
        match events.next() {
            None => {}
            Some(events) if events.is_empty() => continue,
            Some(PollFlags::IN) => {
                match shared.next_call() {
                    // Nobody listens if the application has no hooks; then there is nothing to answer.
                    Ok(Some(arrived)) => drop(calls.send(arrived)),
                    Ok(None) => {}
                    Err(_) => shared.lose(),
                }
                continue;
            }
            Some(_) => {
                shared.lose();
                continue;
            }
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
