//! The agent on this machine's kernel, each test in a pid namespace of its own, with victims that cannot get out of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod adopted;
mod audit;
mod bound;
mod captured;
mod commands;
mod counts;
#[path = "../../../continuation-box/tests/support/dump.rs"]
#[allow(dead_code, reason = "others use other parts of it")]
mod dump;
mod ended;
mod fence;
mod files;
mod guard;
mod hooks;
mod host;
mod lease;
mod lifetime;
mod moved;
mod peer;
mod segments;
mod sensors;
mod served;
mod services;
mod sessions;
mod streamed;
mod wire;
