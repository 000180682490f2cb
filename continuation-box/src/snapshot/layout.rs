//! The memory of an application's boxes. Little endian, fixed width, every word that must be seen whole eight bytes and
//! aligned. Offsets are in bytes from the region's beginning:
//!
//! | from | what |
//! | --- | --- |
//! | 0 | [`BoxesHeader`] |
//! | `header_bytes` + n × `box_bytes` | box n: a [`BoxHead`], two buffers of `snapshot_bytes`, and a ring of `ring_bytes` |

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of the region.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BDCONBOX");
/// Version of the layout. A reader refuses another.
pub const VERSION: u32 = 1;
/// Most boxes of a region.
pub const MOST_BOXES: u32 = 65_536;
/// Largest snapshot, bytes.
pub const MOST_SNAPSHOT: u32 = 1 << 20;
/// Largest ring, bytes.
pub const MOST_RING: u32 = 1 << 26;
/// Smallest ring, bytes.
pub const LEAST_RING: u32 = 4096;
/// Longest name of a service, bytes.
pub const MOST_NAME: usize = 48;
/// The cookie of a box that is being made: it is nobody's yet, and not free.
pub const BEING_MADE: u64 = u64::MAX;

/// Head of the region.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BoxesHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Size of this header; boxes start there. A newer one may be longer.
    pub header_bytes: u32,
    /// Boxes there is room for.
    pub capacity: u32,
    /// From a box to the next.
    pub box_bytes: u32,
    /// Of each of a box's two buffers, a multiple of eight.
    pub snapshot_bytes: u32,
    /// Of a box's ring: a power of two, or 0 if the application generates again what it had written.
    pub ring_bytes: u32,
    /// Changes whenever this memory is made anew.
    pub generation: u64,
    /// The service, counted from 0 in the order of the target's configuration.
    pub service: u32,
    /// One of [`Attachment`](super::Attachment).
    pub attachment: u32,
    /// Since when, nanoseconds of the target's monotonic clock.
    pub since: u64,
    /// Process id of the server that is attached, or was last; 0: none ever was.
    pub pid: u64,
    /// Sessions whose server ended and that could not go on, ever.
    pub lost: u64,
    /// Zero.
    pub reserved: u64,
    /// The service's name, zero-terminated unless it fills the field.
    pub name: [u8; MOST_NAME],
}

/// Head of a box.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct BoxHead {
    /// The socket's cookie; 0 if the box is free. Whoever exchanges 0 for [`BEING_MADE`] has taken the box, and writes the cookie last;
    /// when the session ends 0 is written first.
    pub cookie: u64,
    /// Number of the newest whole snapshot, which is in buffer `newest % 2`; 0 if there is none. Written last of an export
    /// (thesis, section 3.6.4).
    pub newest: u64,
    /// Bytes that the application has read of the connection. Behind the truth by a read at most.
    pub read: u64,
    /// Bytes that it has written, or is about to: never behind the truth.
    pub written: u64,
    /// The ring holds bytes up to here, the byte at position p at p % `ring_bytes`; those `ring_bytes` before it and older are
    /// gone. Written before they are overwritten. Beyond `written` lies what the system did not take.
    pub filled: u64,
    /// What is in the two buffers.
    pub exports: [ExportHead; 2],
    /// Not 0: the application is done with the session, which is over when the client has the `written` bytes and their end.
    /// Written after everything else, and before the connection is closed.
    pub ended: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

impl BoxHead {
    /// Nobody's.
    pub const EMPTY: BoxHead = BoxHead {
        cookie: 0,
        newest: 0,
        read: 0,
        written: 0,
        filled: 0,
        exports: [ExportHead { number: 0, length: 0, read: 0, written: 0 }; 2],
        ended: 0,
        reserved: [0; 2],
    };
}

/// What a buffer holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ExportHead {
    /// Number of the snapshot. Changed before anything of the buffer is.
    pub number: u64,
    /// Its length, bytes.
    pub length: u64,
    /// Bytes of the connection that the application had read.
    pub read: u64,
    /// And written.
    pub written: u64,
}

const _: () = assert!(size_of::<BoxesHeader>() == 128);
const _: () = assert!(size_of::<ExportHead>() == 32);
const _: () = assert!(size_of::<BoxHead>() == 128);

/// How large boxes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Boxes, at most [`MOST_BOXES`].
    pub capacity: u32,
    /// Largest snapshot, at most [`MOST_SNAPSHOT`] bytes.
    pub snapshot_bytes: u32,
    /// Bytes written that a box holds: a power of two up to [`MOST_RING`], or 0.
    pub ring_bytes: u32,
}

/// Boxes of senseless size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// None, or too many.
    #[error("{0} boxes: say 1 to {MOST_BOXES}")]
    Capacity(u32),
    /// Snapshots of no or too many bytes.
    #[error("snapshots of up to {0} bytes: say a multiple of 8 up to {MOST_SNAPSHOT}")]
    Snapshot(u32),
    /// No power of two.
    #[error("a ring of {0} bytes: say a power of two from 4096 to {MOST_RING}, or 0 for none")]
    Ring(u32),
}

impl Shape {
    /// Bytes of the header, which tells the shape.
    pub const HEADER_BYTES: usize = size_of::<BoxesHeader>();

    /// Whether this is a shape at all.
    ///
    /// # Errors
    /// What makes no sense.
    pub fn check(self) -> Result<Shape, ShapeError> {
        if self.capacity == 0 || self.capacity > MOST_BOXES {
            return Err(ShapeError::Capacity(self.capacity));
        }
        let snapshot = self.snapshot_bytes;
        if snapshot == 0 || snapshot > MOST_SNAPSHOT || !snapshot.is_multiple_of(8) {
            return Err(ShapeError::Snapshot(snapshot));
        }
        let is_ring =
            self.ring_bytes.is_power_of_two() && (LEAST_RING..=MOST_RING).contains(&self.ring_bytes);
        if self.ring_bytes != 0 && !is_ring {
            return Err(ShapeError::Ring(self.ring_bytes));
        }
        Ok(self)
    }

    /// From a box to the next, bytes: whole cache lines, so that no two boxes share one.
    #[must_use]
    pub fn box_bytes(self) -> usize {
        (size_of::<BoxHead>() + 2 * self.snapshot_bytes as usize + self.ring_bytes as usize)
            .next_multiple_of(64)
    }

    /// Of all boxes and their header.
    #[must_use]
    pub fn region_bytes(self) -> usize {
        size_of::<BoxesHeader>() + self.capacity as usize * self.box_bytes()
    }

    pub(super) fn box_offset(self, index: u32) -> usize {
        size_of::<BoxesHeader>() + index as usize * self.box_bytes()
    }

    /// Of the buffer that holds the snapshot of this number, from the beginning of its box.
    #[must_use]
    pub fn buffer_offset(self, number: u64) -> usize {
        size_of::<BoxHead>() + (number % 2) as usize * self.snapshot_bytes as usize
    }

    /// Of the ring, likewise.
    #[must_use]
    pub fn ring_offset(self) -> usize {
        size_of::<BoxHead>() + 2 * self.snapshot_bytes as usize
    }
}
