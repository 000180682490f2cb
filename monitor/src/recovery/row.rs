//! What is shown of a session that was not asked to move.

use super::pull::Found;
use super::takeover::check;
use backdoors_monitor_api::SessionRow;

/// Of what was found; `clock` is the target's, nanoseconds.
#[must_use]
pub fn row(service: &str, found: Found, clock: u64) -> SessionRow {
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
