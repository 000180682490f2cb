//! The way to one target's memory, as the sampler uses it.

mod session;

pub use session::{SessionLink, SessionLinker};

use backdoors_rdma::{AccessError, Operation, RemoteRange};

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

    /// Connections that still work, as far as is known.
    fn connections(&self) -> usize;

    /// The region of a kind, as the directory listed it when it was last read.
    fn region(&self, kind: u32) -> Option<Region>;

    /// Executes the batch in order, over the first connection that works.
    ///
    /// # Errors
    /// As [`backdoors_rdma::Connection::submit`]; [`AccessError::Poisoned`] if no connection is left.
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError>;

    /// Reads the directory again.
    ///
    /// # Errors
    /// Why it cannot be read or makes no sense; the regions are those known before then.
    fn refresh(&mut self) -> Result<(), LinkError>;
}

/// Opens links to one target.
pub trait Linker: Send {
    /// Shakes hands with the target's agent and connects. The links opened before are given up by the target.
    ///
    /// # Errors
    /// A sentence that says why, for the journal. Trying again later may help.
    fn open(&mut self) -> Result<Box<dyn Link>, LinkError>;
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(pub String);

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
