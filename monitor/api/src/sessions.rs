//! Live sessions that were not asked to move.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A session, and what would become of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRow {
    /// The service.
    pub service: String,
    /// The service's end.
    pub local: SocketAddr,
    /// The client's end.
    pub remote: SocketAddr,
    /// What the connection is doing.
    pub state: String,
    /// How long it has been open, nanoseconds.
    pub age_ns: u64,
    /// How long ago anything of it changed that the kernel half sees, nanoseconds.
    pub still_ns: u64,
    /// Number of the application's newest snapshot; 0 if there is none; absent if it keeps no box.
    pub snapshot: Option<u64>,
    /// Bytes of that snapshot.
    pub snapshot_bytes: usize,
    /// Received bytes that are held.
    pub received_bytes: usize,
    /// Received bytes that the application would be given again.
    pub replayed_bytes: u64,
    /// Bytes sent that the client did not acknowledge.
    pub unacknowledged_bytes: u32,
    /// Why it cannot go on elsewhere; absent if it can.
    pub lost: Option<String>,
}
