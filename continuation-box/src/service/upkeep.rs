//! The library's thread: it sleeps while the server is attached and nothing happens, takes in recovered sessions, and attaches
//! the server anew when the agent comes back.

use super::agent::Failure;
use super::link::Shared;
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::sync::Arc;
use std::thread;

/// Time between two tries.
const RETRY_MILLISECONDS: i64 = 250;

pub(super) fn start(shared: &Arc<Shared>) -> io::Result<()> {
    // The server's signals are for its own threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let shared = Arc::clone(shared);
    let spawned = thread::Builder::new().name("backdoors".into()).spawn(move || keep_up(&shared));
    before.thread_set_mask()?;
    spawned.map(drop)
}

fn keep_up(shared: &Shared) {
    let pause = Timespec { tv_sec: 0, tv_nsec: RETRY_MILLISECONDS * 1_000_000 };
    let mut said = String::new();
    while let Ok(connection) = shared.connection() {
        let mut events = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        if let Some((connection, has_more)) = &connection {
            let out = if *has_more { PollFlags::OUT } else { PollFlags::empty() };
            events.push(PollFd::new(&**connection, PollFlags::IN | out));
        }
        let timeout = if connection.is_some() { None } else { Some(&pause) };
        if !matches!(poll(&mut events, timeout), Ok(_) | Err(rustix::io::Errno::INTR)) {
            // Without poll there is no upkeep. What is kept stays so.
            return;
        }
        let happened: Vec<PollFlags> = events.iter().map(PollFd::revents).collect();
        if happened.first().is_some_and(|woken| !woken.is_empty()) {
            let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
        }
        match (connection, happened.get(1)) {
            (Some((connection, _)), Some(events)) if !events.is_empty() => {
                if events.contains(PollFlags::OUT) {
                    shared.go_on_saying();
                }
                let is_over = events.intersects(PollFlags::HUP | PollFlags::ERR);
                if !shared.hear(&connection) || is_over {
                    shared.lose();
                }
            }
            (Some(_), _) => {}
            (None, _) => match shared.attach() {
                Ok(()) => said.clear(),
                Err(Failure::NoAgent(_)) => {}
                Err(Failure::Refused(refusal)) if refusal.reason == said => {}
                Err(Failure::Refused(refusal)) => {
                    tracing::warn!(service = shared.service, reason = refusal.reason, "the agent refused");
                    said = refusal.reason;
                }
            },
        }
    }
}
