//! The socket at which applications attach: a unix socket of type `SOCK_SEQPACKET`, configured as `applications`.
//! What is said there is in [`backdoors_sensor_box::application`].
//!
//! Its mode is 0660: root may attach applications, and so may its group. The file gets the group of its folder if the
//! folder has the setgid bit, as in `install -d -m 2750 -g www-data /run/backdoors-applications`. Who may attach can
//! use up all regions, and can take the name of an application that is not running; nothing else. Process ids are the
//! kernel's word, not the application's.

use super::calls::{CallError, HookCall, Inbox, Outstanding, Wanted};
use super::{ConnectionId, monotonic};
use backdoors_rdma::owner::Listener;
use backdoors_sensor_box::application::{
    Answer, Answered, Call, Goodbye, HookResult, MAX_APPLICATION_SENSORS, Outcome, Request, region_bytes,
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, recv, send,
    sendmsg,
};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection may be silent before it asks for anything.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that have asked for nothing yet; one more takes the place of the oldest.
const UNDECIDED: usize = 16;
/// How long the loop waits if nothing happens: the undecided are looked at that often.
const ROUND: Duration = Duration::from_millis(250);

/// Who decides what becomes of applications.
pub trait Registry {
    /// An application, which is process `pid`, asks to be attached. Returns the answer, and the memory if it is new.
    fn attach(
        &mut self,
        request: &Request<'_>,
        pid: u32,
        connection: ConnectionId,
    ) -> (Answer, Option<OwnedFd>);
    /// It says goodbye.
    fn leave(&mut self, connection: ConnectionId);
    /// Its connection ended.
    fn lose(&mut self, connection: ConnectionId);
    /// A hook is to be called. Returns the connection of its application.
    ///
    /// # Errors
    /// If nothing can be called.
    fn callee(&mut self, call: &HookCall) -> Result<ConnectionId, CallError>;
    /// The hook with this index was called with this word.
    fn called(&mut self, connection: ConnectionId, hook: u32, word: u64);
    /// Its call was answered.
    fn answered(&mut self, connection: ConnectionId, hook: u32, result: HookResult);
}

/// Listens at `path`. A socket file left behind by an agent that died is replaced.
///
/// # Errors
/// As [`Listener::bind`].
pub fn bind(path: &Path) -> io::Result<Listener> {
    let listener = Listener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    socket: OwnedFd,
    pid: u32,
    since: Instant,
    attached: bool,
}

/// Serves applications, and calls of their hooks, until `stop` becomes readable or is closed at its other end.
///
/// # Errors
/// Only if the system cannot wait for events at all.
pub fn serve(
    listener: &Listener,
    registry: &mut dyn Registry,
    inbox: &Inbox,
    stop: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut outstanding = Outstanding::default();
    let mut buffer = vec![0; region_bytes(MAX_APPLICATION_SENSORS, 0)];
    let mut next: ConnectionId = 1;
    let mut paused = false;
    loop {
        let undecided = connections.iter().any(|connection| !connection.attached);
        let round = (paused || undecided).then_some(ROUND);
        let due = outstanding.next_deadline().map(|due| due.saturating_duration_since(Instant::now()));
        let longest = round.into_iter().chain(due).min();
        let doors = Doors { listener, stop, bell: inbox.bell() };
        let Events { stopped, rung, waiting, ready } = wait(&doors, &connections, paused, longest)?;
        if stopped {
            return Ok(());
        }
        // Ends first, so that who comes back at once finds its name free.
        for hung_up in [true, false] {
            for (id, _) in ready.iter().filter(|(_, flags)| flags.contains(PollFlags::HUP) == hung_up) {
                let index = connections.iter().position(|connection| connection.id == *id);
                let Some(connection) = index.and_then(|index| connections.get_mut(index)) else { continue };
                if !hear(connection, hung_up, registry, &mut outstanding, &mut buffer)
                    && let Some(index) = index
                {
                    outstanding.lose(*id);
                    registry.lose(*id);
                    connections.swap_remove(index);
                }
            }
        }
        outstanding.expire(Instant::now());
        if rung {
            for wanted in inbox.take() {
                call(wanted, &connections, registry, &mut outstanding);
            }
        }
        connections.retain(|connection| connection.attached || connection.since.elapsed() < PATIENCE);
        paused = false;
        if waiting {
            match accept(listener, next) {
                Ok(Some(connection)) => {
                    next += 1;
                    make_room(&mut connections);
                    connections.push(connection);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "no application can be accepted");
                    paused = true;
                }
            }
        }
    }
}

fn accept(listener: &Listener, id: ConnectionId) -> io::Result<Option<Connection>> {
    let socket = match accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {
            return Ok(None);
        }
        other => other?,
    };
    // It is 0 if the process is outside the agent's pid namespace, which rustix's type cannot say.
    let pid = u32::try_from(getsockopt(&socket, PeerCredentials)?.pid()).unwrap_or_default();
    Ok(Some(Connection { id, socket, pid, since: Instant::now(), attached: false }))
}

fn make_room(connections: &mut Vec<Connection>) {
    let undecided = || connections.iter().enumerate().filter(|(_, connection)| !connection.attached);
    if undecided().count() >= UNDECIDED
        && let Some((index, _)) = undecided().min_by_key(|(_, connection)| connection.since)
    {
        connections.remove(index);
    }
}

/// Sends a call to its application, or tells why not.
fn call(
    wanted: Wanted,
    connections: &[Connection],
    registry: &mut dyn Registry,
    outstanding: &mut Outstanding,
) {
    let HookCall { hook, word, deadline, .. } = wanted.call;
    let id = match registry.callee(&wanted.call) {
        Ok(id) if outstanding.is_busy(id) => return wanted.tell.tell(Err(CallError::Busy)),
        Ok(id) => id,
        Err(error) => return wanted.tell.tell(Err(error)),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let until = monotonic().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    let message = Call { id: outstanding.next_id(), hook, word, until };
    let socket =
        connections.iter().find(|connection| connection.id == id).map(|connection| &connection.socket);
    let sent =
        socket.map(|socket| send(socket, &message.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL));
    if !matches!(sent, Some(Ok(_))) {
        // It has gone, and its end is not heard yet: one call at a time always has room.
        return wanted.tell.tell(Err(CallError::NotAttached));
    }
    tracing::info!(connection = id, hook, word, "called a hook of an application");
    registry.called(id, hook, word);
    outstanding.sent(id, message.id, wanted);
}

/// What the loop waits at, besides its connections.
struct Doors<'a> {
    listener: &'a Listener,
    stop: BorrowedFd<'a>,
    bell: BorrowedFd<'a>,
}

/// What happened.
struct Events {
    stopped: bool,
    /// Calls are wanted.
    rung: bool,
    /// Somebody waits to be accepted.
    waiting: bool,
    /// Connections that have news.
    ready: Vec<(ConnectionId, PollFlags)>,
}

fn wait(
    doors: &Doors<'_>,
    connections: &[Connection],
    paused: bool,
    longest: Option<Duration>,
) -> io::Result<Events> {
    let accepting = if paused { PollFlags::empty() } else { PollFlags::IN };
    let mut events = vec![
        PollFd::from_borrowed_fd(doors.stop, PollFlags::IN),
        PollFd::from_borrowed_fd(doors.bell, PollFlags::IN),
        PollFd::new(doors.listener, accepting),
    ];
    events.extend(connections.iter().map(|connection| PollFd::new(&connection.socket, PollFlags::IN)));
    // What is too long for the type is as good as for ever.
    let longest = longest.and_then(|longest| Timespec::try_from(longest).ok());
    match poll(&mut events, longest.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let happened = |event: &PollFd<'_>| !event.revents().is_empty();
    let at = |index| events.get(index).is_some_and(happened);
    let ready = connections.iter().zip(events.iter().skip(3)).filter(|(_, event)| happened(event));
    Ok(Events {
        stopped: at(0),
        rung: at(1),
        waiting: at(2),
        ready: ready.map(|(connection, event)| (connection.id, event.revents())).collect(),
    })
}

/// Hears what there is to hear; `false` if the connection is over.
fn hear(
    connection: &mut Connection,
    hung_up: bool,
    registry: &mut dyn Registry,
    outstanding: &mut Outstanding,
    buffer: &mut [u8],
) -> bool {
    loop {
        let length = match recv(&connection.socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, 0)) => return false,
            Ok((_, length)) => length,
            Err(rustix::io::Errno::AGAIN) => return true,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return false,
        };
        // What is longer than any request is none, or asks for too much: its beginning tells.
        let message = buffer.get(..length.min(buffer.len())).unwrap_or_default();
        match (connection.attached, Goodbye::decode(message)) {
            (true, Some(Goodbye)) => {
                registry.leave(connection.id);
                answer(connection.socket.as_fd(), &no(Outcome::Left, ""), None);
                return false;
            }
            (true, None) => {
                if let Some(Answered { id, result }) = Answered::decode(message)
                    && let Some(call) = outstanding.answered(connection.id, id)
                {
                    let hook = call.hook;
                    tracing::info!(connection = connection.id, hook, ?result, "a hook answered");
                    // Shown first, so that who is told finds it there.
                    registry.answered(connection.id, hook, result);
                    call.tell(result);
                    continue;
                }
                let reason = "this connection has attached an application already";
                answer(connection.socket.as_fd(), &no(Outcome::Refused, reason), None);
                return false;
            }
            // Whoever asked has given up waiting; it asks again, or not at all.
            (false, _) if hung_up => return false,
            (false, _) => {
                if !attach(connection, message, registry) {
                    return false;
                }
            }
        }
    }
}

fn attach(connection: &mut Connection, message: &[u8], registry: &mut dyn Registry) -> bool {
    let socket = connection.socket.as_fd();
    let request = match Request::decode(message) {
        Ok(request) => request,
        Err(error) => {
            tracing::info!(pid = connection.pid, %error, "refused an application");
            answer(socket, &no(Outcome::Refused, &error.to_string()), None);
            return false;
        }
    };
    let (reply, memory) = registry.attach(&request, connection.pid, connection.id);
    let (pid, name) = (connection.pid, request.name);
    match reply.outcome {
        Outcome::New | Outcome::Kept => {
            tracing::info!(pid, name, how = ?reply.outcome, "attached an application")
        }
        _ => tracing::info!(pid, name, reason = reply.reason, "refused an application"),
    }
    if !answer(socket, &reply, memory.as_ref().map(AsFd::as_fd)) {
        tracing::info!(pid, name, "an application does not take its answer");
    }
    connection.attached = matches!(reply.outcome, Outcome::New | Outcome::Kept);
    connection.attached
}

fn no(outcome: Outcome, reason: &str) -> Answer {
    Answer { outcome, generation: 0, reason: reason.into() }
}

/// Sends an answer, which nobody waits for longer than the socket has room; `false` if it could not be sent. Then the
/// connection ends by itself: the application is gone, or gives up waiting.
fn answer(socket: BorrowedFd<'_>, reply: &Answer, memory: Option<BorrowedFd<'_>>) -> bool {
    let bytes = reply.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors;
    if let Some(memory) = memory {
        descriptors = [memory];
        let pushed = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        debug_assert!(pushed, "the space is for one descriptor");
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}
