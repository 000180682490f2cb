//! The connections of a session: which one carries what.

use crate::access::{AccessError, Connection, Request};
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Duration;

/// A request that was started over a session. Each gets a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

struct Line {
    connection: Box<dyn Connection>,
    carries: Option<Ticket>,
}

/// Connections to one target. Those that a failure ended are kept, and passed over.
pub(crate) struct Pool {
    lines: Vec<Line>,
    started: u64,
}

impl Pool {
    pub(crate) fn new(connections: Vec<Box<dyn Connection>>) -> Pool {
        let line = |connection| Line { connection, carries: None };
        Pool { lines: connections.into_iter().map(line).collect(), started: 0 }
    }

    /// Connections that no failure ended.
    pub(crate) fn healthy(&self) -> usize {
        self.lines.iter().filter(|line| !line.connection.is_poisoned()).count()
    }

    /// The first connection that works and carries nothing.
    fn idle(&mut self) -> Result<&mut Line, AccessError> {
        let mut why_not = AccessError::Poisoned;
        for line in &mut self.lines {
            match (line.connection.is_poisoned(), line.carries) {
                (false, None) => return Ok(line),
                (false, Some(_)) => why_not = AccessError::Busy,
                (true, _) => {}
            }
        }
        Err(why_not)
    }

    /// A connection for a batch.
    pub(crate) fn connection(&mut self) -> Result<&mut dyn Connection, AccessError> {
        Ok(self.idle()?.connection.as_mut())
    }

    pub(crate) fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<Ticket, AccessError> {
        let ticket = Ticket(self.started + 1);
        let line = self.idle()?;
        line.connection.start(request, deadline)?;
        line.carries = Some(ticket);
        self.started = ticket.0;
        Ok(ticket)
    }

    pub(crate) fn poll(&mut self, bytes: &mut Vec<u8>) -> Option<(Ticket, Result<(), AccessError>)> {
        for line in &mut self.lines {
            if let Some(ticket) = line.carries
                && let Poll::Ready(result) = line.connection.poll(bytes)
            {
                line.carries = None;
                return Some((ticket, result));
            }
        }
        None
    }

    pub(crate) fn readiness(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.lines.iter().map(|line| line.connection.readiness())
    }
}
