//! What the lab and the program that serves it inside the guest say to each other.
//!
//! A frame is two little-endian 32-bit lengths, a JSON header and a payload. Every request carries an id that its
//! replies repeat, so many can be under way at once.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The name of the virtio-serial port that frames travel over.
pub const PORT: &str = "backdoors.control";

const LONGEST_HEADER: u32 = 1 << 20;
const LONGEST_PAYLOAD: u32 = 256 << 20;

/// Asked of the guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the lab, never 0.
    pub id: u64,
    /// What to do.
    pub action: Action,
}

/// What the guest can do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Action {
    /// Start a process group; answered by [`Event::Started`] and, later, by [`Event::Exited`].
    Start {
        /// Program and arguments.
        arguments: Vec<String>,
        /// User and group it runs as.
        user: u32,
    },
    /// Send a signal to a process group; answered by [`Event::Done`].
    Signal {
        /// Id of the request that started it.
        task: u64,
        /// The signal's number.
        signal: i32,
    },
    /// Answered by [`Event::Output`].
    ReadOutput {
        /// Id of the request that started it.
        task: u64,
    },
    /// Store the payload; answered by [`Event::Done`].
    WriteFile {
        /// Absolute.
        path: String,
        /// Permission bits.
        permissions: u32,
    },
}

/// Told by the guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request it answers; 0 for [`Event::Ready`].
    pub id: u64,
    /// What happened.
    pub event: Event,
}

/// What can happen in the guest.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// The guest has booted and listens.
    Ready {
        /// As `uname -r` prints it.
        release: String,
    },
    /// A process group runs.
    Started {
        /// Of its first process, in the guest.
        pid: i32,
    },
    /// The first process of a group has ended; the payload is what it printed.
    Exited {
        /// Its exit status, or 128 plus the signal that killed it.
        status: i32,
        /// How much of the payload is standard output; the rest is standard error.
        stdout: usize,
    },
    /// What a group has printed so far is the payload.
    Output {
        /// How much of the payload is standard output; the rest is standard error.
        stdout: usize,
    },
    /// Done.
    Done,
    /// Not done.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Writes one frame.
///
/// # Errors
/// When the stream fails, or the message is too long to be a frame.
pub fn send(stream: &mut impl Write, header: &impl Serialize, payload: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut frame = Vec::with_capacity(8 + header.len() + payload.len());
    frame.extend(length(header.len(), LONGEST_HEADER)?.to_le_bytes());
    frame.extend(length(payload.len(), LONGEST_PAYLOAD)?.to_le_bytes());
    frame.extend(header);
    frame.extend(payload);
    stream.write_all(&frame)?;
    stream.flush()
}

/// Reads one frame.
///
/// # Errors
/// When the stream fails or ends, or does not carry frames.
pub fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<(T, Vec<u8>)> {
    let mut word = [0; 4];
    stream.read_exact(&mut word)?;
    let header = length(u32::from_le_bytes(word) as usize, LONGEST_HEADER)?;
    stream.read_exact(&mut word)?;
    let payload = length(u32::from_le_bytes(word) as usize, LONGEST_PAYLOAD)?;
    let mut header = vec![0; header as usize];
    stream.read_exact(&mut header)?;
    let mut payload = vec![0; payload as usize];
    stream.read_exact(&mut payload)?;
    Ok((serde_json::from_slice(&header)?, payload))
}

fn length(length: usize, longest: u32) -> io::Result<u32> {
    u32::try_from(length).ok().filter(|length| *length <= longest).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("a part of {length} bytes is no frame"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let mut stream = Vec::new();
        send(&mut stream, &Reply { id: 7, event: Event::Exited { status: 137, stdout: 2 } }, b"ab\0c")
            .unwrap();
        let (reply, payload): (Reply, _) = receive(&mut stream.as_slice()).unwrap();
        assert!(matches!(reply, Reply { id: 7, event: Event::Exited { status: 137, stdout: 2 } }));
        assert_eq!(payload, b"ab\0c");
    }

    #[test]
    fn a_length_beyond_reason_is_refused_before_memory_is_taken() {
        let mut stream = Vec::from(u32::MAX.to_le_bytes());
        stream.extend([0; 8]);
        assert!(receive::<Reply>(&mut stream.as_slice()).is_err());
    }
}
