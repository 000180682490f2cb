//! The same work on many things, by as many threads as there are processors.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// More than these get in each other's way in the kernel.
const MOST: usize = 4;

/// Does the work on each of these, begun in their order; what comes of it is in the order in which it ended.
pub fn side_by_side<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let (waiting, done) = (Mutex::new(all.into_iter()), Mutex::new(Vec::new()));
    let lane = || {
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some(one) = next() {
            let result = work(one);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
    thread::scope(|scope| {
        for _ in 1..processors {
            // Without a thread there are fewer at it.
            let _ = thread::Builder::new().name("recovery".into()).spawn_scoped(scope, lane);
        }
        lane();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_done_once() {
        let mut done = side_by_side((0..1000).collect(), |number: u32| 2 * number);
        done.sort_unstable();
        assert_eq!(done, (0..1000).map(|number| 2 * number).collect::<Vec<_>>());
        assert_eq!(side_by_side(Vec::new(), |(): ()| ()).len(), 0);
    }
}
