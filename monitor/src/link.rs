//! The way to one target's memory, as the sampler uses it.

mod connector;
mod session;

pub use connector::Connector;
pub use session::{SessionLink, SessionLinker};

use crate::judge::Failure;
use backdoors_rdma::{AccessError, Operation, RemoteRange, Request, Ticket};
use backdoors_sensor_box::CommandKey;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// A region of the target, as its directory lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The memory, and the key to it.
    pub range: RemoteRange,
    /// Generation of the region.
    pub generation: u64,
}

/// Connections to one target, made in advance.
pub trait Link: Send {
    /// The command slot this monitor was given.
    fn slot(&self) -> u32;

    /// What the target knows this monitor's commands by, as long as there is no later link.
    fn command_key(&self) -> CommandKey;

    /// Connections that still work, as far as is known.
    fn connections(&self) -> usize;

    /// The region of a kind, as the directory listed it when it was last read.
    fn region(&self, kind: u32) -> Option<Region>;

    /// Kinds of all regions, as the directory listed them when it was last read.
    fn kinds(&self) -> Vec<u32>;

    /// Where the directory's sequence is, and what it was when the directory was last read. When it is another one, the
    /// target has other regions.
    fn directory_sequence(&self) -> Option<(RemoteRange, u64)>;

    /// Starts a request over a connection that works and is free; returns at once. Several may be under way.
    ///
    /// # Errors
    /// [`AccessError::Busy`] if every connection that works waits for an answer, [`AccessError::Poisoned`] if none
    /// works; otherwise as [`backdoors_rdma::Connection::start`].
    fn start(&mut self, request: Request<'_>, deadline: Duration) -> Result<Ticket, AccessError>;

    /// A request that ended, if there is one; `bytes` are then what it read.
    fn poll(&mut self, bytes: &mut Vec<u8>) -> Option<(Ticket, Result<(), AccessError>)>;

    /// Shows the descriptors that become readable when [`Link::poll`] may have something.
    fn watch(&self, each: &mut dyn FnMut(BorrowedFd<'_>));

    /// Executes the batch in order, over the first connection that works, and waits for its end. If every connection
    /// that works waits for an answer, the first of these is waited for before: it comes by the deadline, or never.
    ///
    /// # Errors
    /// As [`backdoors_rdma::Connection::submit`]; [`AccessError::Poisoned`] if no connection is left.
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError>;

    /// Executes batches of which none waits for another, in no order, and waits for the end of all.
    ///
    /// # Errors
    /// As [`Link::submit`], of one that failed. What became of the others is not known.
    fn submit_all(&mut self, batches: Vec<Vec<Operation<'_>>>) -> Result<(), AccessError> {
        batches.into_iter().try_for_each(|mut batch| self.submit(&mut batch))
    }

    /// Reads the directory again.
    ///
    /// # Errors
    /// Why it cannot be read or makes no sense; the regions are those known before then.
    fn refresh(&mut self) -> Result<(), LinkError>;
}

/// Opens links to one target.
pub trait Linker: Send {
    /// Begins to shake hands with the target's agent and to connect; returns at once. The links opened before are
    /// given up by the target.
    fn begin(&mut self);

    /// What came of it; `None` as long as it goes on, or if nothing was begun.
    ///
    /// # Errors
    /// A sentence that says why, for the journal. Trying again later may help.
    fn finished(&mut self) -> Option<Result<Box<dyn Link>, LinkError>>;
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct LinkError {
    /// A sentence.
    pub reason: String,
    /// What it says of path and host.
    pub failure: Failure,
}

/// What a failed access says of path and host.
#[must_use]
pub fn failure(error: &AccessError) -> Failure {
    match error {
        // Busy: there was a chance, and not one of the connections that wait for an answer had got it by then.
        AccessError::Unreachable { .. } | AccessError::Busy => Failure::Silent,
        AccessError::Denied | AccessError::Gone { .. } | AccessError::Invalid(_) => Failure::Refused,
        AccessError::Poisoned => Failure::NotAsked,
        AccessError::Device(error) if error.kind() == std::io::ErrorKind::InvalidData => Failure::Damaged,
        AccessError::Device(_) => Failure::NotAsked,
    }
}

/// Most bytes of one read: larger ones are cut, so that none outlasts the deadline of a slow path.
const MOST_BYTES: usize = 256 << 10;

/// Fills `into` from `offset` of a region.
///
/// # Errors
/// [`AccessError::Invalid`] if the region ends before; otherwise as [`Link::submit`].
pub fn read(link: &mut dyn Link, region: &Region, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
    let mut at = offset;
    for into in into.chunks_mut(MOST_BYTES) {
        let length = into.len() as u64;
        let from = region
            .range
            .slice(at, length)
            .ok_or(AccessError::Invalid("the bytes asked for lie outside the region"))?;
        link.submit(&mut [Operation::Read { from, into }])?;
        at += length;
    }
    Ok(())
}
