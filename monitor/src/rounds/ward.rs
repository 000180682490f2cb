//! Threads for targets that need more than a glance: there a table is read, a command followed to its end, a
//! directory fetched, and waiting for the link holds up nobody else.

use super::attendant::Waker;
use super::patient::{Asked, Patient};
use super::timespec;
use crate::clock::{Clock, SystemClock};
use crate::sampler::Next;
use rustix::event::{PollFd, PollFlags, poll};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Requests are looked for at least this often.
const LOOK_FOR_REQUESTS: Duration = Duration::from_millis(5);

/// Admits targets and discharges them when they need no more attention.
pub(super) struct Ward {
    discharge: Sender<(usize, Box<Patient>)>,
    waker: Arc<Waker>,
}

impl Ward {
    pub(super) fn new(discharge: Sender<(usize, Box<Patient>)>, waker: Arc<Waker>) -> Ward {
        Ward { discharge, waker }
    }

    /// Looks after a target on a thread of its own until it needs no more than a glance.
    pub(super) fn admit(&self, index: usize, patient: Box<Patient>) {
        let discharge = self.discharge.clone();
        let waker = Arc::clone(&self.waker);
        let name = format!("ward {}", patient.sampler.target());
        let (sender, receiver) = std::sync::mpsc::channel();
        // The target comes by channel: were it moved into the closure, it would be lost with a thread that is not given.
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let Ok(mut patient): Result<Box<Patient>, _> = receiver.recv() else { return };
            nurse(&mut patient);
            // It fails only if the thread that goes round is gone.
            drop(discharge.send((index, patient)));
            waker.wake();
        });
        match spawned {
            Ok(_) => drop(sender.send(patient)),
            Err(error) => {
                tracing::error!("no thread for a target that needs attention: {error}");
                let mut patient = patient;
                patient.sampler.attend();
                drop(self.discharge.send((index, patient)));
                self.waker.wake();
            }
        }
    }
}

fn nurse(patient: &mut Patient) {
    loop {
        let wake = match patient.sampler.glance() {
            Next::Glance(_) => return,
            Next::Attend => patient.sampler.attend(),
        };
        if patient.take_requests() == Asked::NoMore {
            return;
        }
        let pause = wake.saturating_sub(SystemClock.monotonic()).min(LOOK_FOR_REQUESTS);
        wait(patient, pause);
    }
}

/// Waits for a reading, but not for longer than `pause`.
fn wait(patient: &Patient, pause: Duration) {
    let mut watched = Vec::new();
    patient.sampler.watch(&mut |descriptor| {
        // A link has few connections; they live as long as the sampler is borrowed.
        watched.extend(descriptor.try_clone_to_owned().ok());
    });
    let mut descriptors: Vec<_> = watched.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    // What failed is tried again by whoever needs it.
    let _ = poll(&mut descriptors, timespec(Some(pause)).as_ref());
}
