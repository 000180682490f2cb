//! The connections of a session: which one carries what.

use crate::access::{AccessError, Connection, Operation, Request};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

/// A request that was started over a session. Each gets a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

struct Line {
    connection: Box<dyn Connection>,
    carries: Option<Ticket>,
}

impl Line {
    fn is_idle(&self) -> bool {
        self.carries.is_none() && !self.connection.is_poisoned()
    }
}

/// Connections to one target. Those that a failure ended are kept, and passed over.
pub(crate) struct Pool {
    lines: Vec<Line>,
    started: u64,
    /// What ended while a connection was waited for.
    ended: VecDeque<Ended>,
}

struct Ended {
    ticket: Ticket,
    result: Result<(), AccessError>,
    bytes: Vec<u8>,
}

impl Pool {
    pub(crate) fn new(connections: Vec<Box<dyn Connection>>) -> Pool {
        let line = |connection| Line { connection, carries: None };
        Pool { lines: connections.into_iter().map(line).collect(), started: 0, ended: VecDeque::new() }
    }

    /// Connections that no failure ended.
    pub(crate) fn healthy(&self) -> usize {
        self.lines.iter().filter(|line| !line.connection.is_poisoned()).count()
    }

    /// The first connection that works and carries nothing.
    fn idle(&mut self) -> Result<&mut Line, AccessError> {
        let why_not = if self.healthy() == 0 { AccessError::Poisoned } else { AccessError::Busy };
        self.lines.iter_mut().find(|line| line.is_idle()).ok_or(why_not)
    }

    /// A connection for a batch. If all that work carry a request, the oldest of these is waited for, and
    /// [`Pool::poll`] tells how it ended.
    pub(crate) fn connection(&mut self) -> Result<&mut dyn Connection, AccessError> {
        while matches!(self.idle(), Err(AccessError::Busy)) {
            let carrying = self.lines.iter_mut().filter_map(|line| line.carries.map(|ticket| (ticket, line)));
            let Some((ticket, line)) = carrying.min_by_key(|(ticket, _)| *ticket) else { break };
            let mut bytes = Vec::new();
            let result = line.connection.finish(&mut bytes);
            line.carries = None;
            self.ended.push_back(Ended { ticket, result, bytes });
        }
        Ok(self.idle()?.connection.as_mut())
    }

    /// Executes batches in no order, on all connections that work and carry nothing, each of them on a thread of its own.
    pub(crate) fn submit_all(&mut self, mut batches: Vec<Vec<Operation<'_>>>) -> Result<(), AccessError> {
        let connections: Vec<_> = self.lines.iter_mut().filter(|line| line.is_idle()).collect();
        if connections.len() < 2 || batches.len() < 2 {
            let connection = self.connection()?;
            return batches.iter_mut().try_for_each(|batch| connection.submit(batch));
        }
        batches.reverse();
        let waiting = Mutex::new((batches, None));
        let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let work = |line: &mut Line| {
            while let Some(mut batch) = { lock().0.pop() } {
                if let Err(error) = line.connection.submit(&mut batch) {
                    // The others end with the batch that they are at.
                    let (batches, failed) = &mut *lock();
                    batches.clear();
                    failed.get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            let mut connections = connections.into_iter();
            let own = connections.next();
            for line in connections {
                // Without a thread there are fewer at it.
                let _ = thread::Builder::new().name("batches".into()).spawn_scoped(scope, || work(line));
            }
            own.into_iter().for_each(work);
        });
        let (_, failed) = waiting.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), Err)
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
        if let Some(ended) = self.ended.pop_front() {
            *bytes = ended.bytes;
            return Some((ended.ticket, ended.result));
        }
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
