//! What the kernel half is told of connections that were rebuilt on this machine: where in its streams each is.

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use zerocopy::{Immutable, IntoBytes};

/// `struct socket_note` of the kernel half.
#[repr(C)]
struct SocketNote {
    word: u64,
    cookie: u64,
    bases: [u64; 2],
}

/// Where in its streams a connection is: `struct move` of the kernel half.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
pub struct Move {
    /// Position of a received byte.
    pub received: u64,
    /// Position of a written byte.
    pub sent: u64,
    /// The sequence number of the former.
    pub received_sequence: u32,
    /// The sequence number of the latter.
    pub sent_sequence: u32,
    /// Behind the last received byte that is in the ring already; all from the one above to there are.
    pub held_end: u32,
    /// Zero.
    pub reserved: u32,
}

/// The kernel half's notes of sockets, by their descriptors.
#[derive(Debug)]
pub struct Moves {
    /// What it knows itself.
    pub(super) notes: MapHandle,
    /// What it is told.
    pub(super) moves: MapHandle,
}

impl Moves {
    /// The record that the kernel half keeps for a connection; `None` if there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn record(&self, socket: BorrowedFd<'_>) -> libbpf_rs::Result<Option<usize>> {
        let note = self.notes.lookup(&socket.as_raw_fd().to_ne_bytes(), MapFlags::ANY)?;
        let at = offset_of!(SocketNote, word);
        let word = note.as_deref().and_then(|note| note.get(at..at + 4)?.try_into().ok());
        // The lower half is the record's number and 1.
        Ok(word.map(u32::from_ne_bytes).and_then(|word| word.checked_sub(1)).map(|index| index as usize))
    }

    /// Tells the kernel half where in its streams a connection is. It shows its record from the next packet on.
    ///
    /// # Errors
    /// What the system says.
    pub fn tell(&self, socket: BorrowedFd<'_>, moved: &Move) -> libbpf_rs::Result<()> {
        self.moves.update(&socket.as_raw_fd().to_ne_bytes(), moved.as_bytes(), MapFlags::ANY)
    }
}
