//! What a server's library, its machine's agent and whoever recovers sessions say to each other, over a unix socket of type
//! `SOCK_SEQPACKET`: one message is one packet. All of it is little endian: a head, then what the kind of message has,
//! then words for people if it is a refusal.
//!
//! | from | message | descriptors |
//! | --- | --- | --- |
//! | server, adopter | [`Hello`] | |
//! | agent | [`Welcome`] | for a server, the memory of the boxes |
//! | agent | [`Refusal`], in answer to `Hello`, [`Offer`] or [`Begin`] | |
//! | server | [`Keep`] | the connection |
//! | agent | [`NotKept`](Message::NotKept) | |
//! | server | [`Ready`](Message::Ready): it has told of all sessions that it has | |
//! | server | [`Ended`](Message::Ended): it is done with a session, and the box says so | |
//! | agent | [`Recovered`] | the connection, and the bytes to be read again, if any |
//! | server | [`Goodbye`](Message::Goodbye) | |
//! | adopter | [`Offer`] | the connection, and the bytes that it received and nobody has read, if any |
//! | agent | [`Offered`](Message::Offered) | |
//! | adopter | [`Begin`] | the old box |
//! | agent | [`Begun`](Message::Begun) | |
//!
//! A server is attached, and an adopter's offers stand, as long as their connection is open.

use crate::resume::{Output, Resumption};
use crate::snapshot::{BoxView, Continued, Shape};
use crate::tcp::Sequences;
use core::mem::size_of;
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const MAGIC: u64 = u64::from_le_bytes(*b"BDSERVIC");
const VERSION: u32 = 3;
/// Most bytes of a message.
pub const MOST_BYTES: usize = 1024;
/// Longest name of a service, bytes.
pub const MOST_NAME: usize = crate::snapshot::layout::MOST_NAME;

/// Bytes that are no message. Whoever sent them is not of this version, or no part of this at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It does not begin as messages do, or is too short.
    #[error("this is no message")]
    None,
    /// Another version.
    #[error("version {0} is spoken there, and {VERSION} here: use library and agent of one version")]
    Version(u32),
    /// A value that makes no sense.
    #[error("a message with {0}")]
    Senseless(&'static str),
}

#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    magic: u64,
    version: u32,
    kind: u32,
}

/// Who opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// A server that has just started.
    Server = 1,
    /// A server that was attached before, and has sessions.
    ServerAgain = 2,
    /// Somebody who has recovered sessions.
    Adopter = 3,
}

/// The first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Who says it.
    pub role: Role,
    /// The service.
    pub service: String,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct HelloBytes {
    role: u32,
    length: u32,
    name: [u8; MOST_NAME],
}

/// The answer to a hello.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Welcome {
    /// Tells the memory of the boxes from earlier one.
    pub generation: u64,
    /// [`Shape::capacity`].
    pub capacity: u32,
    /// [`Shape::snapshot_bytes`].
    pub snapshot_bytes: u32,
    /// [`Shape::ring_bytes`].
    pub ring_bytes: u32,
    /// Zero.
    pub reserved: u32,
}

impl Welcome {
    /// The shape of the boxes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { capacity: self.capacity, snapshot_bytes: self.snapshot_bytes, ring_bytes: self.ring_bytes }
    }
}

/// Not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether the same may be taken later.
    pub retry_helps: bool,
    /// Why, for people.
    pub reason: String,
}

/// How the kernel counts the bytes of a connection, and how its session does: they differ if the connection was rebuilt.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Bases {
    /// Added, wrapping, to what the kernel counts as read.
    pub read: u64,
    /// Added, wrapping, to what the kernel counts as written.
    pub written: u64,
}

/// The server has a session. Its connection is to outlive the server.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Keep {
    /// The socket's cookie.
    pub cookie: u64,
    /// Its box.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
    /// How it counts.
    pub bases: Bases,
}

/// A session's box.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Boxed {
    /// The socket's cookie.
    pub cookie: u64,
    /// The box.
    pub index: u32,
    /// Zero.
    pub reserved: u32,
}

/// A session that goes on, for the server to go on with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Recovered {
    /// How it is kept.
    pub keep: Keep,
    /// [`Continued::read`].
    pub read: u64,
    /// [`Continued::written`].
    pub written: u64,
    /// [`Continued::ahead`].
    pub ahead: u64,
    /// Written bytes from here on are to be written to the connection, from the ring.
    pub unsent: u64,
    /// How many bytes are to be read before those of the connection.
    pub replay: u64,
    /// How many bytes before the snapshot the application begins to write.
    pub back: u64,
}

impl Recovered {
    /// Where its box goes on.
    #[must_use]
    pub fn continued(&self) -> Continued {
        Continued { read: self.read, written: self.written, ahead: self.ahead }
    }
}

/// A session that was recovered from another node.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Offer {
    /// The cookie of its new socket.
    pub cookie: u64,
    /// Bytes of the newest snapshot.
    pub snapshot: u64,
    ended: u32,
    output: u32,
    ranges: [[u64; 2]; 3],
    outputs: [u64; 3],
    sequences: [u32; 2],
}

impl Offer {
    /// An offer of a session with this old box, of which not all needs to have been fetched, and that was rebuilt with these
    /// sequence numbers.
    #[must_use]
    pub fn new(cookie: u64, old: &BoxView, plan: &Resumption, at: Sequences) -> Offer {
        let (output, outputs) = match plan.output {
            Output::Discard(count) => (1, [count, 0, 0]),
            Output::Regenerate { back, discard, sent } => (2, [back, discard, sent]),
        };
        let ranges = [&plan.unread, &plan.unacknowledged, &plan.unsent].map(|range| [range.start, range.end]);
        let snapshot = old.newest.bytes.len() as u64;
        let sequences = [at.received, at.sent];
        Offer { cookie, snapshot, ended: old.is_ended.into(), output, ranges, outputs, sequences }
    }

    /// The sequence numbers with which the plan's unread and unacknowledged bytes begin.
    #[must_use]
    pub fn sequences(&self) -> Sequences {
        let [received, sent] = self.sequences;
        Sequences { received, sent }
    }

    /// Whether its application was done with it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended != 0
    }

    /// The plan, which may be senseless; `None` if it is no plan at all.
    #[must_use]
    pub fn plan(&self) -> Option<Resumption> {
        let [first, second, third] = self.outputs;
        let output = match self.output {
            1 => Output::Discard(first),
            2 => Output::Regenerate { back: first, discard: second, sent: third },
            _ => return None,
        };
        let [unread, unacknowledged, unsent]: [Range<u64>; 3] = self.ranges.map(|[start, end]| start..end);
        Some(Resumption { unread, unacknowledged, unsent, output })
    }
}

/// An offered session's connection speaks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Begin {
    /// Which one.
    pub offered: Boxed,
    /// How many of the plan's unsent bytes the kernel has taken.
    pub written: u64,
    old: [u32; 3],
    reserved: u32,
}

impl Begin {
    /// Of what was offered, with an old box of this shape.
    #[must_use]
    pub fn new(offered: Boxed, written: u64, old: Shape) -> Begin {
        let old = [old.capacity, old.snapshot_bytes, old.ring_bytes];
        Begin { offered, written, old, reserved: 0 }
    }

    /// The shape of its old box, which may be senseless.
    #[must_use]
    pub fn old(&self) -> Shape {
        let [capacity, snapshot_bytes, ring_bytes] = self.old;
        Shape { capacity, snapshot_bytes, ring_bytes }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table above says what they are")]
pub enum Message {
    Hello(Hello),
    Welcome(Welcome),
    Refusal(Refusal),
    Keep(Keep),
    NotKept(Boxed, String),
    Ready,
    Ended(Boxed),
    Recovered(Recovered),
    Goodbye,
    Offer(Offer),
    Offered(Boxed),
    Begin(Begin),
    Begun,
}

impl Message {
    /// The packet. Words that are too long are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body): (u32, Vec<u8>) = match self {
            Message::Hello(hello) => (1, hello.bytes().as_bytes().to_vec()),
            Message::Welcome(welcome) => (2, welcome.as_bytes().to_vec()),
            Message::Refusal(Refusal { retry_helps, reason }) => {
                (3, [&u64::from(*retry_helps).to_le_bytes(), reason.as_bytes()].concat())
            }
            Message::Keep(keep) => (4, keep.as_bytes().to_vec()),
            Message::NotKept(boxed, reason) => (5, [boxed.as_bytes(), reason.as_bytes()].concat()),
            Message::Ready => (6, Vec::new()),
            Message::Ended(boxed) => (7, boxed.as_bytes().to_vec()),
            Message::Recovered(recovered) => (8, recovered.as_bytes().to_vec()),
            Message::Goodbye => (9, Vec::new()),
            Message::Offer(offer) => (10, offer.as_bytes().to_vec()),
            Message::Offered(boxed) => (11, boxed.as_bytes().to_vec()),
            Message::Begin(begin) => (12, begin.as_bytes().to_vec()),
            Message::Begun => (13, Vec::new()),
        };
        let mut bytes = Head { magic: MAGIC, version: VERSION, kind }.as_bytes().to_vec();
        bytes.extend(body);
        bytes.truncate(MOST_BYTES);
        bytes
    }

    /// Reads a packet from a process that may be anybody.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        let (head, body) = Head::read_from_prefix(bytes).map_err(|_| MessageError::None)?;
        if head.magic != MAGIC {
            return Err(MessageError::None);
        }
        if head.version != VERSION {
            return Err(MessageError::Version(head.version));
        }
        Ok(match head.kind {
            1 => Message::Hello(Hello::of(&read(body)?)?),
            2 => Message::Welcome(read(body)?),
            3 => {
                let (retry_helps, reason) = u64::read_from_prefix(body).map_err(|_| MessageError::None)?;
                Message::Refusal(Refusal { retry_helps: retry_helps != 0, reason: words(reason) })
            }
            4 => Message::Keep(read(body)?),
            5 => Message::NotKept(read(body)?, words(body.get(size_of::<Boxed>()..).unwrap_or_default())),
            6 => Message::Ready,
            7 => Message::Ended(read(body)?),
            8 => Message::Recovered(read(body)?),
            9 => Message::Goodbye,
            10 => Message::Offer(read(body)?),
            11 => Message::Offered(read(body)?),
            12 => Message::Begin(read(body)?),
            13 => Message::Begun,
            _ => return Err(MessageError::Senseless("a kind that nobody knows")),
        })
    }
}

fn read<T: FromBytes>(body: &[u8]) -> Result<T, MessageError> {
    T::read_from_prefix(body).map(|(value, _)| value).map_err(|_| MessageError::None)
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|letter| !letter.is_control()).collect()
}

impl Hello {
    fn bytes(&self) -> HelloBytes {
        let mut name = [0; MOST_NAME];
        for (place, byte) in name.iter_mut().zip(self.service.bytes()) {
            *place = byte;
        }
        // A name that is too long is told as such, and refused as such.
        HelloBytes { role: self.role as u32, length: self.service.len() as u32, name }
    }

    fn of(bytes: &HelloBytes) -> Result<Hello, MessageError> {
        let roles = [Role::Server, Role::ServerAgain, Role::Adopter];
        let role = roles.into_iter().find(|role| *role as u32 == bytes.role);
        let role = role.ok_or(MessageError::Senseless("a role that nobody has"))?;
        let name = bytes.name.get(..bytes.length as usize);
        let name = name.and_then(|name| std::str::from_utf8(name).ok());
        let service = name.ok_or(MessageError::Senseless("a name that no service has"))?.to_owned();
        Ok(Hello { role, service })
    }
}

const _: () = assert!(size_of::<Keep>() == 32);
const _: () = assert!(size_of::<Recovered>() == 80);
const _: () = assert!(size_of::<Offer>() == 104);

#[cfg(test)]
mod tests;
