//! The fence of a target as it lies in memory.
//!
//! | region | shape | who writes | who may write remotely |
//! | --- | --- | --- | --- |
//! | [`RegionKind::FENCE`](crate::layout::RegionKind::FENCE) | one [`FenceTable`] | kernel half, user half | nobody |
//! | [`RegionKind::FENCE_WORD`](crate::layout::RegionKind::FENCE_WORD) | one of its `words` | its monitor | that monitor alone |

use crate::layout::COMMAND_SLOTS;
use core::mem::{offset_of, size_of};
use core::net::IpAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the fence.
pub const FENCE_MAGIC: u64 = u64::from_le_bytes(*b"BDFENCES");
/// Most addresses that a fence can cover.
pub const MAX_FENCED: usize = 16;

/// The fence. Each word is whole by itself; nothing in it needs two words to be of the same moment.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FenceTable {
    /// [`FENCE_MAGIC`].
    pub magic: u64,
    /// [`crate::layout::VERSION`].
    pub version: u32,
    /// Size of this table in bytes. A newer target may have a longer one.
    pub table_bytes: u32,
    /// As in the sensor box.
    pub generation: u64,
    /// Entries of `words` and of `checks`.
    pub slots: u32,
    /// How many addresses are covered.
    pub addresses: u32,
    /// Zero.
    pub reserved: [u64; 4],
    /// By slot, what its monitor wrote: its [`crate::CommandKey::fence_word`], or 0. With any other word nothing is fenced.
    pub words: [u64; COMMAND_SLOTS],
    /// By slot, the [`crate::CommandKey::fence_check`] of the key whose fence word counts; 0: none does. The user half writes
    /// it when it takes a key over.
    pub checks: [u64; COMMAND_SLOTS],
    /// Packets that were withheld, ever.
    pub withheld: u64,
    /// A bit per slot whose word holds, as of the kernel half's last tick.
    pub held: u64,
    /// When the user half last looked at the interfaces, nanoseconds of the target's monotonic clock.
    pub looked_at: u64,
    /// Low half: interfaces that were to be covered then; high half: those that were.
    pub interfaces: u64,
    /// Zero.
    pub more_reserved: [u64; 4],
    /// The addresses that are covered, IPv4 as `::ffff:a.b.c.d`; as many as `addresses` says.
    pub covered: [[u8; 16]; MAX_FENCED],
}

/// An address as it lies in memory.
#[must_use]
pub const fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Where a slot's word is.
#[must_use]
pub const fn word_offset(slot: u32) -> u64 {
    offset_of!(FenceTable, words) as u64 + 8 * slot as u64
}

const _: () = {
    assert!(size_of::<FenceTable>() == 640);
    assert!(offset_of!(FenceTable, words) == 64);
    assert!(offset_of!(FenceTable, checks) == 192);
    assert!(offset_of!(FenceTable, withheld) == 320);
    assert!(offset_of!(FenceTable, covered) == 384);
};
