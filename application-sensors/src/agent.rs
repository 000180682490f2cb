//! The agent, as an application talks to it.

use backdoors_rdma::{Protection, SharedMemory};
use backdoors_sensor_box::application::{
    Answer, Answered, Call, Goodbye, MAX_ANSWER, Outcome, Request, region_bytes,
};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, recvmsg, send, socket_with,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Longest time to wait for the agent, to be let in, to be heard, and to be answered. It answers within milliseconds unless its machine is in trouble, and then the
/// application has better things to do than to wait.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// A connection to the agent; while it is open the application is attached.
#[derive(Debug)]
pub struct Connection(OwnedFd);

/// What the agent gave.
#[derive(Debug)]
pub struct Attached {
    pub connection: Connection,
    pub generation: u64,
    /// New memory, unless the application keeps what it has.
    pub memory: Option<SharedMemory>,
}

/// Why the application is not attached.
#[derive(Debug)]
pub enum Failure {
    /// There is no agent, or it does not answer.
    NoAgent(io::Error),
    /// It refused.
    Refused { reason: String, retry_helps: bool },
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Failure {
        Failure::NoAgent(error.into())
    }
}

/// Asks the agent at `path` to attach.
pub fn attach(path: &Path, request: &Request<'_>) -> Result<Attached, Failure> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIME))?;
    // It bounds connecting, too.
    set_socket_timeout(&socket, Timeout::Send, Some(ANSWER_TIME))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    send(&socket, &request.encode(), SendFlags::NOSIGNAL)?;
    let connection = Connection(socket);
    let (answer, memory) = connection.hear()?;
    match (answer.outcome, memory) {
        (Outcome::New, Some(memory)) => {
            let memory = map(memory.as_fd(), request, answer.generation).map_err(Failure::NoAgent)?;
            Ok(Attached { connection, generation: answer.generation, memory: Some(memory) })
        }
        (Outcome::Kept, None) if answer.generation == request.held && request.held != 0 => {
            Ok(Attached { connection, generation: answer.generation, memory: None })
        }
        (Outcome::Refused, _) => Err(Failure::Refused { reason: answer.reason, retry_helps: false }),
        (Outcome::NotNow, _) => Err(Failure::Refused { reason: answer.reason, retry_helps: true }),
        _ => Err(Failure::NoAgent(senseless())),
    }
}

fn senseless() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answered is no agent of this version")
}

/// Maps the memory that the agent made, which must be what was asked for.
fn map(memory: BorrowedFd<'_>, request: &Request<'_>, generation: u64) -> io::Result<SharedMemory> {
    let mut bytes = vec![0; region_bytes(request.sensors.len(), request.hooks.len())];
    let memory = SharedMemory::map(memory, 0, bytes.len(), Protection::ReadWrite)?;
    memory.read_bytes(0, &mut bytes).map_err(io::Error::other)?;
    let laid_out = Request::decode(&bytes).map_err(|_| senseless())?;
    let as_asked = laid_out.name == request.name
        && laid_out.sensors == request.sensors
        && laid_out.hooks == request.hooks;
    if as_asked && laid_out.held == generation { Ok(memory) } else { Err(senseless()) }
}

impl Connection {
    /// Waits for an answer. Calls before it are left undone: the application is on its way out, and the agent is told
    /// when it has gone.
    fn hear(&self) -> Result<(Answer, Option<OwnedFd>), Failure> {
        loop {
            let (bytes, memory) = self.receive()?;
            if Call::decode(&bytes).is_none() {
                let answer = Answer::decode(&bytes).map_err(|_| Failure::NoAgent(senseless()))?;
                return Ok((answer, memory));
            }
        }
    }

    /// The next call, if one has arrived; `None` if there is nothing to be heard just now. An error if what arrived is
    /// no call.
    pub fn next_call(&self) -> io::Result<Option<Call>> {
        let mut bytes = [0; MAX_ANSWER];
        match recv(&self.0, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Ok((length, _)) => {
                let call = bytes.get(..length).and_then(Call::decode);
                call.map(Some).ok_or_else(senseless)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>), Failure> {
        let mut bytes = [0; MAX_ANSWER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        let rights = |message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        };
        let memory = control.drain().filter_map(rights).flatten().next();
        Ok((bytes.get(..received.bytes).unwrap_or_default().to_vec(), memory))
    }

    /// Tells the agent what became of a call, if it is still there.
    pub fn answer(&self, answered: &Answered) {
        let _ = send(&self.0, &answered.encode(), SendFlags::NOSIGNAL);
    }

    /// Says goodbye; tells whether the agent took note.
    pub fn leave(&self) -> bool {
        let said = send(&self.0, &Goodbye.encode(), SendFlags::NOSIGNAL).is_ok();
        said && matches!(self.hear(), Ok((Answer { outcome: Outcome::Left, .. }, _)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
