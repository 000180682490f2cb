//! What is shared about one peer, between the threads that speak to it and those that judge.

use super::asking::{Asking, Next};
use super::opinion::Opinion;
use super::protocol::{ProtocolError, Question, Reply};
pub use backdoors_monitor_api::PeerReach;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How it stands with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its address, as configured.
    pub address: String,
    /// Whether it can be asked.
    pub reach: PeerReach,
    /// Why not.
    pub problem: Option<String>,
    /// Time from the last question to its answer.
    pub round_trip: Option<Duration>,
    /// When the last answer came, on the monotonic clock.
    pub answered: Option<Duration>,
    /// Questions that were answered so far.
    pub answers: u64,
    /// Targets of this monitor that the peer does not know by that name.
    pub unknown: Vec<String>,
    /// Whether the peer asks this monitor, too.
    pub asks: bool,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    address: String,
    targets: Arc<[String]>,
    state: Mutex<State>,
    /// Something is wanted at once, or everything is over.
    roused: Condvar,
}

#[derive(Debug)]
struct State {
    asking: Asking,
    /// Something was wanted since the last question.
    wanted: bool,
    over: bool,
    /// By target, as are the `unknown` ones.
    opinions: Vec<Option<Opinion>>,
    unknown: Vec<bool>,
    reach: PeerReach,
    problem: Option<String>,
    round_trip: Option<Duration>,
    answered: Option<Duration>,
    answers: u64,
    asks: bool,
}

/// What the thread that asks the peer shall do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Ask this.
    Ask(Question),
    /// See again what to do.
    SeeAgain,
    /// End.
    End,
}

/// What is new about a peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// It can be reached, and could not before.
    pub reached: bool,
    /// Names that it turned out not to know.
    pub unknown: Vec<String>,
}

impl Peer {
    pub(super) fn new(name: String, address: String, targets: &Arc<[String]>) -> Peer {
        let state = State {
            asking: Asking::new(Arc::clone(targets)),
            wanted: false,
            over: false,
            opinions: vec![None; targets.len()],
            unknown: vec![false; targets.len()],
            reach: PeerReach::Calling,
            problem: None,
            round_trip: None,
            answered: None,
            answers: 0,
            asks: false,
        };
        let targets = Arc::clone(targets);
        Peer { name, address, targets, state: Mutex::new(state), roused: Condvar::new() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn opinion(&self, target: usize) -> Option<Opinion> {
        self.state().opinions.get(target)?.clone()
    }

    pub(super) fn standing(&self) -> Standing {
        let state = self.state();
        let unknown = self.targets.iter().zip(&state.unknown).filter(|(_, unknown)| **unknown);
        Standing {
            name: self.name.clone(),
            address: self.address.clone(),
            reach: state.reach,
            problem: state.problem.clone(),
            round_trip: state.round_trip,
            answered: state.answered,
            answers: state.answers,
            unknown: unknown.map(|(name, _)| name.clone()).collect(),
            asks: state.asks,
        }
    }

    /// The peer's opinion of a target is wanted at once.
    pub(super) fn want(&self, target: usize) {
        let mut state = self.state();
        if state.asking.want(target) {
            state.wanted = true;
            drop(state);
            self.roused.notify_all();
        }
    }

    /// Everything is over: whoever waits is told.
    pub(super) fn end(&self) {
        self.state().over = true;
        self.roused.notify_all();
    }

    /// Whether the peer asks this monitor.
    pub(super) fn asks(&self, asks: bool) {
        self.state().asks = asks;
    }

    /// Waits for the time of the next call, which `due` gives for the present time and for whether an opinion is wanted.
    /// `false` if everything is over.
    pub(super) fn wait_to_call(
        &self,
        now: impl Fn() -> Duration,
        due: impl Fn(Duration, bool) -> Duration,
    ) -> bool {
        let mut state = self.state();
        loop {
            let time = now();
            let pause = due(time, state.wanted).saturating_sub(time);
            if state.over || pause.is_zero() {
                return !state.over;
            }
            state = self.wait(state, pause);
        }
    }

    /// A conversation began. `false` if everything is over.
    pub(super) fn connected(&self, now: Duration) -> bool {
        let mut state = self.state();
        state.asking.connected(now);
        !state.over
    }

    /// What to do in a conversation. Waits while there is nothing to do.
    pub(super) fn task(&self, now: impl Fn() -> Duration) -> Task {
        let mut state = self.state();
        if state.over {
            return Task::End;
        }
        let time = now();
        match state.asking.next(time) {
            Next::Ask(question) => {
                state.wanted = false;
                Task::Ask(question)
            }
            Next::Wait(until) => {
                drop(self.wait(state, until.saturating_sub(time)));
                Task::SeeAgain
            }
        }
    }

    /// An answer came at `at`.
    ///
    /// # Errors
    /// See [`ProtocolError`]: the conversation must be ended.
    pub(super) fn answered(&self, at: Duration, reply: Reply) -> Result<News, ProtocolError> {
        let mut state = self.state();
        let (asked, heard) = state.asking.answered(reply)?;
        let mut news = News { reached: state.reach != PeerReach::Reachable, unknown: Vec::new() };
        for (target, answered) in heard {
            let was_unknown = std::mem::replace(&mut state.unknown[target], answered.is_none());
            if answered.is_none() && !was_unknown {
                news.unknown.push(self.targets[target].clone());
            }
            state.opinions[target] =
                answered.map(|answered| Opinion::new(self.name.clone(), asked, at, answered));
        }
        state.reach = PeerReach::Reachable;
        state.problem = None;
        state.round_trip = Some(at.saturating_sub(asked));
        state.answered = Some(at);
        state.answers = state.answers.saturating_add(1);
        Ok(news)
    }

    /// The peer cannot be asked. `true` if that is new, or why.
    pub(super) fn failed(&self, problem: String) -> bool {
        let mut state = self.state();
        state.asking.disconnected();
        state.wanted = false;
        let new = state.reach == PeerReach::Reachable || state.problem.as_ref() != Some(&problem);
        state.reach = PeerReach::Unreachable;
        state.problem = Some(problem);
        new
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, pause: Duration) -> MutexGuard<'a, State> {
        self.roused.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
