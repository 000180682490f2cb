//! A sampler under the machine's clock: one thread per target.

use super::{Request, Sampler, Status};
use crate::clock::{Clock, SystemClock};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

/// Requests that wait for the sampler's attention.
const WAITING_REQUESTS: usize = 64;

/// The handle of a sampler's thread. The thread ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Attendant {
    status: Arc<Mutex<Status>>,
    requests: SyncSender<Request>,
}

impl Attendant {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(sampler: Sampler) -> io::Result<Attendant> {
        let (requests, receiver) = sync_channel(WAITING_REQUESTS);
        let status = sampler.status();
        std::thread::Builder::new()
            .name(format!("target {}", sampler.config.name))
            .spawn(move || run(sampler, &receiver))?;
        Ok(Attendant { status, requests })
    }

    /// What is known of the target.
    #[must_use]
    pub fn status(&self) -> &Mutex<Status> {
        &self.status
    }

    /// Hands a request to the sampler. `false` if it is overwhelmed or gone; the request is dropped then.
    #[must_use]
    pub fn request(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}

fn run(mut sampler: Sampler, requests: &Receiver<Request>) {
    loop {
        let wake = sampler.step();
        let pause = wake.saturating_sub(SystemClock.monotonic());
        match requests.recv_timeout(pause) {
            Ok(request) => sampler.request(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
