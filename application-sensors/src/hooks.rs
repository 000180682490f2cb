//! Hooks: what the application lets monitors have done, and the thread that does it.
//!
//! Calls arrive at the thread that keeps the application attached, which must not be held up by them. So hooks run on a
//! thread of their own, which there is only if there are hooks.

use crate::agent::Connection;
use backdoors_sensor_box::application::{Answered, Call, HookResult, HookSpec};
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

/// A hook: a name, the words it takes, and what is done with a word.
pub struct Hook {
    name: String,
    least: u64,
    most: u64,
    callback: Callback,
}

type Callback = Box<dyn FnMut(u64) -> Result<(), u32> + Send>;

impl Hook {
    /// A hook that takes `words`. For each call `callback` runs once, on a thread of this library, never two of an
    /// application's at the same time; its `Err` is a code for those who called, which the application chooses. One that
    /// panics has failed with code [`u32::MAX`], and can be called again.
    #[must_use]
    pub fn new(
        name: &str,
        words: RangeInclusive<u64>,
        callback: impl FnMut(u64) -> Result<(), u32> + Send + 'static,
    ) -> Hook {
        let (least, most) = words.into_inner();
        Hook::ranging(name, least, most, callback)
    }

    pub(crate) fn ranging(
        name: &str,
        least: u64,
        most: u64,
        callback: impl FnMut(u64) -> Result<(), u32> + Send + 'static,
    ) -> Hook {
        Hook { name: name.into(), least, most, callback: Box::new(callback) }
    }

    /// What the agent is told of it.
    pub(crate) fn spec(&self) -> HookSpec<'_> {
        HookSpec { name: &self.name, least: self.least, most: self.most }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec().fmt(formatter)
    }
}

/// Hooks that can be called until they are closed.
pub(crate) struct Hooks(Mutex<Vec<Callback>>);

/// A call that arrived, and where its answer goes, which must not be kept open by a hook that does not return.
pub(crate) struct Arrived {
    pub call: Call,
    pub connection: Weak<Connection>,
}

impl Hooks {
    pub fn new(hooks: Vec<Hook>) -> Hooks {
        Hooks(Mutex::new(hooks.into_iter().map(|hook| hook.callback).collect()))
    }

    fn callbacks(&self) -> MutexGuard<'_, Vec<Callback>> {
        // Panics of callbacks do not get out while it is locked, and nothing else changes it in parts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls and answers.
    pub fn serve(&self, Arrived { call, connection }: &Arrived) {
        // Held until it is answered, so that who closes them may say goodbye at once.
        let mut callbacks = self.callbacks();
        // What became of it is nobody's to know if the agent has gone meanwhile.
        if let Some(result) = run(&mut callbacks, call)
            && let Some(connection) = connection.upgrade()
        {
            connection.answer(&Answered { id: call.id, result });
        }
    }

    /// None runs any more when this returns, and none will. Waits for one that runs.
    pub fn close(&self) {
        self.callbacks().clear();
    }
}

/// `None` once they are closed, and of a hook that there is not, which the agent does not call.
fn run(callbacks: &mut [Callback], call: &Call) -> Option<HookResult> {
    let callback = callbacks.get_mut(call.hook as usize)?;
    // Looked at last, with nothing left to wait for.
    if monotonic() >= call.until {
        return Some(HookResult::TooLate);
    }
    // What a panic leaves half done in the application's state is the application's to mind, as it is told.
    Some(match catch_unwind(AssertUnwindSafe(|| callback(call.word))) {
        Ok(Ok(())) => HookResult::Done,
        Ok(Err(code)) => HookResult::Failed(code),
        Err(_) => HookResult::Failed(HookResult::PANICKED),
    })
}

/// Nanoseconds of the monotonic clock.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(hook: u32, word: u64) -> Call {
        Call { id: 1, hook, word, until: u64::MAX }
    }

    #[test]
    fn a_hook_that_panics_has_failed_and_can_be_called_again() {
        let hooks = Hooks::new(vec![Hook::new("h", 0..=9, |word| {
            assert!(word != 0, "as it is meant to");
            Err(word as u32)
        })]);
        assert_eq!(run(&mut hooks.callbacks(), &call(0, 0)), Some(HookResult::Failed(u32::MAX)));
        assert_eq!(run(&mut hooks.callbacks(), &call(0, 3)), Some(HookResult::Failed(3)));
    }

    #[test]
    fn a_call_that_comes_too_late_is_not_begun() {
        let hooks = Hooks::new(vec![Hook::new("h", 0..=9, |_| panic!("it was begun"))]);
        let late = Call { until: monotonic(), ..call(0, 0) };
        assert_eq!(run(&mut hooks.callbacks(), &late), Some(HookResult::TooLate));
    }

    #[test]
    fn what_is_closed_or_never_was_is_not_called() {
        let hooks = Hooks::new(vec![Hook::new("h", 0..=9, |_| Ok(()))]);
        assert_eq!(run(&mut hooks.callbacks(), &call(1, 0)), None);
        assert_eq!(run(&mut hooks.callbacks(), &call(0, 0)), Some(HookResult::Done));
        hooks.close();
        assert_eq!(run(&mut hooks.callbacks(), &call(0, 0)), None);
    }
}
