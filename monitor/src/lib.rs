//! The monitor: samples targets through one-sided memory, detects, dispatches, heals, and keeps a journal.

pub mod detector;
pub mod repair;
