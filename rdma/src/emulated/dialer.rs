//! The monitor's sockets.

use crate::access::{AccessError, Connection, Limits, Operation};
use crate::dial::{self, DialError};
use crate::emulated::client::{self, Exchange, Outcome};
use crate::emulated::wire::{Greeting, LIMITS};
use crate::owner::{Endpoint, MAX_ENDPOINTS};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest time to connect to the NIC and to be greeted by it.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Connects to emulated NICs.
#[derive(Debug)]
pub struct Dialer {
    deadline: Duration,
    host: Option<IpAddr>,
    prepared: usize,
}

impl Dialer {
    /// Makes connections that give up a batch after `deadline`. `host` is where to go if the NIC does not say.
    #[must_use]
    pub fn new(deadline: Duration, host: Option<IpAddr>) -> Dialer {
        Dialer { deadline, host, prepared: 0 }
    }

    fn open(&self, endpoint: &Endpoint) -> Result<Box<dyn Connection>, DialError> {
        let Endpoint::Emulated { address, token } = endpoint else {
            return Err(DialError::Mismatch("they are no emulated NIC's"));
        };
        let mut address = address.ok_or(DialError::Mismatch("they have no address"))?;
        if address.ip().is_unspecified() {
            address.set_ip(self.host.ok_or(DialError::Mismatch("they have no address"))?);
        }
        let stream = greeted(address, *token)?;
        stream.set_read_timeout(Some(self.deadline)).map_err(DialError::Device)?;
        stream.set_write_timeout(Some(self.deadline)).map_err(DialError::Device)?;
        Ok(Box::new(Line {
            stream,
            deadline: self.deadline,
            exchange: Exchange::default(),
            answer: Vec::new(),
            poisoned: false,
        }))
    }
}

impl dial::Dialer for Dialer {
    fn prepare(&mut self, count: usize) -> Result<Vec<Endpoint>, DialError> {
        if count == 0 || count > MAX_ENDPOINTS {
            return Err(DialError::Mismatch("a monitor has at least one and not so many connections"));
        }
        self.prepared = count;
        Ok(vec![Endpoint::Emulated { address: None, token: [0; 16] }; count])
    }

    fn connect(&mut self, remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
        if remote.len() != std::mem::take(&mut self.prepared) {
            return Err(DialError::Mismatch("there are not as many as were prepared here"));
        }
        remote.iter().map(|endpoint| self.open(endpoint)).collect()
    }
}

fn greeted(address: SocketAddr, token: [u8; 16]) -> Result<TcpStream, DialError> {
    let shake = || {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIME)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT_TIME))?;
        stream.set_write_timeout(Some(CONNECT_TIME))?;
        stream.write_all(&client::hello(token))?;
        let mut greeting = [0; size_of::<Greeting>()];
        stream.read_exact(&mut greeting)?;
        Ok((stream, client::is_welcome(&greeting)))
    };
    match shake().map_err(DialError::Unreachable)? {
        (stream, Some(true)) => Ok(stream),
        (_, Some(false)) => Err(DialError::Refused),
        (_, None) => Err(DialError::Mismatch("what listens there is no emulated NIC of this version")),
    }
}

/// A connection to an emulated NIC.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    deadline: Duration,
    exchange: Exchange,
    answer: Vec<u8>,
    poisoned: bool,
}

impl Line {
    /// Sends the batch and takes its answer. The socket's timeouts are the whole deadline; they are shortened only
    /// when a send or an answer comes in parts, so that the usual exchange costs two system calls.
    fn exchange(&mut self, batch: &mut [Operation<'_>], start: Instant) -> Result<Outcome, Failure> {
        let remaining = || self.deadline.checked_sub(start.elapsed()).filter(|rest| !rest.is_zero());
        let late = || io::Error::from(io::ErrorKind::TimedOut);
        let mut shortened = false;

        let request = self.exchange.begin(batch)?;
        let mut sent = 0;
        while let Some(rest) = request.get(sent..).filter(|rest| !rest.is_empty()) {
            if sent > 0 {
                self.stream.set_write_timeout(Some(remaining().ok_or_else(late)?))?;
                shortened = true;
            }
            sent += uninterrupted(|| self.stream.write(rest))?;
        }
        self.answer.resize(self.exchange.answer_bytes(), 0);
        let mut received = 0;
        let outcome = loop {
            if received > 0 {
                self.stream.set_read_timeout(Some(remaining().ok_or_else(late)?))?;
                shortened = true;
            }
            let space = self.answer.get_mut(received..).unwrap_or_default();
            match uninterrupted(|| self.stream.read(space))? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => received += count,
            }
            match self.exchange.finish(self.answer.get(..received).unwrap_or_default(), batch) {
                Outcome::Needs(_) => {}
                outcome => break outcome,
            }
        };
        if shortened {
            self.stream.set_read_timeout(Some(self.deadline))?;
            self.stream.set_write_timeout(Some(self.deadline))?;
        }
        Ok(outcome)
    }
}

/// Why there is no outcome.
enum Failure {
    /// Nothing was sent.
    Invalid(AccessError),
    Lost,
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Failure {
        Failure::Invalid(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Lost
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Connection for Line {
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        if self.poisoned {
            return Err(AccessError::Poisoned);
        }
        let start = Instant::now();
        let error = match self.exchange(batch, start) {
            Ok(Outcome::Done) => return Ok(()),
            Err(Failure::Invalid(error)) => return Err(error),
            Ok(Outcome::Denied) => AccessError::Denied,
            Ok(Outcome::Needs(_) | Outcome::Nonsense) => AccessError::Device(io::Error::new(
                io::ErrorKind::InvalidData,
                "the target's emulated NIC answered nonsense",
            )),
            Err(Failure::Lost) => AccessError::Unreachable { after: start.elapsed() },
        };
        self.poisoned = true;
        Err(error)
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}
