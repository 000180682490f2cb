//! One-sided access: what a monitor can ask of remote memory, and what a failure means.

use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::BorrowedFd;
use std::task::Poll;
use std::time::Duration;

/// Nothing becomes readable when the deadline of a request passes: who waits looks for that this often.
const DEADLINES_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Remote memory as it was granted: a key opens these bytes and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct RemoteRange {
    /// Remote virtual address of the first byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// The remote key.
    pub key: u32,
}

impl RemoteRange {
    /// The part of this range that starts `offset` bytes in; `None` if it does not lie inside.
    #[must_use]
    pub fn slice(self, offset: u64, length: u64) -> Option<RemoteRange> {
        let end = offset.checked_add(length)?;
        (end <= self.length).then_some(())?;
        Some(RemoteRange { address: self.address.checked_add(offset)?, length, key: self.key })
    }
}

/// One remote operation of a batch. Lengths of buffer and range must be equal.
#[derive(Debug)]
pub enum Operation<'a> {
    /// Copy remote bytes here.
    Read {
        /// Where from.
        from: RemoteRange,
        /// Filled only if the whole batch succeeds.
        into: &'a mut [u8],
    },
    /// Copy local bytes there.
    Write {
        /// Where to.
        to: RemoteRange,
        /// What.
        from: &'a [u8],
    },
    /// If the word at `at` is `expected`, make it `new`; `found` tells what it was. Atomic against other
    /// compare-and-swaps through the same NIC, and against the target's CPUs where the NIC says so.
    CompareAndSwap {
        /// Eight bytes, aligned to eight.
        at: RemoteRange,
        /// The value it must have.
        expected: u64,
        /// The value it gets.
        new: u64,
        /// The value it had; valid only if the whole batch succeeds.
        found: &'a mut u64,
    },
}

/// What is started now and asked after later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Copy the bytes of these ranges here, in their order.
    Read(&'a [RemoteRange]),
    /// Ask the target's NIC whether it is there: it answers by itself and touches no memory.
    Probe,
}

/// What a connection can carry at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations in one batch.
    pub operations: usize,
    /// Bytes of all operations of one batch together.
    pub bytes: usize,
}

impl Limits {
    /// What every provider checks before it sends anything. Whether a key opens the range is not among it: that is
    /// the target's NIC to say.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] for an empty batch or operation, lengths of buffer and range that differ, a
    /// compare-and-swap that is not of eight aligned bytes, and a batch over these limits.
    pub fn check(&self, batch: &[Operation<'_>]) -> Result<(), AccessError> {
        if batch.is_empty() {
            return Err(AccessError::Invalid("a batch without operations"));
        }
        if batch.len() > self.operations {
            return Err(AccessError::Invalid("more operations than one batch may hold"));
        }
        let mut total = 0u64;
        for operation in batch {
            let (range, buffer) = match operation {
                Operation::Read { from, into } => (from, into.len()),
                Operation::Write { to, from } => (to, from.len()),
                Operation::CompareAndSwap { at, .. } => {
                    if !at.address.is_multiple_of(8) {
                        return Err(AccessError::Invalid(
                            "a compare-and-swap needs an address aligned to eight",
                        ));
                    }
                    (at, 8)
                }
            };
            if range.length != buffer as u64 {
                return Err(AccessError::Invalid("buffer and remote range differ in length"));
            }
            if range.length == 0 {
                return Err(AccessError::Invalid("an operation on no bytes"));
            }
            total = total.saturating_add(range.length);
        }
        if total > self.bytes as u64 {
            return Err(AccessError::Invalid("more bytes than one batch may hold"));
        }
        Ok(())
    }

    /// The same for a request; returns how many bytes it brings.
    ///
    /// # Errors
    /// [`AccessError::Invalid`] for no or empty ranges, and for more than these limits.
    pub fn check_request(&self, request: &Request<'_>) -> Result<usize, AccessError> {
        let ranges = match request {
            Request::Probe => return Ok(0),
            Request::Read([]) => return Err(AccessError::Invalid("a read of no ranges")),
            Request::Read(ranges) => ranges,
        };
        if ranges.len() > self.operations {
            return Err(AccessError::Invalid("more ranges than one request may hold"));
        }
        if ranges.iter().any(|range| range.length == 0) {
            return Err(AccessError::Invalid("an operation on no bytes"));
        }
        let total = ranges.iter().fold(0u64, |total, range| total.saturating_add(range.length));
        match usize::try_from(total) {
            Ok(total) if total <= self.bytes => Ok(total),
            _ => Err(AccessError::Invalid("more bytes than one request may hold")),
        }
    }
}

/// A connection to a target's memory. Operations of a batch are executed in order. After any error but
/// [`AccessError::Invalid`] the connection is poisoned: it answers [`AccessError::Poisoned`] for good, as a queue
/// pair in the error state does. Other connections are not affected.
///
/// It is used in one of two ways at a time: [`Connection::submit`] waits; [`Connection::start`] does not, and
/// [`Connection::poll`] fetches what became of it. So one thread can ask many targets at once.
pub trait Connection: Send {
    /// Executes the batch, in order, and waits for its end, at most as long as the connection's deadline.
    ///
    /// # Errors
    /// See [`AccessError`]. On an error buffers of reads are unspecified, and any prefix of the writes may have
    /// happened.
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError>;

    /// Starts a request and returns at once. A connection carries one at a time, and no batch beside it.
    ///
    /// # Errors
    /// See [`AccessError`]; then there is nothing to poll for. [`AccessError::Invalid`] also while an earlier request is
    /// under way.
    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<(), AccessError>;

    /// What became of the request: still pending, or ended. Ended well, `bytes` is what was read, all ranges one after
    /// the other, in place of what it held before; otherwise it is unspecified. An answer that is there counts, however
    /// late this is called; if there is none and the deadline has passed, the request ends as
    /// [`AccessError::Unreachable`] and an answer that comes after all is lost with the connection.
    ///
    /// # Errors
    /// See [`AccessError`]; [`AccessError::Invalid`] if nothing was started.
    fn poll(&mut self, bytes: &mut Vec<u8>) -> Poll<Result<(), AccessError>>;

    /// Waits until the request has ended, which is at its deadline at the latest, and tells as [`Connection::poll`] does.
    ///
    /// # Errors
    /// As [`Connection::poll`].
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), AccessError> {
        loop {
            if let Poll::Ready(result) = self.poll(bytes) {
                return result;
            }
            let mut readiness = [PollFd::from_borrowed_fd(self.readiness(), PollFlags::IN)];
            // However this ends, what there is to know is known by polling.
            let _ = rustix::event::poll(&mut readiness, Some(&DEADLINES_EVERY));
        }
    }

    /// What becomes readable when [`Connection::poll`] may have news, also for who waits for changes alone
    /// (`EPOLLET`); nothing becomes readable when the deadline passes. It may do so without news.
    fn readiness(&self) -> BorrowedFd<'_>;

    /// Whether an earlier failure ended this connection.
    fn is_poisoned(&self) -> bool;

    /// What one batch may hold.
    fn limits(&self) -> Limits;

    /// Reads `into.len()` bytes.
    ///
    /// # Errors
    /// As [`Connection::submit`].
    fn read(&mut self, from: RemoteRange, into: &mut [u8]) -> Result<(), AccessError> {
        self.submit(&mut [Operation::Read { from, into }])
    }

    /// Writes `from.len()` bytes.
    ///
    /// # Errors
    /// As [`Connection::submit`].
    fn write(&mut self, to: RemoteRange, from: &[u8]) -> Result<(), AccessError> {
        self.submit(&mut [Operation::Write { to, from }])
    }

    /// Compare-and-swap; returns the value found. It was swapped if that equals `expected`.
    ///
    /// # Errors
    /// As [`Connection::submit`].
    fn compare_and_swap(&mut self, at: RemoteRange, expected: u64, new: u64) -> Result<u64, AccessError> {
        let mut found = 0;
        self.submit(&mut [Operation::CompareAndSwap { at, expected, new, found: &mut found }])?;
        Ok(found)
    }
}

/// Why remote memory could not be accessed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No answer: path, host or the owner of the memory is gone, and nothing tells which. Writes may or may not
    /// have happened. A new connection may help.
    #[error("no answer within {after:?}: path, host or owner of the memory is gone; connect anew")]
    Unreachable {
        /// How long was waited.
        after: Duration,
    },
    /// The host's NIC answered and refused: key or range is wrong, lacks the right, or was revoked. The refused
    /// operation changed nothing. A retry with the same key cannot help; read the directory again.
    #[error("the target's NIC refused key or range: read the directory again, or ask for access")]
    Denied,
    /// The region was made anew since its key was learnt. Nothing changed. Read the directory again.
    #[error("the region has generation {found} now, not {expected}: read the directory again")]
    Gone {
        /// The generation that was known.
        expected: u64,
        /// The generation there is.
        found: u64,
    },
    /// An earlier failure ended this connection. Nothing was sent. A new connection helps.
    #[error("this connection ended with an earlier failure: connect anew")]
    Poisoned,
    /// All connections of the session that still work have a request under way. Nothing was sent. Poll first.
    #[error("a request is under way on every connection, nothing was sent: wait for one to end")]
    Busy,
    /// The request itself is wrong. Nothing was sent; the connection is as good as before.
    #[error("bad request, nothing was sent: {0}")]
    Invalid(&'static str),
    /// The local NIC failed. Writes may or may not have happened. A new connection may help.
    #[error("the local NIC failed: {0}")]
    Device(#[source] std::io::Error),
}

impl AccessError {
    /// Whether remote memory may have been changed by the failed batch.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        // A denied operation may stand behind writes of the same batch that were carried out.
        !matches!(
            self,
            AccessError::Gone { .. } | AccessError::Poisoned | AccessError::Busy | AccessError::Invalid(_)
        )
    }

    /// Whether the same access can succeed over a new connection.
    #[must_use]
    pub fn reconnecting_helps(&self) -> bool {
        matches!(self, AccessError::Unreachable { .. } | AccessError::Poisoned | AccessError::Device(_))
    }
}
