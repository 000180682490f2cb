//! The monitor: samples targets through one-sided memory, detects, dispatches, heals, and keeps a journal.

pub mod clock;
pub mod detector;
pub mod dispatcher;
pub mod guard;
pub mod reachability;
pub mod repair;
