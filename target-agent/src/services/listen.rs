//! The socket at which servers of services attach, and recovered sessions are handed over: a unix socket of type
//! `SOCK_SEQPACKET`, configured as `service_socket`. What is said there is in [`backdoors_continuation_box::service::message`].
//!
//! Its mode is 0660, as that of `applications` is. Who may use it can be the server of any service whose server is not running:
//! it is given the connections of a server that died. Process ids are the kernel's word, not the other end's.

use super::desk::{ConnectionId, Desk, Held, Now, Told};
use super::{CapturedSessions, ServiceBoxes};
use crate::applications::monotonic;
use backdoors_continuation_box::descriptors;
use backdoors_continuation_box::service::channel::{self, Packet};
use backdoors_continuation_box::service::message::{Message, Recovered, Refusal};
use backdoors_continuation_box::snapshot::Shape;
use backdoors_continuation_box::tcp::{self, Counts, CountsError, Ending};
use backdoors_rdma::SharedMemory;
use backdoors_rdma::owner::Listener;
use backdoors_rdma::realtime::{schedule_first, schedule_ordinarily};
use backdoors_sensor_box::session::layout::LARGEST_RING;
use nix::libc::linger;
use nix::sys::socket::{Shutdown, getsockopt, setsockopt, shutdown, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a connection may be silent before it says who it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of the thread while recovered sessions are handed over: before all ordinary threads, as the one that hands them over.
const PRIORITY: i32 = 1;
/// Connections that have not said who they are; one more takes the place of the oldest.
const UNDECIDED: usize = 16;
/// How long the loop waits at most while somebody is undecided, or no more can be accepted.
const ROUND: Duration = Duration::from_millis(250);
/// Messages that are heard of one connection before the next.
const AT_ONCE: usize = 64;
/// Answers that nobody takes.
const MOST_ANSWERS: usize = 4096;

/// Serves servers and adopters until `stop` becomes readable or is closed at its other end.
///
/// # Errors
/// Only if the system cannot wait for events at all.
pub fn serve(
    listener: &Listener,
    services: &[ServiceBoxes],
    mut captured: CapturedSessions,
    stop: BorrowedFd<'_>,
) -> io::Result<()> {
    make_room(listener, services);
    let mut desk: Desk<OwnedFd> = Desk::new(crate::applications::exists, fin_timeout());
    for service in services {
        desk.add(&service.name, service.boxes.clone(), service.keep, service.attached(), now());
    }
    let mut reception =
        Reception { desk, services, connections: Vec::new(), next: 1, is_paused: false, goes_first: false };
    loop {
        let Some((ready, is_waiting)) = reception.wait(listener, stop)? else { return Ok(()) };
        // Ends first, so that who comes back at once finds the place free.
        for hung_up in [true, false] {
            for (id, _) in ready.iter().filter(|(_, flags)| flags.contains(PollFlags::HUP) == hung_up) {
                reception.hear(*id, hung_up, &captured);
            }
        }
        if is_waiting {
            reception.accept(listener);
        }
        reception.hurry();
        reception.hand_out(&mut captured);
        reception.desk.look_after(now());
        reception.forget_the_silent();
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), shown: monotonic() }
}

/// How long the kernel itself would wait for a client that has everything to close its end.
fn fin_timeout() -> Duration {
    const USUAL: Duration = Duration::from_secs(60);
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fin_timeout").unwrap_or_default();
    text.trim().parse().map_or(USUAL, Duration::from_secs)
}

/// A descriptor for each session.
fn make_room(listener: &Listener, services: &[ServiceBoxes]) {
    // What else the agent has open is far less than this.
    const OTHERS: u64 = 512;
    let sessions: u64 = services.iter().map(|service| u64::from(service.boxes.shape().capacity)).sum();
    match descriptors::make_room(sessions + OTHERS, listener) {
        Ok(None) => {}
        Ok(Some(most)) => tracing::warn!(
            most,
            sessions,
            "not all sessions can be kept: raise the agent's limit of open files (LimitNOFILE)"
        ),
        Err(error) => tracing::warn!(%error, "there may be no room for the descriptors of all sessions"),
    }
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    socket: OwnedFd,
    pid: u32,
    since: Instant,
    has_spoken: bool,
    answers: VecDeque<(Vec<u8>, Option<usize>)>,
}

struct Reception<'a> {
    desk: Desk<OwnedFd>,
    services: &'a [ServiceBoxes],
    connections: Vec<Connection>,
    next: ConnectionId,
    is_paused: bool,
    goes_first: bool,
}

impl Reception<'_> {
    /// While somebody hands recovered sessions over this thread goes before ordinary ones: their clients wait, and those that are
    /// served already would take all the time that the others need.
    fn hurry(&mut self) {
        let is_adopting = self.desk.is_adopting();
        if is_adopting != self.goes_first {
            self.goes_first = is_adopting;
            let changed = if is_adopting { schedule_first(PRIORITY) } else { schedule_ordinarily() };
            if let Err(error) = changed {
                tracing::debug!(%error, "sessions are taken in as fast as the machine's other work lets");
            }
        }
    }

    /// Connections with news, and whether somebody waits to be accepted; `None` if it is time to stop.
    #[allow(clippy::type_complexity, reason = "two lists that are taken apart at once")]
    fn wait(
        &self,
        listener: &Listener,
        stop: BorrowedFd<'_>,
    ) -> io::Result<Option<(Vec<(ConnectionId, PollFlags)>, bool)>> {
        let is_undecided = self.connections.iter().any(|connection| !connection.has_spoken);
        let round = (self.is_paused || is_undecided).then_some(ROUND);
        let due = self.desk.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
        let longest = round.into_iter().chain(due).min();
        let accepting = if self.is_paused { PollFlags::empty() } else { PollFlags::IN };
        let mut events =
            vec![PollFd::from_borrowed_fd(stop, PollFlags::IN), PollFd::new(listener, accepting)];
        let waiting = self.desk.waiting();
        events.extend(self.connections.iter().map(|connection| {
            let speaks = !connection.answers.is_empty() || waiting.contains(&connection.id);
            let out = if speaks { PollFlags::OUT } else { PollFlags::empty() };
            PollFd::new(&connection.socket, PollFlags::IN | out)
        }));
        // What is too long for the type is as good as for ever. A deadline is over when it is reached, not before.
        let longest = longest.map(|longest| longest + Duration::from_millis(1));
        let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
        match poll(&mut events, longest.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut events = events.iter().map(PollFd::revents);
        if events.next().is_some_and(|stopped| !stopped.is_empty()) {
            return Ok(None);
        }
        let is_waiting = events.next().is_some_and(|waiting| !waiting.is_empty());
        let ready = self.connections.iter().zip(events).filter(|(_, events)| !events.is_empty());
        Ok(Some((ready.map(|(connection, events)| (connection.id, events)).collect(), is_waiting)))
    }

    fn accept(&mut self, listener: &Listener) {
        let socket = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "a server cannot be let in");
                self.is_paused = true;
                return;
            }
        };
        let pid = getsockopt(&socket, sockopt::PeerCredentials).map_or(0, |peer| peer.pid());
        let undecided = |connection: &&Connection| !connection.has_spoken;
        if self.connections.iter().filter(undecided).count() >= UNDECIDED
            && let Some(oldest) = self.connections.iter().filter(undecided).min_by_key(|other| other.since)
        {
            let oldest = oldest.id;
            self.connections.retain(|connection| connection.id != oldest);
        }
        self.connections.push(Connection {
            id: self.next,
            socket,
            pid: u32::try_from(pid).unwrap_or(0),
            since: Instant::now(),
            has_spoken: false,
            answers: VecDeque::new(),
        });
        self.next += 1;
    }

    fn hear(&mut self, id: ConnectionId, hung_up: bool, captured: &CapturedSessions) {
        let Some(index) = self.connections.iter().position(|connection| connection.id == id) else { return };
        let mut is_open = true;
        // What was said before the end counts.
        let mut heard = 0;
        while is_open && (hung_up || heard < AT_ONCE) {
            heard += 1;
            let Some(connection) = self.connections.get_mut(index) else { return };
            match channel::receive(connection.socket.as_fd(), RecvFlags::DONTWAIT) {
                Ok(packet) if packet.bytes.is_empty() => is_open = false,
                Ok(packet) => {
                    let told = take(&mut self.desk, connection, packet, captured);
                    if let Some(answer) = told.answer {
                        connection.answers.push_back((answer.encode(), told.memory));
                    }
                    is_open = !told.hang_up && connection.answers.len() <= MOST_ANSWERS;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => is_open = false,
            }
        }
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !say(connection, self.services) {
            is_open = false;
        }
        if !is_open {
            self.connections.remove(index);
            self.desk.lose(id, now());
            self.is_paused = false;
        }
    }

    /// Servers get the sessions they are to go on with, behind the answers that they wait for.
    fn hand_out(&mut self, captured: &mut CapturedSessions) {
        let receive_cap = captured.receive_cap();
        for id in self.desk.waiting() {
            let Some(connection) = self.connections.iter_mut().find(|connection| connection.id == id) else {
                continue;
            };
            if say(connection, self.services) && connection.answers.is_empty() {
                let socket = connection.socket.as_fd();
                self.desk.hand(id, captured, &mut |recovered, session, replay| {
                    if let Some(cap) = receive_cap {
                        bound_receive_queue(session, cap);
                    }
                    hand_over(socket, recovered, session, replay)
                });
            }
        }
    }

    fn forget_the_silent(&mut self) {
        self.connections.retain(|connection| connection.has_spoken || connection.since.elapsed() < PATIENCE);
        self.is_paused = self.is_paused && self.connections.iter().any(|connection| !connection.has_spoken);
    }
}

fn take(
    desk: &mut Desk<OwnedFd>,
    connection: &mut Connection,
    packet: Packet,
    captured: &CapturedSessions,
) -> Told {
    let message = match Message::decode(&packet.bytes) {
        Ok(message) => message,
        Err(error) => {
            tracing::info!(pid = connection.pid, %error, "hung up on somebody at the services' socket");
            let refusal = Refusal { retry_helps: false, reason: error.to_string() };
            return Told { answer: Some(Message::Refusal(refusal)), hang_up: true, memory: None };
        }
    };
    connection.has_spoken = true;
    let mut descriptors = if packet.is_cut { Vec::new() } else { packet.descriptors }.into_iter();
    // What is wrong with a box, or that there is none, is told by whoever looks into it.
    let (socket, old_box) = match (&message, descriptors.next()) {
        (Message::Begin(begin), Some(memory)) => (None, contents(&memory, begin.old())),
        (_, socket) => (socket, None),
    };
    let old_box = old_box.as_deref().unwrap_or_default();
    // While it is silent: from its first packet on nothing of it may be missed.
    if let (Message::Offer(offer), Some(socket)) = (&message, &socket)
        && let Err(error) = captured.take_in(socket.as_fd(), offer, &unread(descriptors.next()))
    {
        tracing::warn!(cookie = offer.cookie, %error, "a recovered session is unprotected here");
    }
    desk.hear(connection.id, connection.pid, message, socket, old_box, now())
}

/// The box of this shape at the beginning of a file that somebody sent.
fn contents(file: &OwnedFd, shape: Shape) -> Option<Vec<u8>> {
    read(file, shape.check().ok()?.box_bytes())
}

/// What a session has received and nobody has read, which came along with it; nothing if that is more than a connection can have.
fn unread(file: Option<OwnedFd>) -> Vec<u8> {
    let read = |file: OwnedFd| {
        let length = usize::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
        read(&file, (length <= LARGEST_RING as usize).then_some(length)?)
    };
    file.and_then(read).unwrap_or_default()
}

fn read(file: &OwnedFd, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < bytes.len() {
        // Reading, other than mapping, is safe whatever becomes of the file.
        match rustix::io::pread(file, bytes.get_mut(filled..)?, filled as u64) {
            Ok(0) => return None,
            Ok(more) => filled += more,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    Some(bytes)
}

/// Gives the answers that there is room for; `false` if nobody is there to hear them.
fn say(connection: &mut Connection, services: &[ServiceBoxes]) -> bool {
    while let Some((bytes, memory)) = connection.answers.front() {
        let memory = memory.and_then(|place| services.get(place)).map(ServiceBoxes::descriptor);
        match channel::send(connection.socket.as_fd(), bytes, memory.as_slice(), SendFlags::DONTWAIT) {
            Ok(()) => {
                connection.answers.pop_front();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// What rebuilt connections may receive is bounded as for all others, by less than a ring. But they keep the room for what their
/// peers were promised, and a quarter more than the bound is as much as they need for that, unless the rings of the machine that
/// they come from are larger.
fn bound_receive_queue(session: &OwnedFd, cap: usize) {
    let has = getsockopt(session, sockopt::RcvBuf).unwrap_or(0);
    // The kernel doubles it.
    if let Err(error) = setsockopt(session, sockopt::RcvBuf, &(has.max(cap + cap / 4) / 2)) {
        tracing::warn!(%error, "the receive buffer of a session is not bounded");
    }
}

fn hand_over(
    server: BorrowedFd<'_>,
    recovered: &Recovered,
    session: &OwnedFd,
    replay: &[u8],
) -> io::Result<()> {
    let bytes = Message::Recovered(*recovered).encode();
    if replay.is_empty() {
        return channel::send(server, &bytes, &[session.as_fd()], SendFlags::DONTWAIT);
    }
    let (memory, descriptor) = SharedMemory::create("backdoors-replay", replay.len())?;
    memory.write_bytes(0, replay).map_err(io::Error::other)?;
    channel::send(server, &bytes, &[session.as_fd(), descriptor.as_fd()], SendFlags::DONTWAIT)
}

impl Held for OwnedFd {
    fn cookie(&self) -> Option<u64> {
        tcp::cookie(self.as_fd()).ok()
    }

    fn counts(&self) -> Result<Counts, CountsError> {
        tcp::counts(self.as_fd())
    }

    fn ending(&self) -> Ending {
        tcp::ending(self.as_fd())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    fn close(&self) {
        // It may have ended by itself.
        let _ = shutdown(self.as_raw_fd(), Shutdown::Write);
    }

    fn drain(&self) {
        tcp::throw_unread_away(self.as_fd());
    }

    fn end(self) {
        // It may have ended by itself.
        let _ = shutdown(self.as_raw_fd(), Shutdown::Both);
    }

    fn reset(self) {
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(&self, sockopt::Linger, &at_once) {
            tracing::warn!(%error, "a lost session's client is not told at once");
        }
    }
}
