//! The owner of registered memory: the one process on a target whose life the monitors' access depends on.
//!
//! It is handed file descriptors of memory (memfds, BPF array maps), registers them with the NIC, or is the NIC, and
//! admits monitors to them. The agent that asked for all this may stop, die and come back: what it registered stays.

pub mod backing;
mod client;
mod serve;
mod socket;

pub use client::{ANSWER_TIME, Client};
pub use serve::serve;
pub use socket::Listener;

use crate::access::RemoteRange;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Regions that can be registered at once.
pub const MAX_REGIONS: usize = 256;
/// Monitors that can be admitted at once.
pub const MAX_MONITORS: usize = 1024;
/// Connections one monitor can have.
pub const MAX_ENDPOINTS: usize = 16;
/// Longest name of a monitor, in bytes.
pub const MAX_NAME: usize = 128;

/// What monitors may do with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rights {
    /// Read it.
    ReadOnly,
    /// Read and write it, and compare-and-swap its words.
    Writable,
}

/// A region to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRequest {
    /// What the region holds, as the sensor box numbers kinds. A monitor is shown at most one region of a kind.
    pub kind: u32,
    /// Tells this region from an earlier one of the same kind.
    pub generation: u64,
    /// Where it starts in the memory, in bytes; a multiple of eight.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What monitors may do with it.
    pub rights: Rights,
    /// If set, only the monitor admitted to this slot gets a key and sees it in its directory.
    pub slot: Option<u32>,
}

impl RegionRequest {
    /// Whether the monitor in `slot` is shown this region.
    #[must_use]
    pub fn is_for(&self, slot: u32) -> bool {
        self.slot.is_none_or(|only| only == slot)
    }

    /// Whether one monitor could be shown both regions, and so could not tell which one a kind means.
    #[must_use]
    pub fn clashes_with(&self, other: &RegionRequest) -> bool {
        self.kind == other.kind && (self.slot.is_none() || other.slot.is_none() || self.slot == other.slot)
    }
}

/// Names a registered region until it is retired. Never used twice by one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RegionId(pub u64);

/// One end of a connection, as the other end must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// A reliable-connected queue pair.
    Verbs {
        /// The port's GID.
        gid: [u8; 16],
        /// Queue pair number.
        queue_pair: u32,
        /// First packet sequence number it sends.
        packet_sequence: u32,
        /// Largest packet payload its port carries, in bytes; both ends use the smaller of the two.
        path_mtu: u16,
        /// READs and compare-and-swaps it answers at once; the other end keeps no more under way.
        outstanding_reads: u8,
    },
    /// A connection to the emulated NIC.
    Emulated {
        /// Where the NIC listens; `None` on the monitor's side. An unspecified IP address means the host that was
        /// shaken hands with.
        address: Option<SocketAddr>,
        /// What the connection presents; good for one connection.
        token: [u8; 16],
    },
}

/// What an admitted monitor needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The monitor's slot.
    pub slot: u32,
    /// The target's endpoints, one for each of the monitor's, in order.
    pub endpoints: Vec<Endpoint>,
    /// Where the monitor's directory is; see [`crate::directory`].
    pub directory: RemoteRange,
}

/// Owns registered memory and says who may reach it. Implemented by the providers, and by [`Client`] for an owner in
/// another process.
pub trait MemoryOwner: Send {
    /// Registers a part of `memory`; admitted monitors find it in their directories from now on.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn register(&mut self, region: RegionRequest, memory: OwnedFd) -> Result<RegionId, OwnerError>;

    /// Ends a region: when this returns, no key opens it any more and no access to it is under way.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn retire(&mut self, region: RegionId) -> Result<(), OwnerError>;

    /// Admits a monitor: gives it keys of its own for the regions that are for it, a directory, and an endpoint for
    /// each of `endpoints`. An earlier admission of that monitor, or of another one to that slot, ends.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn admit(&mut self, monitor: &str, slot: u32, endpoints: &[Endpoint]) -> Result<Admission, OwnerError>;

    /// Ends a monitor's admission: its keys and connections end with it.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn dismiss(&mut self, monitor: &str) -> Result<(), OwnerError>;

    /// Names of all monitors that are admitted.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn monitors(&mut self) -> Result<Vec<String>, OwnerError>;

    /// Everything that is registered, oldest first: what a restarted agent can take up again.
    ///
    /// # Errors
    /// See [`OwnerError`].
    fn regions(&mut self) -> Result<Vec<(RegionId, RegionRequest)>, OwnerError>;
}

/// Why the owner did not do as asked. Unless a variant says otherwise, nothing changed. It crosses the owner's
/// socket, hence the reasons in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum OwnerError {
    /// The request is wrong in itself. A retry cannot help.
    #[error("bad request: {0}")]
    Invalid(String),
    /// The memory cannot be registered. A retry cannot help: pass a BPF array map or a memfd that cannot shrink, large
    /// enough for the region.
    #[error("the memory cannot be registered: {0}")]
    Memory(String),
    /// Another region that the same monitors would see has this kind. Retire it first.
    #[error("region {0:?} is of the same kind: retire it first")]
    Occupied(RegionId),
    /// No such region: it was retired, or the owner was restarted. Register it.
    #[error("no region {0:?} is registered")]
    UnknownRegion(RegionId),
    /// No such monitor is admitted.
    #[error("no monitor {0:?} is admitted")]
    UnknownMonitor(String),
    /// The monitor's endpoints are another provider's. Configure the same provider on both sides.
    #[error("the endpoints are of another provider than {expected}: use the same on both sides")]
    WrongProvider {
        /// The owner's provider.
        expected: String,
    },
    /// All room is used up. A retry helps once something was retired or dismissed.
    #[error("no room for more {0}")]
    Full(String),
    /// The NIC failed. The region or monitor asked for may be unusable: retire or dismiss it, or restart the owner.
    #[error("the NIC failed: {0}")]
    Device(String),
    /// The owner's process does not answer. Whether it did as asked is not known. Connect anew, and ask for
    /// [`MemoryOwner::regions`].
    #[error("the owner of the memory does not answer: {0}; see that backdoors-nic runs, then connect anew")]
    Lost(String),
}

/// Refuses a monitor's name or endpoints that no provider could serve.
pub(crate) fn check_admission(monitor: &str, endpoints: &[Endpoint]) -> Result<(), OwnerError> {
    if monitor.is_empty() || monitor.len() > MAX_NAME {
        return Err(OwnerError::Invalid(format!("a monitor's name has 1 to {MAX_NAME} bytes")));
    }
    if endpoints.is_empty() || endpoints.len() > MAX_ENDPOINTS {
        return Err(OwnerError::Invalid(format!("a monitor has 1 to {MAX_ENDPOINTS} endpoints")));
    }
    Ok(())
}
