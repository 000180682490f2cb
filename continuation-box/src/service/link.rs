//! What a server shares with the thread that keeps it attached.

use super::agent::{self, Attached, Failure};
use super::channel;
use super::message::{Bases, Boxed, Keep, Message, Recovered, Role};
use super::upkeep;
use crate::snapshot::{BoxMemory, SessionBox};
use crate::tcp;
use backdoors_rdma::{Protection, SharedMemory};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{RecvFlags, SendFlags};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A server's connection to its agent, if there is an agent. Its sessions and its listener share it; when the last of
/// them is dropped the server has left.
#[derive(Debug)]
pub(super) struct Link(Arc<Shared>);

/// What the thread has, too.
#[derive(Debug)]
pub(super) struct Shared {
    pub path: PathBuf,
    pub service: String,
    state: Mutex<State>,
    arrived: Mutex<VecDeque<Arrived>>,
    /// Readable while something has arrived.
    bell: OwnedFd,
    /// Wakes the thread.
    pub wake: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<OwnedFd>>,
    boxes: Option<Arc<BoxMemory>>,
    /// By cookie.
    live: BTreeMap<u64, Live>,
    /// What the agent is to be told, as soon as it has room.
    unsaid: VecDeque<Unsaid>,
    has_left: bool,
}

#[derive(Debug)]
struct Live {
    keep: Keep,
    generation: u64,
    socket: Arc<TcpStream>,
    is_kept: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Unsaid {
    bytes: Vec<u8>,
    /// A session that is kept when this was said.
    kept: Option<(Arc<TcpStream>, Arc<AtomicBool>)>,
}

/// A session's place: its box, and whether it is kept.
#[derive(Debug)]
pub(super) struct Seat {
    pub session: SessionBox,
    pub is_kept: Arc<AtomicBool>,
    pub cookie: u64,
}

/// A recovered session.
#[derive(Debug)]
pub(super) struct Arrived {
    pub recovered: Recovered,
    pub socket: Arc<TcpStream>,
    pub replay: Vec<u8>,
    pub is_kept: Arc<AtomicBool>,
    pub boxes: Arc<BoxMemory>,
}

impl Link {
    /// Attaches, and has a thread attach it anew whenever that is lost. Without an agent it is attached as soon as there is one.
    pub fn open(path: PathBuf, service: String) -> Result<(Link, Option<Failure>), io::Error> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            path,
            service,
            state: Mutex::default(),
            arrived: Mutex::default(),
            bell: eventfd(0, flags)?,
            wake: eventfd(0, flags)?,
        });
        let failure = shared.attach().err();
        Ok((Link(shared), failure))
    }

    /// Attaches once more.
    pub fn attach(&self) -> Result<(), Failure> {
        self.0.attach()
    }

    /// Starts the thread.
    pub fn keep_up(&self) -> io::Result<()> {
        upkeep::start(&self.0)
    }

    /// A box for a new connection, which the agent is asked to hold; `None` if there is none.
    pub fn seat(&self, socket: &Arc<TcpStream>) -> Option<Seat> {
        let cookie = tcp::cookie(socket.as_fd()).ok()?;
        let mut state = self.0.state();
        let boxes = state.boxes.clone()?;
        let session = boxes.take(cookie)?;
        let keep = Keep { cookie, index: session.index(), reserved: 0, bases: Bases::default() };
        let is_kept = Arc::new(AtomicBool::new(false));
        let (socket, generation) = (Arc::clone(socket), boxes.generation());
        let live = Live { keep, generation, socket, is_kept: Arc::clone(&is_kept) };
        state.keep(&live);
        state.live.insert(cookie, live);
        self.0.say(&mut state);
        Some(Seat { session, is_kept, cookie })
    }

    /// A session has ended, and its box says so. `true` if the agent is told, and sees to connection and box.
    pub fn end(&self, cookie: u64) -> bool {
        let mut state = self.0.state();
        let Some(live) = state.live.remove(&cookie) else { return false };
        let is_its = state.boxes.as_ref().is_some_and(|boxes| boxes.generation() == live.generation);
        if !is_its || state.connection.is_none() {
            return false;
        }
        let ended = Message::Ended(Boxed { cookie, index: live.keep.index, reserved: 0 });
        state.unsaid.push_back(Unsaid { bytes: ended.encode(), kept: None });
        // Should the agent be gone before it hears this, the next one sees it in the box.
        self.0.say(&mut state);
        true
    }

    /// The agent is to end a session that cannot be taken.
    pub fn give_back(&self, keep: Keep) {
        self.0.give_back(keep);
    }

    /// The next session that was recovered.
    pub fn next_arrived(&self) -> Option<Arrived> {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let next = arrived.pop_front();
        if arrived.is_empty() {
            // It may not have rung at all.
            let _ = rustix::io::read(&self.0.bell, &mut [0; 8]);
        }
        next
    }

    /// Readable while a recovered session waits to be accepted.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}

impl Drop for Link {
    /// The server leaves. What was never accepted ends with it.
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unsaid.push_back(Unsaid { bytes: Message::Goodbye.encode(), kept: None });
        self.0.say(&mut state);
        state.has_left = true;
        state.connection = None;
        drop(state);
        ring(&self.0.wake);
    }
}

impl State {
    fn keep(&mut self, live: &Live) {
        let kept = Some((Arc::clone(&live.socket), Arc::clone(&live.is_kept)));
        self.unsaid.push_back(Unsaid { bytes: Message::Keep(live.keep).encode(), kept });
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // What a panic leaves undone is put right when the server is attached anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Attaches, and tells of all sessions there are. It does nothing if the server has left.
    pub fn attach(&self) -> Result<(), Failure> {
        let role = if self.state().boxes.is_some() { Role::ServerAgain } else { Role::Server };
        // Sessions come and go meanwhile.
        let Attached { connection, boxes } = agent::attach(&self.path, &self.service, role)?;
        let mut state = self.state();
        let State { boxes: known, live, unsaid, has_left, .. } = &mut *state;
        if *has_left {
            return Ok(());
        }
        // Sessions of other memory go on without protection: nobody sees what they write there.
        let boxes = known.take().filter(|known| known.generation() == boxes.generation()).unwrap_or(boxes);
        let generation = boxes.generation();
        *known = Some(boxes);
        unsaid.clear();
        for live in live.values().filter(|live| live.generation == generation) {
            let kept = Some((Arc::clone(&live.socket), Arc::clone(&live.is_kept)));
            unsaid.push_back(Unsaid { bytes: Message::Keep(live.keep).encode(), kept });
        }
        if role == Role::ServerAgain {
            unsaid.push_back(Unsaid { bytes: Message::Ready.encode(), kept: None });
        }
        state.connection = Some(Arc::new(connection));
        self.say(&mut state);
        Ok(())
    }

    /// Tells the agent what there is to tell, as much as it has room for; the thread goes on when it has more.
    fn say(&self, state: &mut State) {
        let Some(connection) = state.connection.clone() else {
            // All of it is told anew when there is an agent.
            state.unsaid.clear();
            return;
        };
        while let Some(unsaid) = state.unsaid.front() {
            let socket = unsaid.kept.as_ref().map(|(socket, _)| socket.as_fd());
            match channel::send(connection.as_fd(), &unsaid.bytes, socket.as_slice(), SendFlags::DONTWAIT) {
                Ok(()) => {
                    if let Some(Unsaid { kept: Some((_, is_kept)), .. }) = state.unsaid.pop_front() {
                        is_kept.store(true, Ordering::Relaxed);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ring(&self.wake),
                // The thread sees that the connection is over.
                Err(_) => return ring(&self.wake),
            }
        }
    }

    /// The connection to wait at, if any, and whether there is something to be said; an error if the server has left.
    pub fn connection(&self) -> Result<Option<(Arc<OwnedFd>, bool)>, HasLeft> {
        let state = self.state();
        if state.has_left {
            return Err(HasLeft);
        }
        Ok(state.connection.clone().map(|connection| (connection, !state.unsaid.is_empty())))
    }

    /// Says what there was no room for.
    pub fn go_on_saying(&self) {
        self.say(&mut self.state());
    }

    /// Hears what the agent has said; `false` if it is gone.
    pub fn hear(&self, connection: &OwnedFd) -> bool {
        loop {
            let packet = match channel::receive(connection.as_fd(), RecvFlags::DONTWAIT) {
                Ok(packet) if packet.bytes.is_empty() => return false,
                Ok(packet) => packet,
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            };
            let mut descriptors = packet.descriptors.into_iter();
            match (Message::decode(&packet.bytes), descriptors.next()) {
                (Ok(Message::NotKept(boxed, reason)), _) => {
                    // It may have ended meanwhile.
                    if let Some(live) = self.state().live.get(&boxed.cookie) {
                        tracing::warn!(service = self.service, reason, "a session is not kept by the agent");
                        live.is_kept.store(false, Ordering::Relaxed);
                    }
                }
                (Ok(Message::Recovered(recovered)), Some(socket)) => {
                    self.take(recovered, socket, descriptors.next());
                }
                (Ok(Message::Recovered(recovered)), None) => {
                    let cookie = recovered.keep.cookie;
                    tracing::error!(
                        cookie,
                        "a session was lost: no descriptor is free; raise the limit of open files"
                    );
                    self.give_back(recovered.keep);
                }
                _ => return false,
            }
        }
    }

    fn take(&self, recovered: Recovered, socket: OwnedFd, replay: Option<OwnedFd>) {
        let cookie = recovered.keep.cookie;
        let replay = match (usize::try_from(recovered.replay), replay) {
            (Ok(0), _) => Some(Vec::new()),
            (Ok(length), Some(memory)) => contents(&memory, length),
            _ => None,
        };
        let mut state = self.state();
        let (Some(boxes), Some(replay)) = (state.boxes.clone(), replay) else {
            drop(state);
            tracing::error!(cookie, "a session was lost: what it had read cannot be had");
            return self.give_back(recovered.keep);
        };
        let (socket, is_kept) = (Arc::new(TcpStream::from(socket)), Arc::new(AtomicBool::new(true)));
        state.live.insert(
            cookie,
            Live {
                keep: recovered.keep,
                generation: boxes.generation(),
                socket: Arc::clone(&socket),
                is_kept: Arc::clone(&is_kept),
            },
        );
        drop(state);
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push_back(Arrived { recovered, socket, replay, is_kept, boxes });
        ring(&self.bell);
    }

    /// The agent is to end a session that cannot be taken.
    fn give_back(&self, Keep { cookie, index, .. }: Keep) {
        let mut state = self.state();
        state.live.remove(&cookie);
        if let Some(boxes) = &state.boxes {
            boxes.free(index, cookie);
        }
        let ended = Message::Ended(Boxed { cookie, index, reserved: 0 });
        state.unsaid.push_back(Unsaid { bytes: ended.encode(), kept: None });
        self.say(&mut state);
    }

    /// The agent is gone.
    pub fn lose(&self) {
        let mut state = self.state();
        state.connection = None;
        state.unsaid.clear();
        for live in state.live.values() {
            live.is_kept.store(false, Ordering::Relaxed);
        }
    }
}

/// The server has left: nothing is to be done for it any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct HasLeft;

fn ring(bell: &OwnedFd) {
    // It can only fail if it rings already.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

fn contents(memory: &OwnedFd, length: usize) -> Option<Vec<u8>> {
    let there = usize::try_from(rustix::fs::fstat(memory).ok()?.st_size).ok()?;
    if there < length {
        return None;
    }
    let mut bytes = vec![0; length];
    let memory = SharedMemory::map(memory.as_fd(), 0, length, Protection::ReadOnly).ok()?;
    memory.read_bytes(0, &mut bytes).ok()?;
    Some(bytes)
}
