//! The handle of a target that is looked after.

use super::patient::Patient;
use crate::sampler::{Request, Sampler, Status};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// Requests that wait for attention.
const WAITING_REQUESTS: usize = 64;

/// The handle of a target. When its last clone is gone the target is left alone.
#[derive(Clone, Debug)]
pub struct Attendant {
    status: Arc<Mutex<Status>>,
    // Dropped before `waker`, which then tells the thread to look.
    requests: SyncSender<Request>,
    waker: Arc<WakesWhenGone>,
}

impl Attendant {
    /// What is known of the target.
    #[must_use]
    pub fn status(&self) -> &Mutex<Status> {
        &self.status
    }

    /// Hands a request over. `false` if there are too many already; the request is dropped then.
    #[must_use]
    pub fn request(&self, request: Request) -> bool {
        let handed_over = self.requests.try_send(request).is_ok();
        self.waker.0.ask();
        handed_over
    }

    /// Wakes the thread that goes round, to see that it still does.
    pub fn wake(&self) {
        self.waker.0.wake();
    }
}

pub(super) fn attend(sampler: Sampler, waker: &Arc<Waker>) -> (Attendant, Patient) {
    let (requests, receiver) = sync_channel(WAITING_REQUESTS);
    let status = sampler.status();
    let waker = Arc::new(WakesWhenGone(Arc::clone(waker)));
    (Attendant { status, requests, waker }, Patient::new(sampler, receiver))
}

#[derive(Debug)]
struct WakesWhenGone(Arc<Waker>);

impl Drop for WakesWhenGone {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// Wakes the thread that goes round.
#[derive(Debug)]
pub(super) struct Waker {
    event: OwnedFd,
    /// Some target has requests, or nobody who could have any.
    asked: AtomicBool,
}

impl Waker {
    pub(super) fn new() -> io::Result<Waker> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Waker { event, asked: AtomicBool::new(false) })
    }

    /// Wakes it to look at the requests of all targets.
    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether that was wanted since the last call.
    pub(super) fn take_asked(&self) -> bool {
        self.asked.swap(false, Ordering::AcqRel)
    }

    pub(super) fn wake(&self) {
        // It fails only when the counter is full, and then the thread is being woken.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        // It fails only when somebody else was quicker.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
