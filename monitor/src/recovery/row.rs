//! What is shown of a session that was not asked to move.

use super::pull::Found;
use super::takeover::check;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A session, and what would become of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl SessionRow {
    /// Of what was found; `clock` is the target's, nanoseconds.
    #[must_use]
    pub fn new(service: &str, found: Found, clock: u64) -> SessionRow {
        let session = found.session;
        let record = session.record;
        let newest = found.boxed.as_ref().and_then(|boxed| Some(boxed.as_ref().ok()?.newest.clone()));
        let held = session.held().map_or(0, |held| usize::try_from(held.end - held.start).unwrap_or(0));
        let read = newest.as_ref().map_or(0, |newest| newest.read);
        let row = SessionRow {
            service: service.to_owned(),
            local: session.local,
            remote: session.remote,
            state: session.state.to_string(),
            age_ns: clock.saturating_sub(record.opened_at),
            still_ns: clock.saturating_sub(record.changed_at),
            snapshot: newest.as_ref().map(|newest| newest.number),
            snapshot_bytes: newest.as_ref().map_or(0, |newest| newest.bytes.len()),
            received_bytes: held,
            replayed_bytes: session.received().saturating_sub(read),
            unacknowledged_bytes: record.snd_nxt.wrapping_sub(record.snd_una),
            lost: None,
        };
        SessionRow { lost: check(found, clock).err(), ..row }
    }
}
