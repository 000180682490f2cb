//! The course of a recovery, decided without I/O: what to do next, by what came of what was done before.
//!
//! Prepare → fence, and see the fence → pull → rebuild each session silently, and have the local server's agent hold it →
//! announce → have each speak → give each to the local server, which would compete for the processors earlier. Nothing that cannot be undone is done before the fence was seen, and whatever fails before the announcement
//! is undone: then the target, if it lives, goes on as it was.

use super::report::{Fate, Mark, Outcome, Phase, Report, SessionReport};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// How a recovery is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only find out what would come of it.
    pub dry_run: bool,
    /// Go on though the target cannot be fenced: it is known to be dead, or cut off by other means.
    pub without_fence: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reach the local servers, and make the services' addresses local without a word: [`Course::prepared`].
    Prepare,
    /// Make the target silent on the services' addresses, and read back that it is: [`Course::fenced`].
    Fence,
    /// Pull the sessions and plan each: [`Course::pulled`].
    Pull,
    /// Rebuild this session silently, and offer it to the local server's agent: [`Course::rebuilt`].
    Rebuild(usize),
    /// Hear whether the local server's agent holds this session: [`Course::held`].
    Hold(usize),
    /// Tell the network where the addresses are: [`Course::announced`].
    Announce,
    /// Have this session speak: [`Course::resumed`].
    Resume(usize),
    /// Give this session, which speaks, to the local server: [`Course::begun`].
    Begin(usize),
    /// Give up the addresses and what was rebuilt, and lift the fence if it was set: [`Course::undone`].
    Undo,
    /// Nothing more: [`Course::report`].
    End,
}

/// What came of fencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It was seen to hold.
    Holds,
    /// It cannot be set, or was not seen to hold. Whether it holds all the same is not known.
    Fails(String),
}

/// A session that was pulled: it can go on, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The service's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// Why it is lost, if it is.
    pub lost: Option<String>,
}

/// What was pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The sessions.
    pub candidates: Vec<Candidate>,
    /// Why records could not be read.
    pub unreadable: Vec<String>,
    /// Whether a session was changed while it was read.
    pub is_torn: bool,
}

/// Readings of a target that still runs can contradict each other; a new one may not.
const PULLS: usize = 3;

/// A recovery under way.
#[derive(Debug)]
pub struct Course {
    terms: Terms,
    began: Duration,
    next: Action,
    fence_set: bool,
    pulls: usize,
    /// Sessions that wait for their turn in this phase.
    waiting: VecDeque<usize>,
    /// Sessions that have had it, and wait for the next phase.
    through: VecDeque<usize>,
    sessions: Vec<SessionReport>,
    unreadable: Vec<String>,
    marks: Vec<Mark>,
    outcome: Outcome,
    notes: Vec<String>,
}

impl Course {
    /// A recovery that begins now.
    #[must_use]
    pub fn new(now: Duration, terms: Terms) -> Course {
        Course {
            terms,
            began: now,
            // A dry run looks and nothing else.
            next: if terms.dry_run { Action::Pull } else { Action::Prepare },
            fence_set: false,
            pulls: 0,
            waiting: VecDeque::new(),
            through: VecDeque::new(),
            sessions: Vec::new(),
            unreadable: Vec::new(),
            marks: Vec::new(),
            outcome: Outcome::Done,
            notes: Vec::new(),
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Action {
        self.next
    }

    fn mark(&mut self, now: Duration, phase: Phase) {
        self.marks.push(Mark { phase, after: now.saturating_sub(self.began) });
    }

    fn fail(&mut self, reason: String) {
        self.outcome = Outcome::Failed(reason);
        self.next = Action::Undo;
    }

    /// Whether the local servers were reached and the addresses are local.
    pub fn prepared(&mut self, now: Duration, outcome: Result<(), String>) {
        self.mark(now, Phase::Prepared);
        match outcome {
            Ok(()) => self.next = Action::Fence,
            Err(reason) => self.fail(reason),
        }
    }

    /// What came of fencing.
    pub fn fenced(&mut self, now: Duration, fencing: Fencing) {
        self.mark(now, Phase::Fenced);
        self.fence_set = true;
        match fencing {
            Fencing::Holds => self.next = Action::Pull,
            Fencing::Fails(reason) if self.terms.without_fence => {
                self.notes.push(format!("went on without a fence: {reason}"));
                self.next = Action::Pull;
            }
            Fencing::Fails(reason) => self.fail(format!(
                "the target was not seen to be fenced: {reason}; if it is known to be dead, order it with --without-fence"
            )),
        }
    }

    /// What was pulled. Where some of it could not be read a new reading may give more.
    pub fn pulled(&mut self, now: Duration, outcome: Result<Reading, String>) {
        self.pulls += 1;
        match outcome {
            Ok(reading) if self.pulls < PULLS && (reading.is_torn || !reading.unreadable.is_empty()) => {}
            Err(_) if self.pulls < PULLS => {}
            Err(reason) => {
                self.mark(now, Phase::Pulled);
                self.fail(reason);
            }
            Ok(reading) => {
                self.mark(now, Phase::Pulled);
                self.take_in(reading.candidates);
                self.unreadable = reading.unreadable;
                self.next_to_rebuild();
            }
        }
    }

    fn take_in(&mut self, candidates: Vec<Candidate>) {
        for (index, Candidate { local, remote, lost }) in candidates.into_iter().enumerate() {
            let fate = match lost {
                Some(reason) => Fate::Lost(reason),
                None => {
                    self.waiting.push_back(index);
                    Fate::Recoverable
                }
            };
            self.sessions.push(SessionReport { local, remote, fate });
        }
    }

    fn next_to_rebuild(&mut self) {
        self.next = match self.waiting.pop_front() {
            _ if self.terms.dry_run => Action::End,
            Some(index) => Action::Rebuild(index),
            None => self.next_to_hold(),
        };
    }

    fn next_to_hold(&mut self) -> Action {
        self.waiting = std::mem::take(&mut self.through);
        // Without any session, too: new clients find the service here.
        self.waiting.pop_front().map_or(Action::Announce, Action::Hold)
    }

    fn lose(&mut self, index: usize, reason: String) {
        if let Some(session) = self.sessions.get_mut(index) {
            session.fate = Fate::Lost(reason);
        }
    }

    /// A session's turn in a phase is over; the next one's, or the next phase.
    fn turn(
        &mut self,
        index: usize,
        outcome: Result<(), String>,
        action: fn(usize) -> Action,
    ) -> Option<Action> {
        match outcome {
            Ok(()) => self.through.push_back(index),
            Err(reason) => self.lose(index, reason),
        }
        self.waiting.pop_front().map(action)
    }

    /// What came of rebuilding a session.
    pub fn rebuilt(&mut self, now: Duration, index: usize, outcome: Result<(), String>) {
        let next = self.turn(index, outcome, Action::Rebuild);
        self.next = next.unwrap_or_else(|| self.next_to_hold());
        if self.next == Action::Announce {
            self.mark(now, Phase::Rebuilt);
        }
    }

    /// Whether the local agent holds a session.
    pub fn held(&mut self, now: Duration, index: usize, outcome: Result<(), String>) {
        let next = self.turn(index, outcome, Action::Hold);
        self.next = next.unwrap_or(Action::Announce);
        if self.next == Action::Announce {
            self.mark(now, Phase::Rebuilt);
        }
    }

    /// Whether the network was told.
    pub fn announced(&mut self, now: Duration, outcome: Result<(), String>) {
        self.mark(now, Phase::Announced);
        self.waiting = std::mem::take(&mut self.through);
        match outcome {
            Ok(()) => self.next = self.waiting.pop_front().map_or(Action::End, Action::Resume),
            Err(reason) => {
                for index in std::mem::take(&mut self.waiting) {
                    self.lose(index, "the address was not announced".to_owned());
                }
                self.fail(reason);
            }
        }
    }

    /// What came of having a session speak.
    pub fn resumed(&mut self, now: Duration, index: usize, outcome: Result<(), String>) {
        let after = now.saturating_sub(self.began);
        if outcome.is_ok() {
            if let Some(session) = self.sessions.get_mut(index) {
                session.fate = Fate::Resumed { after };
            }
            if !self.marks.iter().any(|mark| mark.phase == Phase::FirstResumed) {
                self.mark(now, Phase::FirstResumed);
            }
        }
        if let Some(next) = self.turn(index, outcome, Action::Resume) {
            self.next = next;
            return;
        }
        self.mark(now, Phase::Resumed);
        self.waiting = std::mem::take(&mut self.through);
        self.next = self.waiting.pop_front().map_or(Action::End, Action::Begin);
    }

    /// What came of giving a session to the local server.
    pub fn begun(&mut self, now: Duration, index: usize, outcome: Result<(), String>) {
        self.next = self.turn(index, outcome, Action::Begin).unwrap_or(Action::End);
        if self.next == Action::End {
            self.mark(now, Phase::Begun);
        }
    }

    /// Whether the fence must be lifted when all is undone.
    #[must_use]
    pub fn must_lift(&self) -> bool {
        self.fence_set
    }

    /// What came of undoing.
    pub fn undone(&mut self, now: Duration, outcome: Result<(), String>) {
        self.mark(now, Phase::Undone);
        if let Err(reason) = outcome {
            self.notes.push(reason);
        }
        self.next = Action::End;
    }

    /// What came of all of it.
    #[must_use]
    pub fn report(&self, target: &str) -> Report {
        Report {
            target: target.to_owned(),
            dry_run: self.terms.dry_run,
            outcome: self.outcome.clone(),
            sessions: self.sessions.clone(),
            unreadable: self.unreadable.clone(),
            marks: self.marks.clone(),
            notes: self.notes.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
