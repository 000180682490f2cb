//! The flight recorder: the last minutes of one target, in a file of fixed size that outlives the monitor.
//!
//! [`Recorder`] writes every reading, missed sample, probe, verdict, journal entry and change of period into a file
//! that is mapped into memory: what was recorded is in the page cache at once, so a monitor that is killed loses
//! nothing, and recording a sample makes no system call and allocates nothing. [`Recording`] reads such a file, and
//! whatever is left of a damaged one; [`extract`] makes a small file of its last minutes, and [`Rerun`] runs detector
//! and judge on it again.
//!
//! The file is a header and a ring of segments ([`layout`]). Each begins with a keyframe, so the oldest can be
//! dropped whole, and what is damaged in one costs the others nothing.

mod applications;
mod encode;
mod extract;
pub mod layout;
mod moment;
mod playback;
mod reader;
mod rerun;
mod scribe;
mod varint;
mod writer;

pub use extract::extract;
pub use moment::{Gap, Moment, Settings, What};
pub use playback::Playback;
pub use reader::{ReadError, Recording};
pub use rerun::{About, Difference, Rerun};
pub use writer::{DEFAULT_BYTES, LEAST_BYTES, OpenError, Recorder, file_of};

#[cfg(test)]
mod tests;
