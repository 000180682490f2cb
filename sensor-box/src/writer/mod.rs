//! The target's side: whoever shows something writes it here, word by word, for readers that may look at any
//! moment and never ask.

mod audit;
mod commands;
mod fence;
mod processes;
mod sensors;
mod sessions;

pub use audit::AuditRing;
pub use commands::{Acknowledgements, CommandSlots};
pub use fence::Fence;
pub use processes::ProcessTable;
pub use sensors::{NewSensorError, Sensor, SensorBox, Shape};
pub use sessions::SessionTable;

/// The record was being written while it was read. Read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record was being written while it was read: read again")]
pub struct Torn;

/// Why shared memory cannot serve as a region of the target. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayOutError {
    /// The memory is too small.
    #[error("the memory is too small for this region: map more")]
    TooSmall,
    /// It holds something else, or another version.
    #[error("the memory holds no region of this version: lay it out anew")]
    OtherLayout,
    /// Someone began to lay it out and did not finish.
    #[error("the memory was left half laid out: lay it out anew")]
    Unfinished,
}
