//! The fence: how a monitor makes a target silent on its service addresses, and how it sees that the target is.
//!
//! One WRITE of eight bytes sets it: [`CommandKey::fence_word`] into the region
//! [`FENCE_WORD`](crate::layout::RegionKind::FENCE_WORD). From then on no packet of a service address leaves, for the program
//! that decides looks at the word at each packet. So nothing of the target needs to run, and one that wakes up later finds
//! itself silent. One READ of the region [`FENCE`](crate::layout::RegionKind::FENCE) tells whether it holds:
//! [`FenceView::holds`]. Writing 0 lifts it.

pub mod layout;

use crate::authentication::CommandKey;
use crate::decode::{DecodeError, check_beginning, check_sizes};
use crate::fetch::FetchError;
use crate::layout::COMMAND_SLOTS;
use core::mem::size_of;
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;
use layout::{FENCE_MAGIC, FenceTable};
use zerocopy::FromBytes;

const WHAT: &str = "fence";

/// What lifts a fence.
pub const LIFTED: u64 = 0;

/// A fence as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceView {
    /// Generation of the regions.
    pub generation: u64,
    /// By slot, what its monitor wrote. Whether another one's word counts only the target knows: see `held`.
    pub words: [u64; COMMAND_SLOTS],
    /// A bit per slot whose word holds, as of the last tick of the kernel half.
    pub held: u64,
    /// Packets that were withheld, ever.
    pub withheld: u64,
    /// Addresses that are covered: the machine sends nothing from these while the fence holds.
    pub addresses: Vec<IpAddr>,
    /// Interfaces at which packets are looked at.
    pub covered: u32,
    /// Interfaces at which they should be.
    pub interfaces: u32,
    /// When the target's agent last looked at its interfaces, on the target's monotonic clock.
    pub looked_at: Duration,
    checks: [u64; COMMAND_SLOTS],
}

/// Why a fence does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFenced {
    /// The monitor's word does not count.
    #[error(
        "the target does not count this monitor's fence word: let it \"fence\" in the agent's configuration, or shake hands anew"
    )]
    NotCounted,
    /// The word is not there. It was not written, or somebody lifted the fence.
    #[error("this monitor's fence word is not in the target's memory ({found:#x} is): write it")]
    NotWritten {
        /// What is there.
        found: u64,
    },
    /// The fence has holes.
    #[error(
        "packets are looked at on {covered} of the target's {interfaces} interfaces: `backdoors-agent check` and the agent's \
         log say why"
    )]
    Uncovered {
        /// Interfaces at which packets are looked at.
        covered: u32,
        /// Interfaces at which they should be.
        interfaces: u32,
    },
    /// It encloses nothing.
    #[error("the target's fence covers no address: name `service_addresses` in the agent's configuration")]
    NoAddress,
}

impl FenceView {
    /// Bytes of the table, as this version knows it.
    pub const BYTES: usize = size_of::<FenceTable>();

    /// Reads a fence.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<FenceView, DecodeError> {
        let (have, need) = (bytes.len(), FenceView::BYTES);
        let (raw, _) = FenceTable::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
            what: WHAT,
            have,
            need,
        })?;
        check_beginning(WHAT, (raw.magic, FENCE_MAGIC), raw.version)?;
        check_sizes(WHAT, [("table size", raw.table_bytes, need)])?;
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        if raw.slots as usize != COMMAND_SLOTS {
            return Err(layout("number of slots"));
        }
        let addresses = raw.covered.get(..raw.addresses as usize).ok_or(layout("number of addresses"))?;
        let (interfaces, covered) = (raw.interfaces as u32, (raw.interfaces >> 32) as u32);
        if covered > interfaces {
            return Err(layout("more interfaces covered than there are"));
        }
        Ok(FenceView {
            generation: raw.generation,
            words: raw.words,
            held: raw.held & ((1 << COMMAND_SLOTS) - 1),
            withheld: raw.withheld,
            addresses: addresses.iter().map(|bytes| Ipv6Addr::from(*bytes).to_canonical()).collect(),
            covered,
            interfaces,
            looked_at: Duration::from_nanos(raw.looked_at),
            checks: raw.checks,
        })
    }

    /// Whether this address is covered.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address.to_canonical())
    }

    /// Whether the word of the monitor with this key would fence from its slot, were it written: it counts, and there is
    /// no hole in the fence. What to ask of a target while it is well.
    ///
    /// # Errors
    /// See [`NotFenced`].
    pub fn would_hold(&self, slot: u32, key: &CommandKey) -> Result<(), NotFenced> {
        if self.checks.get(slot as usize) != Some(&key.fence_check()) {
            return Err(NotFenced::NotCounted);
        }
        if self.addresses.is_empty() {
            return Err(NotFenced::NoAddress);
        }
        let FenceView { covered, interfaces, .. } = *self;
        if covered < interfaces { Err(NotFenced::Uncovered { covered, interfaces }) } else { Ok(()) }
    }

    /// Whether the fence that the monitor with this key set from its slot holds. No CPU of the target is needed for that to
    /// be true, nor to find it out.
    ///
    /// # Errors
    /// See [`NotFenced`]; then the target may send.
    pub fn holds(&self, slot: u32, key: &CommandKey) -> Result<(), NotFenced> {
        self.would_hold(slot, key)?;
        let found = self.words.get(slot as usize).copied().unwrap_or(LIFTED);
        if found == key.fence_word() { Ok(()) } else { Err(NotFenced::NotWritten { found }) }
    }
}

/// Fetches the fence through `read`, which fills a buffer from an offset of the region.
///
/// # Errors
/// [`FetchError::Access`] if `read` fails, [`FetchError::Decode`] if what it read is no fence.
pub fn fetch_fence<E>(
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<FenceView, FetchError<E>> {
    let mut bytes = [0; FenceView::BYTES];
    read(0, &mut bytes).map_err(FetchError::Access)?;
    Ok(FenceView::decode(&bytes)?)
}
