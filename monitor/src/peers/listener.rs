//! The threads that answer peers.
//!
//! Who did not prove yet who it is may be anybody: there is room for so many at once, and when it is full the one who has
//! taken longest makes room. Peers have one conversation each; a new one replaces the old.

use super::allowance::Allowance;
use super::answering::Answering;
use super::opinion::Knowledge;
use super::peer::Peer;
use super::protocol::MOST_BYTES;
use crate::clock::{Clock, SystemClock};
use backdoors_rdma::handshake::{Acceptor, Framed, FramedError, HangUp};
use rustix::net::Shutdown;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Strangers at once that may prove to be peers. A peer needs some milliseconds for that.
const MOST_STRANGERS: usize = 16;
/// A peer asks once a second; one that is silent for longer than this is gone.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// Longest time a peer may take to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Strangers in a second, in the long run: proofs cost time of this machine. The queue of those who wait to be
/// accepted, 128 long, passes faster than a peer loses patience.
const STRANGERS_RATE: f64 = 200.0;
/// Strangers beyond that for a moment.
const STRANGERS_BURST: f64 = 64.0;
/// How long nobody is accepted after the system could not accept anybody, lest the thread spins.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers peers until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: TcpListener,
    acceptor: Acceptor,
    peers: Vec<Arc<Peer>>,
    knowledge: Arc<dyn Knowledge>,
    guests: Mutex<Guests>,
}

#[derive(Default)]
struct Guests {
    /// Number of the next guest.
    next: u64,
    /// Who has not proved yet who it is, by number, in the order in which they came.
    strangers: VecDeque<(u64, TcpStream)>,
    /// Conversations, by name of the peer.
    conversations: BTreeMap<String, (u64, HangUp)>,
    over: bool,
}

impl Listener {
    /// Answers `peers`, which `acceptor` knows by the same names, from now on.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn start(
        socket: TcpListener,
        acceptor: Acceptor,
        peers: Vec<Arc<Peer>>,
        knowledge: Arc<dyn Knowledge>,
    ) -> io::Result<Listener> {
        let guests = Mutex::default();
        let shared = Arc::new(Shared { socket, acceptor, peers, knowledge, guests });
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("peers".into()).spawn(move || accept(&serving))?;
        Ok(Listener { shared, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let guests =
            std::mem::replace(&mut *self.shared.guests(), Guests { over: true, ..Guests::default() });
        for (_, stranger) in &guests.strangers {
            drop(stranger.shutdown(std::net::Shutdown::Both));
        }
        for (_, hang_up) in guests.conversations.values() {
            hang_up.now();
        }
        if rustix::net::shutdown(&self.shared.socket, Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Shared {
    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(shared: &Arc<Shared>) {
    let mut allowance = Allowance::new(STRANGERS_RATE, STRANGERS_BURST, SystemClock.monotonic());
    loop {
        std::thread::sleep(allowance.charge(SystemClock.monotonic(), 1.0));
        let stream = match shared.socket.accept() {
            Ok((stream, _)) => stream,
            // That is what a listener that was shut down says.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::warn!(%error, "no peer can be accepted");
                std::thread::sleep(PAUSE);
                continue;
            }
        };
        if let Err(error) = receive(shared, stream) {
            tracing::warn!(%error, "no thread for a peer");
        }
    }
}

/// Gives a guest a thread, and a stranger's place.
fn receive(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    let copy = stream.try_clone()?;
    let number = {
        let mut guests = shared.guests();
        let number = guests.next;
        guests.next += 1;
        if guests.strangers.len() >= MOST_STRANGERS
            && let Some((_, oldest)) = guests.strangers.pop_front()
        {
            drop(oldest.shutdown(std::net::Shutdown::Both));
        }
        guests.strangers.push_back((number, copy));
        number
    };
    let serving = Arc::clone(shared);
    let started = std::thread::Builder::new().name("peer's".into()).spawn(move || {
        let proved = serving.acceptor.accept_framed(stream);
        serving.guests().strangers.retain(|(other, _)| *other != number);
        match proved {
            Ok((name, conversation)) => attend(&serving, number, &name, conversation),
            Err(error) => tracing::debug!(%error, "no peer"),
        }
    });
    if started.is_err() {
        shared.guests().strangers.retain(|(other, _)| *other != number);
    }
    started.map(drop)
}

/// Answers a peer to the end.
fn attend(shared: &Shared, number: u64, name: &str, conversation: Framed) {
    let Ok(hang_up) = conversation.hang_up() else { return };
    let Some(peer) = shared.peers.iter().find(|peer| peer.name() == name) else { return };
    {
        let mut guests = shared.guests();
        if guests.over {
            return;
        }
        if let Some((_, old)) = guests.conversations.insert(name.to_owned(), (number, hang_up)) {
            old.now();
        }
        peer.asks(true);
    }
    tracing::info!(peer = name, "the peer asks");
    let why = answer(conversation, &*shared.knowledge);
    let mut guests = shared.guests();
    if guests.conversations.get(name).is_some_and(|(current, _)| *current == number) {
        guests.conversations.remove(name);
        peer.asks(false);
        tracing::info!(peer = name, why, "the peer asks no more");
    }
}

/// Answers a peer's questions, until it errs or hangs up. Returns why.
fn answer(mut conversation: Framed, knowledge: &dyn Knowledge) -> String {
    let mut answering = Answering::new(SystemClock.monotonic());
    let mut question = Vec::new();
    let mut converse = || -> Result<String, FramedError> {
        loop {
            conversation.receive(&mut question, MOST_BYTES, IDLE_TIME)?;
            match answering.asked(SystemClock.monotonic(), &question, knowledge) {
                Ok(answer) => {
                    std::thread::sleep(answer.pause);
                    conversation.send(&answer.bytes, ANSWER_TIME)?;
                }
                Err(refusal) => {
                    conversation.send(&refusal.bytes, ANSWER_TIME)?;
                    return Ok(refusal.why.to_string());
                }
            }
        }
    };
    converse().unwrap_or_else(|error| error.to_string())
}
