//! Threads on which handshakes wait, so that sampling never does.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// Runs what may wait for the network. The threads end when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Connector {
    jobs: Sender<Job>,
}

impl Connector {
    /// Starts the threads; so many handshakes can be under way at once.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(threads: usize) -> io::Result<Connector> {
        let (jobs, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new().name("connector".into()).spawn(move || work(&receiver))?;
        }
        Ok(Connector { jobs })
    }

    /// Runs `job` as soon as a thread is free.
    pub(super) fn run(&self, job: Job) {
        // It fails only if all threads panicked; then whoever waits for the job sees its channel closed.
        drop(self.jobs.send(job));
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}
