//! Second views: what other monitors say of the same targets.
//!
//! A monitor that cannot read a target cannot tell a dead path from a dead host by itself; one that reaches the target
//! by another path can.

pub mod config;
mod opinion;

pub use config::{PeerConfig, PeerConfigError};
pub use opinion::{Answered, Knowledge, Opinion};
