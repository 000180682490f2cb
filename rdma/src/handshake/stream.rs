//! Messages over a stream that ends at a fixed time.

use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Most bytes of a message.
const MAX_MESSAGE: usize = 64 * 1024;

/// A TCP stream that fails with `TimedOut` from a point in time on, however slowly its peer goes on.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    until: Instant,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream, time: Duration) -> Bounded {
        Bounded { stream, until: Instant::now() + time }
    }

    pub(super) fn extend(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    fn remaining(&self) -> io::Result<Duration> {
        self.until
            .checked_duration_since(Instant::now())
            .filter(|rest| !rest.is_zero())
            .ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Lets the peer read to the end what was sent last: a close with bytes unread would take it away from it.
    pub(super) fn linger(&mut self, time: Duration) {
        self.extend(time);
        let mut rest = [0; 4096];
        let mut left = MAX_MESSAGE;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while left > 0 {
            match self.read(&mut rest) {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count),
            }
        }
    }
}

fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        self.stream.read(buffer).map_err(as_timeout)
    }
}

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        self.stream.write(buffer).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Writes a message: its length in four bytes, little endian, then JSON.
pub(super) fn write_message<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message too long to be sent"));
    }
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body);
    stream.write_all(&bytes)?;
    stream.flush()
}

/// Reads a message; `InvalidData` if it is none.
pub(super) fn read_message<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("a message that makes no sense: {error}"))
    })
}
