//! What holds a recording still while it is played.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shared by who plays and who is shown.
#[derive(Clone, Debug, Default)]
pub struct Hold(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_held: Mutex<bool>,
    changed: Condvar,
}

impl Hold {
    /// Holds it still, or has it go on.
    pub fn set(&self, is_held: bool) {
        *self.is_held() = is_held;
        self.0.changed.notify_all();
    }

    /// Sleeps so long, and for as long as it is held meanwhile; returns how long that was.
    #[must_use]
    pub fn sleep(&self, mut left: Duration) -> Duration {
        let mut held = Duration::ZERO;
        let mut is_held = self.is_held();
        loop {
            let begun = Instant::now();
            if *is_held {
                is_held = self.0.changed.wait(is_held).unwrap_or_else(PoisonError::into_inner);
                held += begun.elapsed();
            } else if left.is_zero() {
                return held;
            } else {
                let woken = self.0.changed.wait_timeout(is_held, left);
                is_held = woken.unwrap_or_else(PoisonError::into_inner).0;
                left = left.saturating_sub(begun.elapsed());
            }
        }
    }

    fn is_held(&self) -> MutexGuard<'_, bool> {
        self.0.is_held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_held_sleeps_on_and_is_told_how_long_it_was_held() {
        const HELD: Duration = Duration::from_millis(30);
        for left in [Duration::ZERO, Duration::from_millis(1)] {
            let hold = Hold::default();
            hold.set(true);
            let (begun, holder) = (Instant::now(), hold.clone());
            let holding = std::thread::spawn(move || {
                std::thread::sleep(HELD);
                holder.set(false);
            });
            let slept = Instant::now();
            let held = hold.sleep(left);
            assert!(held <= slept.elapsed());
            assert!(begun.elapsed() >= HELD);
            holding.join().unwrap();
        }
    }

    #[test]
    fn who_is_not_held_sleeps_as_long_as_it_wanted() {
        let (hold, begun) = (Hold::default(), Instant::now());
        assert_eq!(hold.sleep(Duration::from_millis(5)), Duration::ZERO);
        assert!(begun.elapsed() >= Duration::from_millis(5));
    }
}
