//! A connection to a target's memory over one queue pair.

use crate::access::{AccessError, Connection, Limits, Operation, RemoteRange, Request};
use crate::memory::SharedMemory;
use crate::verbs::completion::{Completion, CompletionQueue};
use crate::verbs::completion_channel::CompletionChannel;
use crate::verbs::protection_domain::ProtectionDomain;
use crate::verbs::queue_pair::{DEPTH, Peer, QueuePair, Role};
use crate::verbs::region::{Access, Region};
use crate::verbs::status::meaning;
use crate::verbs::timing::Timing;
use crate::verbs::work::Work;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Bytes of all operations of one batch.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of the arena at first. All of it is pinned in memory, and somebody with a thousand targets has many of them;
/// it grows when a batch needs more.
const FIRST_ARENA: usize = 16 << 10;
/// Operations start at multiples of this in the arena: what an atomic needs.
const ALIGNMENT: usize = 8;

/// A connection over a queue pair of its own.
///
/// The NIC reads and writes an arena that belongs to the queue pair alone; data is copied in before a batch is posted and
/// out after it has completed. So no buffer of a caller is ever in the NIC's hands, and a deadline that passes leaves
/// nothing dangling: the queue pair is moved to the error state, and the arena lives until it is destroyed.
#[derive(Debug)]
pub struct VerbsConnection {
    queue_pair: QueuePair,
    channel: Arc<CompletionChannel>,
    arena: Arc<SharedMemory>,
    limits: Limits,
    deadline: Duration,
    /// Number of the last batch or request.
    batch: u64,
    /// Where the bytes of the last request are in the arena, as offset and length.
    pieces: Vec<(usize, usize)>,
    /// Since when the request that was started is under way, and how long it may be.
    pending: Option<(Instant, Duration)>,
    /// A completion was taken before its event came: that is still to be taken.
    event_owed: bool,
    poisoned: bool,
}

/// A queue pair that is to become a connection.
pub(super) fn prepare(domain: &Arc<ProtectionDomain>) -> io::Result<QueuePair> {
    let arena = new_arena(domain, FIRST_ARENA)?;
    let completions = CompletionQueue::that_tells(Arc::clone(domain.device()), DEPTH)?;
    QueuePair::new(Arc::clone(domain), Arc::new(completions), Role::Asks(arena))
}

fn new_arena(domain: &Arc<ProtectionDomain>, length: usize) -> io::Result<Region> {
    let (arena, _fd) = SharedMemory::create("backdoors-arena", length)?;
    Region::register(Arc::clone(domain), Arc::new(arena), Access::Local)
}

impl VerbsConnection {
    /// Joins a prepared queue pair to its peer.
    pub(super) fn join(
        mut queue_pair: QueuePair,
        peer: &Peer,
        deadline: Duration,
        largest_message: u32,
    ) -> io::Result<VerbsConnection> {
        queue_pair.join(peer, Timing::within(deadline))?;
        let arena = queue_pair.arena().ok_or(io::ErrorKind::InvalidInput)?;
        let arena = Arc::clone(arena.memory());
        let bytes = BATCH_BYTES.min(largest_message as usize);
        let limits = Limits { operations: queue_pair.depth(), bytes };
        let channel = queue_pair.completions().channel().ok_or(io::ErrorKind::InvalidInput)?;
        let channel = Arc::clone(channel);
        Ok(VerbsConnection {
            queue_pair,
            channel,
            arena,
            limits,
            deadline,
            batch: 0,
            pieces: Vec::with_capacity(limits.operations),
            pending: None,
            event_owed: false,
            poisoned: false,
        })
    }

    /// Asks whether the other side is there, without touching its memory.
    pub(super) fn probe(&mut self) -> Result<(), AccessError> {
        self.execute(std::iter::once(PROBE))
    }

    fn execute<'a>(&mut self, work: impl Iterator<Item = Work<'a>>) -> Result<(), AccessError> {
        let done = self.post(work).and_then(|()| self.await_completion());
        self.unless_failed(done)
    }

    fn post<'a>(&mut self, work: impl Iterator<Item = Work<'a>>) -> Result<(), AccessError> {
        self.batch += 1;
        self.queue_pair.post(work, self.batch).map_err(AccessError::Device)
    }

    /// Ends the connection if what was posted failed.
    fn unless_failed(&mut self, done: Result<(), AccessError>) -> Result<(), AccessError> {
        if done.is_err() {
            self.poisoned = true;
            // What is still under way must not be sent again. Where this fails, the queue pair is in that state.
            if let Err(error) = self.queue_pair.fail() {
                tracing::debug!("a queue pair could not be moved to the error state: {error}");
            }
        }
        done
    }

    fn await_completion(&self) -> Result<(), AccessError> {
        let waited = self.queue_pair.completions().wait(self.deadline).map_err(AccessError::Device)?;
        match waited.completion {
            Some(completion) => self.outcome(completion, || waited.duration()),
            None => Err(AccessError::Unreachable { after: waited.duration() }),
        }
    }

    fn outcome(&self, completion: Completion, waited: impl FnOnce() -> Duration) -> Result<(), AccessError> {
        if completion.request == self.batch {
            meaning(completion.status, waited)
        } else {
            Err(AccessError::Device(io::Error::other("a completion of no request")))
        }
    }

    /// Whether something new can begin.
    fn check_idle(&self) -> Result<(), AccessError> {
        match (self.poisoned, self.pending) {
            (true, _) => Err(AccessError::Poisoned),
            (false, Some(_)) => Err(AccessError::Invalid("a request is under way on this connection")),
            (false, None) => Ok(()),
        }
    }

    /// Sees to it that the arena holds so many bytes. No request is under way.
    fn make_room(&mut self, bytes: usize) -> Result<(), AccessError> {
        if bytes <= self.arena.len() {
            return Ok(());
        }
        let grown = match self.queue_pair.arena() {
            Some(arena) => new_arena(arena.domain(), bytes.next_power_of_two()),
            None => Err(io::ErrorKind::InvalidInput.into()),
        };
        let replaced = grown.map_err(AccessError::Device).map(|arena| {
            self.arena = Arc::clone(arena.memory());
            self.queue_pair.replace_arena(arena);
        });
        self.unless_failed(replaced)
    }

    /// Takes the event of the last completion. It can come a moment after the completion, so it may have to be taken
    /// later.
    fn take_event(&mut self) -> io::Result<()> {
        self.event_owed = !self.channel.take_event()?;
        Ok(())
    }

    /// Arms the queue and posts the request. The queue is empty then, so the completion of this request, and nothing
    /// else, makes an event, however soon it comes.
    fn post_armed(&mut self, request: &Request<'_>) -> Result<(), AccessError> {
        if self.event_owed {
            self.take_event().map_err(AccessError::Device)?;
        }
        self.queue_pair.completions().arm().map_err(AccessError::Device)?;
        self.batch += 1;
        let posted = match request {
            Request::Probe => self.queue_pair.post(std::iter::once(PROBE), self.batch),
            Request::Read(ranges) => {
                let reads = ranges.iter().zip(&self.pieces);
                let reads = reads.map(|(from, (offset, _))| Work::Read { from: *from, offset: *offset });
                self.queue_pair.post(reads, self.batch)
            }
        };
        posted.map_err(AccessError::Device)
    }

    /// Takes the completion of the request that was started, if it is there.
    fn completed(&mut self, since: Instant) -> Option<Result<(), AccessError>> {
        let completion = match self.queue_pair.completions().poll() {
            Ok(completion) => completion?,
            Err(error) => return Some(Err(AccessError::Device(error))),
        };
        let event = self.take_event().map_err(AccessError::Device);
        Some(self.outcome(completion, || since.elapsed()).and(event))
    }

    /// Copies what a request has read out of the arena.
    fn collect(&self, bytes: &mut Vec<u8>) -> Result<(), AccessError> {
        bytes.resize(self.pieces.iter().map(|(_, length)| length).sum(), 0);
        let mut rest = bytes.as_mut_slice();
        for (offset, length) in &self.pieces {
            let (into, behind) = rest.split_at_mut(*length);
            self.arena.read_bytes(*offset, into).map_err(outside)?;
            rest = behind;
        }
        Ok(())
    }
}

/// A WRITE of no bytes: the other side's NIC acknowledges it and checks no key.
const PROBE: Work<'_> = Work::WriteInline { to: RemoteRange { address: 0, length: 0, key: 0 }, bytes: &[] };

fn outside<E>(_: E) -> AccessError {
    AccessError::Invalid("more bytes than one batch may hold")
}

impl Connection for VerbsConnection {
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        self.check_idle()?;
        self.limits.check(batch)?;
        self.make_room(arena_bytes(batch))?;
        let inline = self.queue_pair.inline();
        for (operation, offset) in batch.iter().zip(offsets(batch)) {
            if let Operation::Write { from, .. } = operation
                && from.len() > inline
            {
                self.arena.write_bytes(offset, from).map_err(outside)?;
            }
        }
        self.execute(batch.iter().zip(offsets(batch)).map(|(operation, offset)| match operation {
            Operation::Read { from, .. } => Work::Read { from: *from, offset },
            Operation::Write { to, from } if from.len() <= inline => {
                Work::WriteInline { to: *to, bytes: from }
            }
            Operation::Write { to, .. } => Work::Write { to: *to, offset },
            Operation::CompareAndSwap { at, expected, new, .. } => {
                Work::CompareAndSwap { at: *at, expected: *expected, new: *new, offset }
            }
        }))?;
        let mut offset = 0;
        for operation in batch {
            let length = length(operation);
            match operation {
                Operation::Read { into, .. } => self.arena.read_bytes(offset, into).map_err(outside)?,
                Operation::Write { .. } => {}
                Operation::CompareAndSwap { found, .. } => **found = self.arena.load(offset / ALIGNMENT),
            }
            offset += length.next_multiple_of(ALIGNMENT);
        }
        Ok(())
    }

    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<(), AccessError> {
        self.check_idle()?;
        self.limits.check_request(&request)?;
        self.pieces.clear();
        let mut offset = 0;
        if let Request::Read(ranges) = request {
            for range in ranges {
                // The limits are those of the arena, so it fits.
                let length = range.length as usize;
                self.pieces.push((offset, length));
                offset += length.next_multiple_of(ALIGNMENT);
            }
        }
        self.make_room(offset)?;
        let since = Instant::now();
        let posted = self.post_armed(&request);
        self.unless_failed(posted)?;
        self.pending = Some((since, deadline));
        Ok(())
    }

    fn poll(&mut self, bytes: &mut Vec<u8>) -> Poll<Result<(), AccessError>> {
        let Some((since, deadline)) = self.pending else {
            let nothing = AccessError::Invalid("no request is under way on this connection");
            return Poll::Ready(Err(if self.poisoned { AccessError::Poisoned } else { nothing }));
        };
        let ended = match self.completed(since) {
            Some(ended) => ended,
            None if since.elapsed() < deadline => return Poll::Pending,
            None => Err(AccessError::Unreachable { after: since.elapsed() }),
        };
        self.pending = None;
        Poll::Ready(self.unless_failed(ended).and_then(|()| self.collect(bytes)))
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

fn length(operation: &Operation<'_>) -> usize {
    match operation {
        Operation::Read { into, .. } => into.len(),
        Operation::Write { from, .. } => from.len(),
        Operation::CompareAndSwap { .. } => 8,
    }
}

/// How much of the arena the operations use.
fn arena_bytes(batch: &[Operation<'_>]) -> usize {
    batch.iter().map(|operation| length(operation).next_multiple_of(ALIGNMENT)).sum()
}

/// Where the operations' bytes are in the arena.
fn offsets(batch: &[Operation<'_>]) -> impl Iterator<Item = usize> {
    batch.iter().scan(0, |next, operation| {
        let offset = *next;
        *next += length(operation).next_multiple_of(ALIGNMENT);
        Some(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_lie_side_by_side_in_the_arena_and_atomics_are_aligned() {
        let range = RemoteRange { address: 0, length: 0, key: 0 };
        let (mut short, mut word, mut found) = ([0; 3], [0; 8], 0);
        let batch = [
            Operation::Read { from: range, into: &mut short },
            Operation::CompareAndSwap { at: range, expected: 0, new: 0, found: &mut found },
            Operation::Read { from: range, into: &mut word },
            Operation::Write { to: range, from: &[1; 9] },
        ];
        assert_eq!(offsets(&batch).collect::<Vec<_>>(), [0, 8, 16, 24]);
    }
}
