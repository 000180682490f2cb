//! A monitor's connection to an emulated NIC.

use crate::access::{AccessError, Connection, Limits, Operation, Request};
use crate::emulated::client::{Exchange, Outcome, payload};
use crate::emulated::wire::LIMITS;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Poll;
use std::time::{Duration, Instant};

/// A connection to an emulated NIC. Its socket blocks, with the deadline of batches as its timeouts; requests that are
/// started ask for each call not to.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    deadline: Duration,
    exchange: Exchange,
    answer: Vec<u8>,
    /// The request that was started.
    pending: Option<Pending>,
    poisoned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    since: Instant,
    deadline: Duration,
    sent: usize,
    received: usize,
}

impl Line {
    /// A connection over a socket that the NIC has accepted, which gives up batches after `deadline`.
    pub(super) fn new(stream: TcpStream, deadline: Duration) -> io::Result<Line> {
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(Line {
            stream,
            deadline,
            exchange: Exchange::default(),
            answer: Vec::new(),
            pending: None,
            poisoned: false,
        })
    }

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
                0 => return Err(Failure::Lost),
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

    /// Hands over what is still to be sent of the started request. The socket takes all of it at once, unless the
    /// machine is short of memory.
    fn send(&self, pending: &mut Pending) -> Result<(), Failure> {
        let rest = self.exchange.request().get(pending.sent..).unwrap_or_default();
        if !rest.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            pending.sent +=
                unless_blocked(|| Ok(rustix::net::send(&self.stream, rest, flags)?))?.unwrap_or(0);
        }
        Ok(())
    }

    /// Takes what is there of the started request's answer. All of it was asked for, so if less came the socket is
    /// empty, and becomes readable anew when more comes.
    fn receive(&mut self, pending: &mut Pending) -> Result<Outcome, Failure> {
        self.send(pending)?;
        let space = self.answer.get_mut(pending.received..).unwrap_or_default();
        match unless_blocked(|| Ok(rustix::net::recv(&self.stream, &mut *space, RecvFlags::DONTWAIT)?.1))? {
            None => {}
            Some(0) => return Err(Failure::Lost),
            Some(count) => pending.received += count,
        }
        Ok(self.exchange.outcome(self.answer.get(..pending.received).unwrap_or_default()))
    }

    /// What an exchange that ended means. All but its success and a bad request end the connection.
    fn conclude(&mut self, ended: Result<Outcome, Failure>, since: Instant) -> Result<(), AccessError> {
        let error = match ended {
            Ok(Outcome::Done) => return Ok(()),
            Err(Failure::Invalid(error)) => return Err(error),
            Ok(Outcome::Denied) => AccessError::Denied,
            Ok(Outcome::Needs(_) | Outcome::Nonsense) => AccessError::Device(io::Error::new(
                io::ErrorKind::InvalidData,
                "the target's emulated NIC answered nonsense",
            )),
            Err(Failure::Lost) => AccessError::Unreachable { after: since.elapsed() },
        };
        self.poisoned = true;
        Err(error)
    }

    /// Whether something new can begin.
    fn check_idle(&self) -> Result<(), AccessError> {
        match (self.poisoned, self.pending) {
            (true, _) => Err(AccessError::Poisoned),
            (false, Some(_)) => Err(AccessError::Invalid("a request is under way on this connection")),
            (false, None) => Ok(()),
        }
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

/// `None` if the call would have to wait.
fn unless_blocked(call: impl FnMut() -> io::Result<usize>) -> io::Result<Option<usize>> {
    match uninterrupted(call) {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

impl Connection for Line {
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        self.check_idle()?;
        let since = Instant::now();
        let ended = self.exchange(batch, since);
        self.conclude(ended, since)
    }

    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<(), AccessError> {
        self.check_idle()?;
        self.exchange.begin_request(&request)?;
        self.answer.resize(self.exchange.answer_bytes(), 0);
        let since = Instant::now();
        let mut pending = Pending { since, deadline, sent: 0, received: 0 };
        match self.send(&mut pending) {
            Ok(()) => self.pending = Some(pending),
            Err(failure) => self.conclude(Err(failure), since)?,
        }
        Ok(())
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Poll<Result<(), AccessError>> {
        let Some(mut pending) = self.pending.take() else {
            let nothing = AccessError::Invalid("no request is under way on this connection");
            return Poll::Ready(Err(if self.poisoned { AccessError::Poisoned } else { nothing }));
        };
        let ended = match self.receive(&mut pending) {
            Ok(Outcome::Needs(_)) if pending.since.elapsed() < pending.deadline => {
                self.pending = Some(pending);
                return Poll::Pending;
            }
            Ok(Outcome::Needs(_)) => Err(Failure::Lost),
            ended => ended,
        };
        if matches!(ended, Ok(Outcome::Done)) {
            bytes.clear();
            bytes.extend_from_slice(payload(&self.answer));
        }
        Poll::Ready(self.conclude(ended, pending.since))
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}
