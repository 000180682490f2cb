//! Who is attached, whose connections are held, and who gets them: decided from what is said and what is in the boxes, without
//! waiting for anybody.

mod endings;
mod offers;

use super::captured::Captured;
use super::going::{Going, go_on};
use backdoors_continuation_box::resume::Resumption;
use backdoors_continuation_box::service::message::{
    Bases, Boxed, Hello, Keep, Message, Recovered, Refusal, Role, Welcome,
};
use backdoors_continuation_box::snapshot::layout::BEING_MADE;
use backdoors_continuation_box::snapshot::{Attachment, BoxMemory, BoxView};
use backdoors_continuation_box::tcp::{Counts, CountsError, Ending};
use endings::Closing;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server that was attached to an earlier agent may take to attach to this one before another one can.
const AWAITED: Duration = Duration::from_secs(5);

/// Tells connections to the agent apart; never used twice.
pub type ConnectionId = u64;

/// A session's connection that is held.
pub trait Held {
    /// Its cookie.
    fn cookie(&self) -> Option<u64>;
    /// How far its application got.
    ///
    /// # Errors
    /// [`CountsError`].
    fn counts(&self) -> Result<Counts, CountsError>;
    /// How far it is with its end.
    fn ending(&self) -> Ending;
    /// Writes what there is room for.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` if there is no room.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Sends the end behind what was written.
    fn close(&self);
    /// Throws away what the client sent and nobody reads.
    fn drain(&self);
    /// Lets go of it: what was written is still sent.
    fn end(self);
    /// Breaks it off, so that the client knows at once.
    fn reset(self);
}

/// The time, by the clock that is waited by and by the one that is shown, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// To wait by.
    pub instant: Instant,
    /// To be shown.
    pub shown: u64,
}

/// What comes of a message.
#[derive(Debug, Default)]
pub struct Told {
    /// The answer.
    pub answer: Option<Message>,
    /// The memory of this service's boxes comes along.
    pub memory: Option<usize>,
    /// The connection is over.
    pub hang_up: bool,
}

impl Told {
    fn answer(message: Message) -> Told {
        Told { answer: Some(message), ..Told::default() }
    }

    fn refusal(retry_helps: bool, reason: impl Into<String>) -> Told {
        Told::answer(Message::Refusal(Refusal { retry_helps, reason: reason.into() }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Server(usize),
    Adopter(usize),
}

#[derive(Debug)]
struct Kept<S> {
    cookie: u64,
    bases: Bases,
    socket: S,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Its server has it.
    Served,
    /// Its server ended.
    Orphaned,
    /// Offered over a connection, and to go on by this plan; it is silent yet, and its box is empty.
    Offered { by: ConnectionId, plan: Resumption, is_ended: bool },
    /// Recovered from another machine; its server is to hear of it.
    Begun(Recovered),
}

#[derive(Debug)]
struct Place<S> {
    name: String,
    boxes: Arc<BoxMemory>,
    keep: Duration,
    server: Option<ConnectionId>,
    /// The process that is or was attached.
    pid: u32,
    kept: BTreeMap<u32, Kept<S>>,
    /// What servers are done with, and their clients may not be.
    closing: BTreeMap<u32, Closing<S>>,
    to_hand: VecDeque<u32>,
    /// There is no server, and what is kept is kept until then.
    until: Option<Instant>,
    /// The server of an earlier agent may come back until then.
    awaited: Option<Instant>,
}

/// All services.
#[derive(Debug)]
pub struct Desk<S> {
    places: Vec<Place<S>>,
    peers: BTreeMap<ConnectionId, Peer>,
    exists: fn(u32) -> bool,
    patience: Duration,
}

/// How a session is handed to its server: the message, the connection, and what is to be read again. An error of kind
/// `WouldBlock` has it tried again.
pub type Handing<'a, S> = dyn FnMut(&Recovered, &S, &[u8]) -> io::Result<()> + 'a;

impl<S: Held> Desk<S> {
    /// A desk for no services yet. `exists` tells whether there is a process; `patience` is how long a client that has everything
    /// may leave its own end open.
    #[must_use]
    pub fn new(exists: fn(u32) -> bool, patience: Duration) -> Desk<S> {
        Desk { places: Vec::new(), peers: BTreeMap::new(), exists, patience }
    }

    /// Adds a service. If `attached` is given a process with that id was attached to an earlier agent.
    pub fn add(
        &mut self,
        name: &str,
        boxes: Arc<BoxMemory>,
        keep: Duration,
        attached: Option<u32>,
        now: Now,
    ) {
        self.places.push(Place {
            name: name.into(),
            boxes,
            keep,
            server: None,
            pid: attached.unwrap_or(0),
            kept: BTreeMap::new(),
            closing: BTreeMap::new(),
            to_hand: VecDeque::new(),
            until: None,
            awaited: attached.map(|_| now.instant + AWAITED),
        });
    }

    /// Takes note of what was said over a connection, by process `pid`. What it hands on comes along: a socket, or the bytes of
    /// an old box.
    pub fn hear(
        &mut self,
        connection: ConnectionId,
        pid: u32,
        message: Message,
        mut socket: Option<S>,
        old_box: &[u8],
        now: Now,
    ) -> Told {
        let over = Told { hang_up: true, ..Told::default() };
        match (self.peers.get(&connection).copied(), message) {
            (None, Message::Hello(hello)) => self.hello(connection, pid, &hello, now),
            (Some(Peer::Server(place)), message) => {
                let Some(place) = self.places.get_mut(place) else { return over };
                match message {
                    Message::Keep(keep) => place.keep(&keep, socket.take()),
                    Message::Ready => {
                        place.free_marked();
                        place.ready()
                    }
                    Message::Ended(boxed) => place.ended(&boxed, now),
                    Message::Goodbye => {
                        place.leave(now);
                        self.peers.remove(&connection);
                        over
                    }
                    _ => over,
                }
            }
            (Some(Peer::Adopter(place)), message) => {
                let Some(place) = self.places.get_mut(place) else { return over };
                match (message, socket) {
                    (Message::Offer(offer), Some(socket)) => place.offer(connection, &offer, socket),
                    (Message::Offer(_), None) => Told::refusal(
                        true,
                        "the agent has no room for one more socket: raise its limit of open files",
                    ),
                    (Message::Begin(begin), _) => place.begin(connection, &begin, old_box, now),
                    _ => over,
                }
            }
            _ => over,
        }
    }

    fn hello(&mut self, connection: ConnectionId, pid: u32, hello: &Hello, now: Now) -> Told {
        let exists = self.exists;
        let service = &hello.service;
        let Some(number) = self.places.iter().position(|place| place.name == *service) else {
            let names: Vec<&str> = self.places.iter().map(|place| place.name.as_str()).collect();
            return Told::refusal(
                false,
                format!(
                    "there is no service {service:?} in the agent's configuration: add a [[service]], or use one of {}",
                    names.join(", ")
                ),
            );
        };
        let Some(place) = self.places.get_mut(number) else { return Told::default() };
        if hello.role == Role::Adopter {
            if place.server.is_none() {
                return Told::refusal(
                    true,
                    format!("no server of {service:?} is attached here: start it, and retry"),
                );
            }
            self.peers.insert(connection, Peer::Adopter(number));
            return Told::answer(Message::Welcome(place.welcome()));
        }
        if place.server.is_some() {
            let reason = format!(
                "process {} is the server of {service:?} already: end it, or attach under the name of another service",
                place.pid
            );
            return Told::refusal(true, reason);
        }
        let is_awaited = place.awaited.is_some_and(|until| now.instant < until);
        if is_awaited && pid != place.pid && exists(place.pid) {
            let reason = format!(
                "process {}, which was the server of {service:?} before the agent was restarted, still runs: retry in \
                 {AWAITED:?}",
                place.pid
            );
            return Told::refusal(true, reason);
        }
        place.attach(connection, pid, hello.role, now);
        self.peers.insert(connection, Peer::Server(number));
        Told { memory: Some(number), ..Told::answer(Message::Welcome(place.welcome())) }
    }

    /// Takes note that a connection ended.
    pub fn lose(&mut self, connection: ConnectionId, now: Now) {
        match self.peers.remove(&connection) {
            Some(Peer::Server(place)) => {
                if let Some(place) = self.places.get_mut(place) {
                    place.die(now);
                }
            }
            Some(Peer::Adopter(place)) => {
                if let Some(place) = self.places.get_mut(place) {
                    place.withdraw(connection);
                }
            }
            None => {}
        }
    }

    /// Whether somebody hands recovered sessions over.
    #[must_use]
    pub fn is_adopting(&self) -> bool {
        self.peers.values().any(|peer| matches!(peer, Peer::Adopter(_)))
    }

    /// Servers that there is something to be handed to.
    #[must_use]
    pub fn waiting(&self) -> Vec<ConnectionId> {
        let waiting = self.places.iter().filter(|place| !place.to_hand.is_empty());
        waiting.filter_map(|place| place.server).collect()
    }

    /// Hands a server the sessions that it is to go on with, as many as it takes.
    pub fn hand(
        &mut self,
        connection: ConnectionId,
        captured: &mut impl Captured,
        send: &mut Handing<'_, S>,
    ) {
        let Some(Peer::Server(place)) = self.peers.get(&connection).copied() else { return };
        if let Some(place) = self.places.get_mut(place) {
            place.hand(captured, send);
        }
    }

    /// Closes what was kept for long enough.
    pub fn look_after(&mut self, now: Now) {
        for place in &mut self.places {
            place.look_at_closing(now, self.patience);
            if place.until.is_some_and(|until| now.instant >= until) {
                place.until = None;
                place.close_all("no server came for it");
            }
            if place.awaited.is_some_and(|until| now.instant >= until) && !(self.exists)(place.pid) {
                tracing::warn!(
                    service = place.name,
                    pid = place.pid,
                    "a server ended while there was no agent"
                );
                place.awaited = None;
                place.boxes.show_attachment(Attachment::Died, now.shown, place.pid);
                place.free_strays();
            }
        }
    }

    /// When [`Desk::look_after`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = |place: &Place<S>| [place.until, place.awaited, place.next_look()];
        self.places.iter().flat_map(next).flatten().min()
    }
}

impl<S: Held> Place<S> {
    fn welcome(&self) -> Welcome {
        let shape = self.boxes.shape();
        Welcome {
            generation: self.boxes.generation(),
            capacity: shape.capacity,
            snapshot_bytes: shape.snapshot_bytes,
            ring_bytes: shape.ring_bytes,
            reserved: 0,
        }
    }

    fn attach(&mut self, connection: ConnectionId, pid: u32, role: Role, now: Now) {
        tracing::info!(service = self.name, pid, sessions = self.kept.len(), "attached a server");
        (self.server, self.pid) = (Some(connection), pid);
        (self.until, self.awaited) = (None, None);
        self.boxes.show_attachment(Attachment::Attached, now.shown, pid);
        if role == Role::Server {
            self.free_strays();
            self.ready();
        }
    }

    /// Boxes that nobody has any more: of sessions that were not kept, or that ended with their server.
    fn free_strays(&mut self) {
        for index in 0..self.boxes.shape().capacity {
            if !self.is_held(index) {
                self.boxes.free(index, self.boxes.cookie(index).unwrap_or(0));
            }
        }
    }

    fn is_held(&self, index: u32) -> bool {
        self.kept.contains_key(&index) || self.closing.contains_key(&index)
    }

    /// Whatever the server does not have is for it to have.
    fn ready(&mut self) -> Told {
        let is_waiting = |kept: &Kept<S>| matches!(kept.state, State::Orphaned | State::Begun(_));
        self.to_hand =
            self.kept.iter().filter(|(_, kept)| is_waiting(kept)).map(|(index, _)| *index).collect();
        Told::default()
    }

    fn keep(&mut self, keep: &Keep, socket: Option<S>) -> Told {
        let Keep { cookie, index, bases, .. } = *keep;
        let refusal = |reason: String| {
            tracing::warn!(service = self.name, cookie, reason, "a session is not kept");
            Told::answer(Message::NotKept(Boxed { cookie, index, reserved: 0 }, reason))
        };
        let Some(socket) = socket else {
            return refusal(
                "the agent has no room for one more socket: raise its limit of open files".into(),
            );
        };
        if cookie == BEING_MADE || cookie == 0 || self.boxes.cookie(index) != Some(cookie) {
            // Mostly it has ended already, and the word of that is under way.
            let reason = "the box is not this session's".into();
            return Told::answer(Message::NotKept(Boxed { cookie, index, reserved: 0 }, reason));
        }
        if socket.cookie() != Some(cookie) {
            return refusal("the socket is not this session's".into());
        }
        match socket.counts() {
            // It may end at any moment, and the server is about to see that.
            Ok(_) | Err(CountsError::Closed | CountsError::Unsteady) => {}
            Err(error @ CountsError::NotFound(_)) => return refusal(error.to_string()),
        }
        self.kept.insert(index, Kept { cookie, bases, socket, state: State::Served });
        Told::default()
    }

    /// The server left on purpose, and its sessions with it.
    fn leave(&mut self, now: Now) {
        tracing::info!(service = self.name, pid = self.pid, "a server left");
        self.server = None;
        self.boxes.show_attachment(Attachment::Left, now.shown, self.pid);
        self.close_all("its server left");
        self.free_strays();
    }

    /// The server ended without a goodbye.
    fn die(&mut self, now: Now) {
        self.server = None;
        self.to_hand.clear();
        self.until = Some(now.instant + self.keep);
        // What is only offered has an empty box yet.
        let is_over = |index: u32, kept: &Kept<S>| {
            !matches!(kept.state, State::Offered { .. }) && self.boxes.cookie(index) != Some(kept.cookie)
        };
        let ended: Vec<u32> = self
            .kept
            .iter()
            .filter(|(index, kept)| is_over(**index, kept))
            .map(|(index, _)| *index)
            .collect();
        for index in ended {
            if let Some(kept) = self.kept.remove(&index) {
                kept.socket.end();
            }
        }
        self.close_marked(now);
        for kept in self.kept.values_mut().filter(|kept| kept.state == State::Served) {
            kept.state = State::Orphaned;
        }
        self.free_strays();
        self.boxes.show_attachment(Attachment::Died, now.shown, self.pid);
        let (pid, sessions) = (self.pid, self.kept.len());
        tracing::warn!(service = self.name, pid, sessions, keep = ?self.keep, "a server ended: its sessions are kept");
    }

    /// Ends all sessions that no server has.
    fn close_all(&mut self, why: &str) {
        self.to_hand.clear();
        let is_silent = |kept: &Kept<S>| matches!(kept.state, State::Offered { .. });
        let indices: Vec<u32> =
            self.kept.iter().filter(|(_, kept)| !is_silent(kept)).map(|(index, _)| *index).collect();
        for index in indices {
            if let Some(kept) = self.kept.remove(&index) {
                tracing::warn!(service = self.name, cookie = kept.cookie, "a session was ended: {why}");
                self.boxes.free(index, kept.cookie);
                kept.socket.end();
            }
        }
    }

    fn hand(&mut self, captured: &mut impl Captured, send: &mut Handing<'_, S>) {
        if self.to_hand.is_empty() {
            return;
        }
        // Nothing of the others was read here.
        let is_orphan = |index: &u32| self.kept.get(index).is_some_and(|kept| kept.state == State::Orphaned);
        if self.to_hand.iter().any(is_orphan) {
            captured.look();
        }
        while let Some(index) = self.to_hand.front().copied() {
            let Some(kept) = self.kept.get(&index) else {
                self.to_hand.pop_front();
                continue;
            };
            let (recovered, replay) = match self.prepare(index, kept, captured) {
                Ok(prepared) => prepared,
                Err(end) => {
                    self.to_hand.pop_front();
                    self.give_up(index, &end);
                    continue;
                }
            };
            let Some(kept) = self.kept.get_mut(&index) else { return };
            match send(&recovered, &kept.socket, &replay) {
                Ok(()) => {
                    tracing::debug!(
                        service = self.name,
                        cookie = kept.cookie,
                        read_again = recovered.replay,
                        written_again = recovered.ahead,
                        "handed a session to its server"
                    );
                    (kept.state, kept.bases) = (State::Served, recovered.keep.bases);
                    self.to_hand.pop_front();
                }
                // It is tried again when there is room, or by the next server.
                Err(_) => return,
            }
        }
    }

    /// What the server is told of a session, and what is read again.
    fn prepare(
        &self,
        index: u32,
        kept: &Kept<S>,
        captured: &impl Captured,
    ) -> Result<(Recovered, Vec<u8>), EndOfSession> {
        if let State::Begun(recovered) = kept.state {
            return Ok((recovered, Vec::new()));
        }
        let bytes = self.boxes.read(index).unwrap_or_default();
        let view = BoxView::decode(self.boxes.shape(), &bytes, None);
        let view = view.map_err(|error| EndOfSession::Lost(format!("its box makes no sense: {error}")))?;
        let view = view.filter(|view| view.cookie == kept.cookie).ok_or(EndOfSession::Closed)?;
        let counts = kept.socket.counts().map_err(|error| match error {
            CountsError::Closed => EndOfSession::Closed,
            error => EndOfSession::Lost(error.to_string()),
        })?;
        let done = Counts {
            read: counts.read.wrapping_add(kept.bases.read),
            written: counts.written.wrapping_add(kept.bases.written),
        };
        let received = if done.read == view.newest.read { None } else { captured.received(kept.cookie) };
        let going = go_on(&view, done, received).map_err(|lost| EndOfSession::Lost(lost.to_string()))?;
        let Going { read, written, ahead, unsent, back, replay } = going;
        let keep = Keep { cookie: kept.cookie, index, reserved: 0, bases: kept.bases };
        let recovered = Recovered { keep, read, written, ahead, unsent, replay: replay.len() as u64, back };
        Ok((recovered, replay))
    }

    fn give_up(&mut self, index: u32, end: &EndOfSession) {
        let Some(kept) = self.kept.remove(&index) else { return };
        self.boxes.free(index, kept.cookie);
        match end {
            EndOfSession::Closed => {
                tracing::info!(
                    service = self.name,
                    cookie = kept.cookie,
                    "a session had ended when its server came"
                );
                kept.socket.end();
            }
            EndOfSession::Lost(reason) => {
                tracing::error!(service = self.name, cookie = kept.cookie, reason, "a session is lost");
                self.boxes.count_lost();
                kept.socket.reset();
            }
        }
    }
}

/// Why a session does not go on.
#[derive(Debug)]
enum EndOfSession {
    /// It is over anyway.
    Closed,
    /// It cannot go on exactly.
    Lost(String),
}

#[cfg(test)]
mod tests;
