//! The course of a recovery, decided without I/O: what to do next, by what came of what was done before.
//!
//! Prepare → look who fences already → fence, and see the fence → pull → rebuild each session silently, and have the local
//! server's agent hold it → announce → have each speak → fetch what was never sent → give each to the local server, which would
//! compete for the processors earlier. Nothing that cannot be undone is done before the fence was seen, and whatever fails before
//! the announcement is undone: then the target, if it lives, goes on as it was.
//!
//! A recovery can end in the middle, with the monitor that did it. Before it announced, nobody has heard of it: the next one does
//! it all. Afterwards sessions may have gone on here, and what the target's memory says of them is old: none is rebuilt again. The
//! next recovery sees to it that the network knows, and tells which sessions are here and which are not.

use super::fence::Fenced;
use super::report::{Fate, Mark, Outcome, Phase, Report, SessionReport};
use std::net::SocketAddr;
use std::time::Duration;

/// How a recovery is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Only find out what would come of it.
    pub dry_run: bool,
    /// Go on though the target cannot be fenced: it is known to be dead, or cut off by other means.
    pub without_fence: bool,
    /// Go on though another monitor has fenced the target: it is known to have announced nothing.
    pub after_another: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reach the local servers, and make the services' addresses local without a word: [`Course::prepared`].
    Prepare,
    /// Find out who fences the target: [`Course::looked`].
    Look,
    /// Make the target silent on the services' addresses, and read back that it is: [`Course::fenced`].
    Fence,
    /// Pull the sessions and plan each: [`Course::pulled`].
    Pull,
    /// Rebuild the sessions silently, and have the local server's agent hold each: [`Course::rebuilt`].
    Rebuild,
    /// Tell the network where the addresses are: [`Course::announced`].
    Announce,
    /// Have the sessions speak: [`Course::resumed`].
    Resume,
    /// Fetch what the sessions that speak had written and never sent: [`Course::fetched`].
    Fetch,
    /// Give the sessions, which speak and are complete, to the local server: [`Course::begun`].
    Begin,
    /// Give up the addresses and what was rebuilt, and lift the fence if it was set: [`Course::undone`].
    Undo,
    /// Nothing more: [`Course::report`].
    End,
}

/// Where the services' addresses were on this machine before a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Nowhere.
    Free,
    /// Local and silent: a recovery ended here before it announced them.
    LeftSilent,
    /// One at least was where the network finds it.
    Announced,
}

/// What came of fencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It was seen to hold.
    Holds,
    /// It cannot be set, or was not seen to hold. Whether it holds all the same is not known.
    Fails(String),
}

/// What came of a phase, session by session.
pub type Outcomes = Vec<(usize, Result<(), String>)>;

/// What came of having a session speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Which one.
    pub index: usize,
    /// When it did, or did not.
    pub at: Duration,
    /// Why it is lost, if it is.
    pub outcome: Result<(), String>,
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
    /// Its connection is open on this machine: an earlier recovery brought it here.
    pub is_here: bool,
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

/// What is known of a session that is neither here nor can be rebuilt any more.
const GONE: &str = "an earlier recovery announced its address, and it is not here: it has ended since, or was lost with that recovery";

/// Readings, if nothing can be read or records make no sense: a new one may be better.
const PULLS: usize = 3;
/// Readings, if sessions change while they are read. Behind its fence a server that still runs stands still once its buffers are
/// full, or when its turn comes to be stopped; until then clients wait rather than lose their sessions.
const PULLS_OF_CHANGING: usize = 12;

/// A recovery under way.
#[derive(Debug)]
pub struct Course {
    terms: Terms,
    began: Duration,
    next: Action,
    fence_set: bool,
    addresses: Addresses,
    pulls: usize,
    /// Sessions that are not lost.
    left: Vec<usize>,
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
            addresses: Addresses::Free,
            pulls: 0,
            left: Vec::new(),
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

    /// The sessions that are not lost, in their order: it is their turn.
    #[must_use]
    pub fn left(&self) -> &[usize] {
        &self.left
    }

    fn mark(&mut self, now: Duration, phase: Phase) {
        self.marks.push(Mark { phase, after: now.saturating_sub(self.began) });
    }

    fn fail(&mut self, reason: String) {
        self.outcome = Outcome::Failed(reason);
        self.next = Action::Undo;
    }

    /// Whether the local servers were reached and the addresses are local, and where these were before.
    pub fn prepared(&mut self, now: Duration, outcome: Result<Addresses, String>) {
        self.mark(now, Phase::Prepared);
        match outcome {
            Ok(addresses) => {
                self.addresses = addresses;
                self.next = Action::Look;
            }
            Err(reason) => self.fail(reason),
        }
    }

    /// Who fences the target. Where nobody can tell, setting a fence says why.
    pub fn looked(&mut self, outcome: Result<Fenced, String>) {
        let Fenced { by_this, by_another } = outcome.unwrap_or_default();
        if self.was_announced() && !by_this && !by_another {
            let reason = "the services' addresses are this machine's already, and no recovery brought them here, for the target is \
                          not fenced; nothing was changed; take them away (`ip address del`) if it is to be recovered";
            self.fail(reason.to_owned());
        } else if by_another && self.addresses == Addresses::Free && !self.terms.after_another {
            let reason = "another monitor has fenced the target, and may have taken its services over; nothing was changed; let \
                          that one finish, or, if it is known to have announced nothing, order it with --after-another";
            self.fail(reason.to_owned());
        } else {
            self.next = Action::Fence;
        }
    }

    /// Whether an earlier recovery may have had sessions go on here: then none is rebuilt.
    #[must_use]
    pub fn was_announced(&self) -> bool {
        self.addresses == Addresses::Announced
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
            Ok(reading) if reading.is_torn && self.pulls < PULLS_OF_CHANGING => {}
            Ok(reading) if !reading.unreadable.is_empty() && self.pulls < PULLS => {}
            Err(_) if self.pulls < PULLS => {}
            Err(reason) => {
                self.mark(now, Phase::Pulled);
                self.fail(reason);
            }
            Ok(reading) => {
                self.mark(now, Phase::Pulled);
                self.take_in(reading.candidates);
                self.unreadable = reading.unreadable;
                self.next = match self.left.is_empty() {
                    _ if self.terms.dry_run => Action::End,
                    false => Action::Rebuild,
                    // Without any session, too: new clients find the service here.
                    true => Action::Announce,
                };
            }
        }
    }

    fn take_in(&mut self, candidates: Vec<Candidate>) {
        for (index, Candidate { local, remote, lost, is_here }) in candidates.into_iter().enumerate() {
            let fate = match lost {
                _ if is_here => Fate::Earlier,
                _ if self.was_announced() => Fate::Lost(GONE.to_owned()),
                Some(reason) => Fate::Lost(reason),
                None => {
                    self.left.push(index);
                    Fate::Recoverable
                }
            };
            self.sessions.push(SessionReport { local, remote, fate });
        }
    }

    fn lose(&mut self, index: usize, reason: String) {
        self.left.retain(|left| *left != index);
        if let Some(session) = self.sessions.get_mut(index) {
            session.fate = Fate::Lost(reason);
        }
    }

    fn lose_those_that_failed(&mut self, outcomes: Outcomes) {
        for (index, outcome) in outcomes {
            if let Err(reason) = outcome {
                self.lose(index, reason);
            }
        }
    }

    /// The next phase, for which there must be sessions.
    fn go_on_with(&mut self, action: Action) {
        self.next = if self.left.is_empty() { Action::End } else { action };
    }

    /// What came of rebuilding the sessions.
    pub fn rebuilt(&mut self, now: Duration, outcomes: Outcomes) {
        self.lose_those_that_failed(outcomes);
        self.mark(now, Phase::Rebuilt);
        self.next = Action::Announce;
    }

    /// Whether the network was told.
    pub fn announced(&mut self, now: Duration, outcome: Result<(), String>) {
        self.mark(now, Phase::Announced);
        match outcome {
            Ok(()) => self.go_on_with(Action::Resume),
            Err(reason) => {
                for index in std::mem::take(&mut self.left) {
                    self.lose(index, "the address was not announced".to_owned());
                }
                self.fail(reason);
            }
        }
    }

    /// What came of having the sessions speak.
    pub fn resumed(&mut self, all: Vec<Spoken>) {
        let (mut first, mut last) = (None, self.began);
        for Spoken { index, at, outcome } in all {
            last = last.max(at);
            match outcome {
                Ok(()) => {
                    first = Some(first.map_or(at, |first| at.min(first)));
                    let after = at.saturating_sub(self.began);
                    if let Some(session) = self.sessions.get_mut(index) {
                        session.fate = Fate::Resumed { after };
                    }
                }
                Err(reason) => self.lose(index, reason),
            }
        }
        if let Some(first) = first {
            self.mark(first, Phase::FirstResumed);
        }
        self.mark(last, Phase::Resumed);
        self.go_on_with(Action::Fetch);
    }

    /// What came of fetching what was never sent. Sessions that had nothing of that go on whatever came of it.
    pub fn fetched(&mut self, outcome: Result<(), String>) {
        if let Err(reason) = outcome {
            self.notes.push(format!("what was written and never sent was not read: {reason}"));
        }
        self.next = Action::Begin;
    }

    /// What came of giving the sessions to the local server.
    pub fn begun(&mut self, now: Duration, outcomes: Outcomes) {
        self.lose_those_that_failed(outcomes);
        self.mark(now, Phase::Begun);
        self.next = Action::End;
    }

    /// Whether the fence must be lifted when all is undone.
    #[must_use]
    pub fn must_lift(&self) -> bool {
        // Two machines would speak from the addresses.
        self.fence_set && !self.was_announced()
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
