//! The NIC's end of one connection: its socket, and its way to the table.

use crate::emulated::server::{Denied, Memory, Server};
use crate::emulated::table::{DomainId, Shared};
use crate::emulated::wire::OperationHeader;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// When a connection was silent for so long the kernel asks whether the monitor's host is still there, so often, so
/// many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);
/// Bytes received at once.
const INPUT: usize = 64 * 1024;

/// Room that all ports of a thread use in turn, so that a connection at rest costs next to nothing.
#[derive(Debug)]
pub(super) struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        Scratch { input: vec![0; INPUT], output: Vec::with_capacity(INPUT) }
    }
}

/// What a port waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A token.
    ForHello,
    /// The next batch, for as long as it may take.
    ForBatch,
    /// The rest of a batch.
    ForRest,
    /// Room for the rest of an answer.
    ToSend,
    /// Nothing: the connection is over.
    Over,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Port {
    link: Link,
    server: Server,
    /// The part of an answer that the socket did not take yet.
    unsent: Vec<u8>,
}

/// What the state machine reaches through.
#[derive(Debug)]
struct Link {
    shared: Arc<Shared>,
    stream: Arc<TcpStream>,
    connection: u64,
    domain: Option<DomainId>,
}

impl Port {
    /// A connection that was just accepted; no two have the same number.
    pub(super) fn new(shared: Arc<Shared>, stream: TcpStream, connection: u64) -> io::Result<Port> {
        stream.set_nodelay(true)?;
        let link = Link { shared, stream: Arc::new(stream), connection, domain: None };
        Ok(Port { link, server: Server::new(), unsent: Vec::new() })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.link.stream
    }

    /// Has the connection reset when it is closed: who did not take its answer would have the kernel keep it.
    pub(super) fn drop_unsent(&self) {
        if let Err(error) = sockopt::set_socket_linger(self.stream(), Some(Duration::ZERO)) {
            tracing::debug!(%error, "what was not sent outlives its connection");
        }
    }

    /// Does what can be done without waiting: one system call to receive a batch, and one to send its answer.
    ///
    /// # Errors
    /// Close the connection.
    pub(super) fn advance(&mut self, scratch: &mut Scratch) -> io::Result<Waits> {
        if !self.unsent.is_empty() {
            let sent = send(&self.link.stream, &self.unsent)?;
            self.unsent.drain(..sent);
            if self.unsent.is_empty() {
                self.unsent = Vec::new();
            }
            return Ok(self.waits());
        }
        let stream = &self.link.stream;
        let received = match rustix::net::recv(stream, scratch.input.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Ok(Waits::Over),
            Ok((_, count)) => scratch.input.get(..count).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(self.waits()),
            Err(error) => return Err(error.into()),
        };
        scratch.output.clear();
        let stranger = self.link.domain.is_none();
        self.server.received(received, &mut self.link, &mut scratch.output).map_err(io::Error::other)?;
        if stranger && self.link.domain.is_some() {
            self.keep_alive()?;
        }
        if !scratch.output.is_empty() {
            let sent = send(&self.link.stream, &scratch.output)?;
            self.unsent.extend_from_slice(scratch.output.get(sent..).unwrap_or_default());
        }
        Ok(self.waits())
    }

    fn waits(&self) -> Waits {
        if !self.unsent.is_empty() {
            Waits::ToSend
        } else if self.server.is_closing() {
            Waits::Over
        } else if self.server.is_idle() {
            Waits::ForBatch
        } else if self.link.domain.is_none() {
            Waits::ForHello
        } else {
            Waits::ForRest
        }
    }

    fn keep_alive(&self) -> io::Result<()> {
        let (idle, interval, count) = KEEPALIVE;
        sockopt::set_socket_keepalive(self.stream(), true)?;
        sockopt::set_tcp_keepidle(self.stream(), idle)?;
        sockopt::set_tcp_keepintvl(self.stream(), interval)?;
        sockopt::set_tcp_keepcnt(self.stream(), count)?;
        Ok(())
    }
}

/// Hands over as much as the socket takes at once.
fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => Ok(other?),
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(domain) = self.domain {
            self.shared.write().detach(domain, self.connection);
        }
    }
}

impl Memory for Link {
    fn attach(&mut self, token: &[u8; 16]) -> bool {
        self.domain = self.shared.write().attach(token, self.connection, Arc::clone(&self.stream));
        self.domain.is_some()
    }

    fn execute(
        &mut self,
        operation: &OperationHeader,
        payload: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), Denied> {
        let domain = self.domain.ok_or(Denied)?;
        self.shared.read().execute(domain, operation, payload, answer)
    }
}
