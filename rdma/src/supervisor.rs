//! What a program tells whoever runs it as a service, which is systemd or nobody: that it is ready, what it does, and
//! that it works.

use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells that everything is up, and how it stands in a few words.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that the configuration is read again; [`reloaded`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Tells that the configuration was read again, whatever came of it.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(what: &[NotifyState<'_>]) {
    // It is no error if nobody wants to know.
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "the supervisor of this service hears nothing of it");
    }
}

/// Something that must go on for a program to be of use. Whoever does it beats now and then.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// It goes on.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells the supervisor that the program works, as long as all pulses beat. Nobody who only pings is believed: what
/// stands still keeps the program from saying so, and the supervisor restarts it.
#[derive(Debug)]
pub struct Watchdog {
    judge: Judge,
    begun: Instant,
}

impl Watchdog {
    /// If the supervisor wants to know it.
    #[must_use]
    pub fn wanted(pulses: Vec<Pulse>) -> Option<Watchdog> {
        let patience = sd_notify::watchdog_enabled()?;
        Some(Watchdog { judge: Judge::new(patience, pulses), begun: Instant::now() })
    }

    /// How long at most to wait before the next [`look`](Watchdog::look).
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.judge.every / 4
    }

    /// Tells the supervisor, if it is time to and all goes on.
    pub fn look(&mut self) {
        if self.judge.is_well(self.begun.elapsed()) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Decides when the supervisor is told.
#[derive(Debug)]
struct Judge {
    every: Duration,
    next: Duration,
    pulses: Vec<(Pulse, u64)>,
}

impl Judge {
    /// At half of what the supervisor bears.
    fn new(patience: Duration, pulses: Vec<Pulse>) -> Judge {
        let pulses = pulses.into_iter().map(|pulse| (pulse.clone(), pulse.count())).collect();
        Judge { every: patience / 2, next: Duration::ZERO, pulses }
    }

    /// Whether it is time, and all pulses have beaten since it was that last. If one has not it is time until it has.
    fn is_well(&mut self, now: Duration) -> bool {
        if now < self.next || self.pulses.iter().any(|(pulse, seen)| pulse.count() == *seen) {
            return false;
        }
        self.pulses.iter_mut().for_each(|(pulse, seen)| *seen = pulse.count());
        self.next = now + self.every;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_supervisor_is_told_twice_in_the_time_that_it_waits() {
        let pulse = Pulse::default();
        let mut judge = Judge::new(PATIENCE, vec![pulse.clone()]);
        let told = (0..20).filter(|second| {
            pulse.beat();
            judge.is_well(at(*second))
        });
        assert_eq!(told.collect::<Vec<_>>(), [0, 5, 10, 15]);
    }

    #[test]
    fn one_pulse_that_stands_still_is_enough_to_say_nothing() {
        let (goes_on, stops) = (Pulse::default(), Pulse::default());
        let mut judge = Judge::new(PATIENCE, vec![goes_on.clone(), stops.clone()]);
        stops.beat();
        for second in 0..30 {
            goes_on.beat();
            assert_eq!(judge.is_well(at(second)), second == 0, "{second}");
        }
    }

    #[test]
    fn a_pulse_that_was_late_is_told_as_soon_as_it_beats() {
        let pulse = Pulse::default();
        let mut judge = Judge::new(PATIENCE, vec![pulse.clone()]);
        pulse.beat();
        assert!(judge.is_well(at(0)) && !judge.is_well(at(5)) && !judge.is_well(at(7)));
        pulse.beat();
        assert!(judge.is_well(at(8)) && !judge.is_well(at(9)));
    }
}
