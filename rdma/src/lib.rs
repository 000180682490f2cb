//! One-sided access to a peer's memory: regions, rights, read, write and compare-and-swap.

pub mod access;

pub use access::{AccessError, Connection, Limits, Operation, RemoteRange};
