//! Handing sessions that were recovered from another node to the server that goes on with them.

use super::channel;
use super::message::{Begin, Boxed, Hello, MOST_NAME, Message, Offer, Refusal, Role};
use crate::resume::Resumption;
use crate::snapshot::{BoxView, OldBox, Shape};
use crate::tcp::Rebuilt;
use rustix::fs::MemfdFlags;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time to wait for the agent. It answers within milliseconds unless its machine is in trouble.
const PATIENCE: Duration = Duration::from_secs(2);
/// Questions that the agent has not answered yet, at most: it is not to wait for the next one, nor to pile up answers.
const UNANSWERED: usize = 64;
/// Old boxes that are under way, at most.
const FILES: usize = 8;

/// Why a session was not handed over. Nothing was changed: no box is taken for it, and its socket is not held.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Nobody answers there.
    #[error(
        "no agent at {path}: {source}; start backdoors-agent with `service_socket` set to that path, and retry"
    )]
    NoAgent {
        /// Its socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The agent refused. After [`Adopter::begin`] it has dropped the session.
    #[error("the agent refused: {reason}")]
    Refused {
        /// What it says, and what may help.
        reason: String,
        /// Whether the same may be taken later.
        retry_helps: bool,
    },
    /// The agent is gone. It drops, silently, what was offered and not begun; connect anew and offer again.
    #[error("the agent is gone: {0}; connect anew and offer again")]
    Lost(#[from] io::Error),
}

/// A connection to the agent of this machine, over which recovered sessions of one service are handed to its server.
///
/// Several sessions may be offered before [`Adopter::offered`] tells what came of each, in turn, and several begun before
/// [`Adopter::begun`] does.
#[derive(Debug)]
pub struct Adopter {
    connection: OwnedFd,
    shape: Shape,
    /// Questions whose answers are still to come.
    unanswered: usize,
    /// Answers that came, oldest first.
    answers: VecDeque<Result<Message, AdoptError>>,
    /// Files that old boxes are sent in, the one that was sent last at the end. Each is filled again when its box was taken over.
    files: VecDeque<OwnedFd>,
}

/// A session that the agent has a box for, and whose socket it holds. The server has not heard of it.
#[derive(Debug)]
#[must_use = "a session that is not begun is dropped when its adopter is"]
pub struct Offered(Boxed);

impl Adopter {
    /// Connects to the agent that listens at `socket`.
    ///
    /// # Errors
    /// [`AdoptError`]: refused if there is no such service, or if no server of it is attached.
    pub fn connect(socket: &Path, service: &str) -> Result<Adopter, AdoptError> {
        if service.len() > MOST_NAME {
            let reason = format!("no service has a name of more than {MOST_NAME} bytes");
            return Err(AdoptError::Refused { reason, retry_helps: false });
        }
        let no_agent = |source| AdoptError::NoAgent { path: socket.into(), source };
        let connection = channel::connect(socket, PATIENCE).map_err(no_agent)?;
        let hello = Message::Hello(Hello { role: Role::Adopter, service: service.into() });
        match ask(&connection, &hello)? {
            Message::Welcome(welcome) => Ok(Adopter {
                connection,
                shape: welcome.shape(),
                unanswered: 0,
                answers: VecDeque::new(),
                files: VecDeque::new(),
            }),
            _ => Err(AdoptError::Lost(senseless())),
        }
    }

    /// The shape of the boxes here.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Asks for a box for a session that had this old one, of which not all needs to have been fetched, and has the agent hold its
    /// socket, which is still in repair mode. All of the plan's unread bytes are in the socket's queue, and `cookie` is the
    /// socket's. The server hears nothing yet.
    ///
    /// # Errors
    /// [`AdoptError`]; then there is no answer to this one.
    pub fn offer(
        &mut self,
        old: &BoxView,
        plan: &Resumption,
        cookie: u64,
        rebuilt: &Rebuilt,
    ) -> Result<(), AdoptError> {
        let offer = Message::Offer(Offer::new(cookie, old, plan, rebuilt.sequences()));
        let unread = rebuilt.unread();
        if unread.is_empty() {
            return self.ask(&offer, &[rebuilt.as_fd()]);
        }
        let file =
            rustix::fs::memfd_create("backdoors-unread", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        write_at(&file, unread, 0)?;
        self.ask(&offer, &[rebuilt.as_fd(), file.as_fd()])
    }

    /// What came of the oldest offer of which that was not told yet.
    ///
    /// # Errors
    /// [`AdoptError`]. What there is no room for is refused, and so is a plan in which bytes that were sent and not acknowledged are
    /// held by nobody.
    pub fn offered(&mut self) -> Result<Offered, AdoptError> {
        match self.next_answer()? {
            Message::Offered(offered) => Ok(Offered(offered)),
            _ => Err(AdoptError::Lost(senseless())),
        }
    }

    /// The connection speaks: the server gets it, with what is left of its old box, all of it. The kernel took `written` of the
    /// plan's unsent bytes when it was resumed; the server's library writes the rest before anything else. Nobody may read or
    /// write the connection between that and this. To be called when all offers are answered.
    ///
    /// # Errors
    /// [`AdoptError`]; the agent has not heard of it then.
    pub fn begin(&mut self, offered: Offered, written: u64, old: &OldBox<'_>) -> Result<(), AdoptError> {
        let begin = Message::Begin(Begin::new(offered.0, written, old.shape));
        while self.unanswered >= FILES {
            self.take_answer();
        }
        let file = if self.files.len() < FILES { None } else { self.files.pop_front() };
        let new = || rustix::fs::memfd_create("backdoors-old-box", MemfdFlags::CLOEXEC);
        let file = file.map_or_else(new, Ok).map_err(io::Error::from)?;
        fill(&file, old)?;
        let sent = self.ask(&begin, &[file.as_fd()]);
        self.files.push_back(file);
        sent
    }

    /// What came of the oldest session that was begun and of which that was not told yet.
    ///
    /// # Errors
    /// [`AdoptError`]; the agent has broken the connection off then. A plan that is not what [`Resumption::plan`] says of the box is
    /// refused.
    pub fn begun(&mut self) -> Result<(), AdoptError> {
        match self.next_answer()? {
            Message::Begun => Ok(()),
            _ => Err(AdoptError::Lost(senseless())),
        }
    }

    fn ask(&mut self, question: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), AdoptError> {
        if self.unanswered == UNANSWERED {
            self.take_answer();
        }
        channel::send(self.connection.as_fd(), &question.encode(), descriptors, SendFlags::empty())?;
        self.unanswered += 1;
        Ok(())
    }

    fn take_answer(&mut self) {
        self.unanswered -= 1;
        self.answers.push_back(answer(&self.connection));
    }

    fn next_answer(&mut self) -> Result<Message, AdoptError> {
        if self.answers.is_empty() && self.unanswered > 0 {
            self.take_answer();
        }
        let nothing = || AdoptError::Lost(io::Error::new(io::ErrorKind::InvalidInput, "nothing was asked"));
        self.answers.pop_front().unwrap_or_else(|| Err(nothing()))
    }
}

fn ask(connection: &OwnedFd, question: &Message) -> Result<Message, AdoptError> {
    channel::send(connection.as_fd(), &question.encode(), &[], SendFlags::empty())?;
    answer(connection)
}

fn answer(connection: &OwnedFd) -> Result<Message, AdoptError> {
    let packet = channel::receive(connection.as_fd(), RecvFlags::empty())?;
    if packet.bytes.is_empty() {
        return Err(AdoptError::Lost(io::ErrorKind::UnexpectedEof.into()));
    }
    match Message::decode(&packet.bytes) {
        Ok(Message::Refusal(Refusal { retry_helps, reason })) => {
            Err(AdoptError::Refused { reason, retry_helps })
        }
        Ok(message) => Ok(message),
        Err(error) => Err(AdoptError::Lost(io::Error::other(error))),
    }
}

/// Puts an old box into a file, which may have been another's: what that leaves where this one has nothing means nothing.
fn fill(file: &OwnedFd, old: &OldBox<'_>) -> io::Result<()> {
    let length = old.shape.box_bytes() as u64;
    if u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0) < length {
        rustix::fs::ftruncate(file, length)?;
    }
    old.pieces.iter().try_for_each(|(at, piece)| write_at(file, piece, *at))
}

fn write_at(file: &OwnedFd, bytes: &[u8], at: usize) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        written += rustix::io::pwrite(file, rest, (at + written) as u64)?;
    }
    Ok(())
}

fn senseless() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what answered is no agent of this version")
}
