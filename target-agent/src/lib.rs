//! The target agent: loads the kernel half, hands its memory to the owner, shakes hands with monitors; or, where
//! there is no eBPF, fills the sensor box itself.

pub mod kernel;
pub mod limits;
pub mod memory;
pub mod words;
