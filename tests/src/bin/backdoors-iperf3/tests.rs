//! What the sessions of a test tell each other. None of it has to outlive the server.

use crate::{Parameters, State, Step};
use anyhow::{Result, bail};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anybody waits for another session of its test.
const PATIENCE: Duration = Duration::from_secs(60);

/// The tests that are under way, by their cookies.
#[derive(Default)]
pub struct Tests {
    tests: Mutex<HashMap<String, Test>>,
    news: Condvar,
}

#[derive(Default)]
struct Test {
    parameters: Option<Parameters>,
    is_running: bool,
    /// Bytes of each stream so far.
    counts: BTreeMap<usize, u64>,
}

/// What a connection is.
pub enum Role {
    /// It controls a test.
    Control,
    /// It is the stream of this number.
    Stream(usize, Parameters),
}

impl Tests {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Test>> {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new connection in.
    pub fn enter(&self, cookie: &str) -> Result<Role> {
        let mut tests = self.lock();
        let Some(test) = tests.get_mut(cookie) else {
            tests.insert(cookie.to_owned(), Test::default());
            return Ok(Role::Control);
        };
        let Some(parameters) = test.parameters.clone() else { bail!("a stream before the parameters") };
        let number = test.counts.len();
        test.counts.insert(number, 0);
        Ok(Role::Stream(number, parameters))
    }

    /// Takes a recovered session in.
    pub fn go_on(&self, state: &State) {
        let (State::Control { cookie, .. } | State::Stream { cookie, .. }) = state;
        self.lock().entry(cookie.clone()).or_default();
    }

    /// Tells how far the test has come.
    pub fn is_open(&self, cookie: &str, parameters: Option<&Parameters>, step: Step) {
        if let Some(test) = self.lock().get_mut(cookie) {
            test.parameters = parameters.cloned();
            test.is_running = step > Step::Streams;
        }
        self.news.notify_all();
    }

    /// Tells how far a stream has come.
    pub fn counted(&self, cookie: &str, number: usize, count: u64) {
        if let Some(test) = self.lock().get_mut(cookie) {
            test.counts.insert(number, count);
        }
        self.news.notify_all();
    }

    /// Forgets a test.
    pub fn leave(&self, cookie: &str) {
        self.lock().remove(cookie);
        self.news.notify_all();
    }

    fn wait<T>(&self, cookie: &str, what: &str, mut look: impl FnMut(&Test) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut tests = self.lock();
        loop {
            let Some(test) = tests.get(cookie) else { bail!("the test ended before {what}") };
            if let Some(found) = look(test) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("waited {PATIENCE:?} for {what}; the streams have come to {:?}", test.counts);
            }
            tests = self.news.wait_timeout(tests, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub fn wait_for_streams(&self, cookie: &str, wanted: usize) -> Result<()> {
        self.wait(cookie, "its streams", |test| (test.counts.len() == wanted).then_some(()))
    }

    pub fn wait_until_running(&self, cookie: &str) -> Result<()> {
        self.wait(cookie, "its beginning", |test| test.is_running.then_some(()))
    }

    /// Waits until each stream has come to where it ends: where the client says, or at its share. Returns what each transferred.
    pub fn wait_for_counts(
        &self,
        cookie: &str,
        parameters: &Parameters,
        expected: Option<Vec<u64>>,
    ) -> Result<Vec<u64>> {
        let share = parameters.num / parameters.parallel as u64;
        let expected = expected.unwrap_or_else(|| vec![share; parameters.parallel]);
        self.wait(cookie, "all bytes", |test| {
            let counts: Vec<u64> = test.counts.values().copied().collect();
            let are_there = counts.iter().zip(&expected).all(|(count, expected)| count >= expected);
            (are_there && counts.len() == expected.len()).then_some(counts)
        })
    }
}
