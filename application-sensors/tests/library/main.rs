//! The library against the agent's side of the socket, both in this process, and against strangers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod agent;
mod applications;
mod c;
mod hooks;
mod refusals;
