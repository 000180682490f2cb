//! The target agent: loads the kernel half, hands its memory to the owner, shakes hands with monitors; or, where
//! there is no eBPF, fills the sensor box itself.

pub mod applications;
pub mod audit;
pub mod check;
pub mod config;
pub mod errand;
pub mod executor;
pub mod helper;
pub mod keep;
pub mod kernel;
pub mod limits;
pub mod memory;
mod offer;
mod owner_process;
mod pressure;
pub mod run;
pub mod seat;
pub mod services;
pub mod source;
pub mod words;
