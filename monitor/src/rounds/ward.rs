//! Threads for targets that need more than a glance: there a table is read, a command followed to its end, a
//! directory fetched, and waiting for the link holds up nobody else.

use super::attendant::Waker;
use super::patient::{Asked, Patient};
use super::timespec;
use crate::clock::{Clock, SystemClock};
use crate::sampler::Next;
use rustix::event::{PollFd, PollFlags, poll};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Requests are looked for at least this often.
const LOOK_FOR_REQUESTS: Duration = Duration::from_millis(5);

type Case = (usize, Box<Patient>);

/// Admits targets and discharges them when they need no more attention. A thread that has nothing to do waits for the
/// next target; there are as many as were ever needed at once.
pub(super) struct Ward {
    beds: Arc<Beds>,
    admit: Sender<Case>,
}

struct Beds {
    admitted: Mutex<Receiver<Case>>,
    /// Threads that wait, less the targets that wait for them.
    free: AtomicUsize,
    discharge: Sender<Case>,
    waker: Arc<Waker>,
}

impl Ward {
    pub(super) fn new(discharge: Sender<Case>, waker: Arc<Waker>) -> Ward {
        let (admit, admitted) = channel();
        let beds = Beds { admitted: Mutex::new(admitted), free: AtomicUsize::new(0), discharge, waker };
        Ward { beds: Arc::new(beds), admit }
    }

    /// Looks after a target, on a thread that has only this one, until it needs no more than a glance.
    pub(super) fn admit(&self, index: usize, patient: Box<Patient>) {
        let takes_one = |free: usize| free.checked_sub(1);
        let is_free = self.beds.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, takes_one).is_ok();
        if !is_free {
            let beds = Arc::clone(&self.beds);
            if let Err(error) = std::thread::Builder::new().name("ward".into()).spawn(move || beds.work()) {
                // It waits until another target is discharged.
                tracing::error!("no thread for a target that needs attention: {error}");
            }
        }
        // It fails only if the ward is gone, and this is a part of it.
        drop(self.admit.send((index, patient)));
    }
}

impl Beds {
    fn work(&self) {
        loop {
            let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((index, mut patient)) = admitted else { return };
            nurse(&mut patient);
            self.free.fetch_add(1, Ordering::AcqRel);
            // It fails only if the thread that goes round is gone.
            drop(self.discharge.send((index, patient)));
            self.waker.wake();
        }
    }
}

fn nurse(patient: &mut Patient) {
    loop {
        let wake = match patient.sampler.glance() {
            Next::Glance(_) => return,
            Next::Attend => patient.sampler.attend(),
        };
        let asked = patient.take_requests();
        if asked == Asked::NoMore || !patient.sampler.needs_attention() {
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
