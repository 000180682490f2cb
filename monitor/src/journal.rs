//! What happened, as JSON lines: one entry a line, appended as it happens.
//!
//! A thread of its own writes the file, so that a slow disk delays no repair. A crash of the monitor loses nothing
//! that was written; a crash of its machine may lose the last moments.

mod entry;
mod file;
mod tally;
mod writer;

pub use entry::{Entry, What, command_end, deed_of};
pub use file::{JournalFile, tail};
pub use tally::{Counts, Recovered, Tally};
pub use writer::{Journal, OpenError, Subscription};
