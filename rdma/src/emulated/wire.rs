//! What goes over the wire between a monitor and the emulated NIC. All numbers are little endian.
//!
//! The monitor opens with [`Hello`]; the NIC answers with [`Greeting`]. Then the monitor sends batches, one at a time:
//! a [`BatchHeader`], an [`OperationHeader`] for each operation, then the bytes of all writes, one after the other. The
//! NIC answers each with an [`AnswerHeader`], then, in the order of the operations, the bytes of reads and the words
//! that compare-and-swaps found. So a batch costs one round trip. After anything but [`DONE`] the NIC closes the
//! connection; after bytes that make no sense it closes it without an answer.

use crate::access::Limits;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of either side.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BDEMUNIC");
/// Version of the protocol.
pub const VERSION: u32 = 2;
/// What one batch may hold.
pub const LIMITS: Limits = Limits { operations: 64, bytes: 1 << 20 };

/// All of it was done.
pub const DONE: u32 = 0;
/// Token, key, range or right was refused.
pub const DENIED: u32 = 1;

/// Copy bytes to the monitor.
pub const READ: u32 = 1;
/// Copy bytes from the monitor.
pub const WRITE: u32 = 2;
/// Compare a word, and swap it if equal.
pub const COMPARE_AND_SWAP: u32 = 3;
/// Answer; key, address and length are zero.
pub const PROBE: u32 = 4;

/// The monitor's first bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Zero.
    pub reserved: u32,
    /// The endpoint's token.
    pub token: [u8; 16],
}

/// The NIC's first bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Greeting {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// [`DONE`] or [`DENIED`].
    pub status: u32,
}

/// Head of a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BatchHeader {
    /// The batch's number, one more than the last one's; the answer repeats it.
    pub number: u64,
    /// Operations in it.
    pub operations: u32,
    /// Bytes of all writes in it.
    pub payload: u32,
}

/// One operation.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OperationHeader {
    /// [`READ`], [`WRITE`], [`COMPARE_AND_SWAP`] or [`PROBE`].
    pub opcode: u32,
    /// The key.
    pub key: u32,
    /// Remote address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// What a compare-and-swap expects; otherwise zero.
    pub expected: u64,
    /// What it makes of it; otherwise zero.
    pub new: u64,
}

/// Head of an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AnswerHeader {
    /// The batch's number.
    pub number: u64,
    /// [`DONE`] or [`DENIED`].
    pub status: u32,
    /// Bytes that follow; none unless it was done.
    pub payload: u32,
}

/// Most bytes of a batch on the wire.
pub const MAX_BATCH: usize =
    size_of::<BatchHeader>() + LIMITS.operations * size_of::<OperationHeader>() + LIMITS.bytes;

const _: () = {
    assert!(size_of::<Hello>() == 32);
    assert!(size_of::<Greeting>() == 16);
    assert!(size_of::<BatchHeader>() == 16);
    assert!(size_of::<OperationHeader>() == 40);
    assert!(size_of::<AnswerHeader>() == 16);
};
