//! The sensor box: the bytes a target shows to its monitors, and the only code that reads or writes them.
//!
//! The target's side writes through [`SharedWords`]: eight-byte words, never references. The monitor's side gets
//! bytes that came over the network; they are hostile until [`decode`] has turned them into a view.

#![forbid(unsafe_code)]

pub mod catalogue;
pub mod command;
pub mod layout;

pub use catalogue::{CATALOGUE, Class, Instance, SensorDescription, SensorKind, Unit};
pub use command::{CommandState, Opcode, Refusal};
