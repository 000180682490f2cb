//! Light-weight snapshots: the memory an application exports them into without a system call, and what is found there after
//! its end (thesis, sections 3.6.3 and 3.6.4).
//!
//! A box has two buffers. An export fills the one that does not hold the newest snapshot and then, with one word, makes it the
//! newest, so that a crash in the middle leaves the one before. With every snapshot goes how much of the connection had been
//! read and written: what came in since is replayed to whoever resumes from it.

mod export;
pub mod layout;
mod memory;
mod view;

pub use export::{ExportError, SessionBox};
pub use layout::{Shape, ShapeError};
pub use memory::{BoxMemory, Continued, MemoryError, Owner, RestoreError};
pub use view::{Around, Attachment, BoxView, BoxesView, Export, OldBox, Ring, ViewError};
