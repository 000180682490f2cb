//! One thread that looks after all targets, going round by who is due; and wards, threads of their own for targets
//! that need more than a glance. A target that is slow, dead or being repaired holds up no other.

mod attendant;
mod patient;
mod ward;

pub use attendant::Attendant;

use crate::clock::{Clock, SystemClock};
use crate::sampler::{Next, Sampler};
use attendant::{Waker, attend};
use backdoors_rdma::supervisor::Pulse;
use patient::Patient;
use rustix::event::{Timespec, epoll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use ward::Ward;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// Stands for the waker among the numbers of targets.
const WAKER: u64 = u64::MAX;

/// Starts the thread that looks after the targets of `samplers`. It ends when all attendants are gone, and with each
/// attendant its target is left alone. `pulse` beats whenever it is awake; [`Attendant::wake`] wakes it.
///
/// # Errors
/// If the system gives no thread or descriptor.
pub fn start(samplers: Vec<Sampler>, pulse: Pulse) -> io::Result<Vec<Attendant>> {
    let waker = Arc::new(Waker::new()?);
    let mut attendants = Vec::new();
    let mut places = Vec::new();
    for sampler in samplers {
        let (attendant, patient) = attend(sampler, &waker);
        attendants.push(attendant);
        places.push(Place::Here(Box::new(patient)));
    }
    let rounds = Rounds::new(places, waker)?;
    std::thread::Builder::new().name("rounds".into()).spawn(move || rounds.run(&pulse))?;
    Ok(attendants)
}

struct Rounds {
    places: Vec<Place>,
    /// When to glance at whom; entries that no longer hold are passed over.
    due: BinaryHeap<Reverse<(Duration, usize)>>,
    epoll: OwnedFd,
    waker: Arc<Waker>,
    discharged: Receiver<(usize, Box<Patient>)>,
    ward: Ward,
}

/// Where a target is.
enum Place {
    /// Looked after by this thread.
    Here(Box<Patient>),
    /// In the ward.
    Away,
    /// Nobody asks for it any more.
    Gone,
}

impl Rounds {
    fn new(places: Vec<Place>, waker: Arc<Waker>) -> io::Result<Rounds> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, waker.as_fd(), epoll::EventData::new_u64(WAKER), epoll::EventFlags::IN)?;
        let (discharge, discharged): (Sender<(usize, Box<Patient>)>, _) = channel();
        let ward = Ward::new(discharge, Arc::clone(&waker));
        let due = (0..places.len()).map(|index| Reverse((Duration::ZERO, index))).collect();
        Ok(Rounds { places, due, epoll, waker, discharged, ward })
    }

    fn run(mut self, pulse: &Pulse) {
        // The default slack of 50 us would come on top of every period.
        if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
            tracing::debug!("timers keep their slack: {error}");
        }
        let mut events = Vec::with_capacity(EVENTS);
        while self.places.iter().any(|place| !matches!(place, Place::Gone)) {
            pulse.beat();
            let pause = self.due.peek().map(|Reverse((at, _))| at.saturating_sub(SystemClock.monotonic()));
            events.clear();
            let waited = epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timespec(pause).as_ref(),
            );
            if let Err(error) = waited
                && error != rustix::io::Errno::INTR
            {
                tracing::error!("cannot wait for readings: {error}");
                std::thread::sleep(Duration::from_millis(10));
            }
            for event in &events {
                match event.data.u64() {
                    WAKER => self.woken(),
                    index => self.glance(index as usize),
                }
            }
            let now = SystemClock.monotonic();
            while let Some(&Reverse((at, index))) = self.due.peek()
                && at <= now
            {
                self.due.pop();
                if matches!(&self.places[index], Place::Here(patient) if patient.wake <= now) {
                    self.glance(index);
                }
            }
        }
    }

    /// Somebody asks for something, or comes back from the ward.
    fn woken(&mut self) {
        self.waker.clear();
        while let Ok((index, patient)) = self.discharged.try_recv() {
            self.places[index] = Place::Here(patient);
            self.glance(index);
            // What was asked while it was away was not seen.
            self.take_requests(index);
        }
        if self.waker.take_asked() {
            for index in 0..self.places.len() {
                self.take_requests(index);
            }
        }
    }

    fn take_requests(&mut self, index: usize) {
        let Place::Here(patient) = &mut self.places[index] else { return };
        match patient.take_requests() {
            patient::Asked::Nothing => {}
            patient::Asked::Something => self.glance(index),
            patient::Asked::NoMore => self.places[index] = Place::Gone,
        }
    }

    fn glance(&mut self, index: usize) {
        let Some(Place::Here(patient)) = self.places.get_mut(index) else { return };
        let next = patient.sampler.glance();
        patient.watch(&self.epoll, index as u64);
        match next {
            Next::Glance(at) => {
                if patient.wake != at {
                    patient.wake = at;
                    self.due.push(Reverse((at, index)));
                }
            }
            Next::Attend => {
                if let Place::Here(patient) = std::mem::replace(&mut self.places[index], Place::Away) {
                    self.ward.admit(index, patient);
                }
            }
        }
    }
}

/// A pause for the kernel; `None` waits for ever.
fn timespec(pause: Option<Duration>) -> Option<Timespec> {
    let pause = pause?;
    let seconds = i64::try_from(pause.as_secs()).unwrap_or(i64::MAX);
    Some(Timespec { tv_sec: seconds, tv_nsec: pause.subsec_nanos().into() })
}
