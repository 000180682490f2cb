//! Fetching connections and what they received, whatever carries the bytes.

use super::layout::{MAX_SESSIONS, session_table_bytes};
use super::{SessionView, SessionsView};
use crate::fetch::{FetchError, READINGS};

/// Fetches the session table through `read`, which fills a buffer from an offset of a region of `region` bytes: all of it,
/// twice, then the records that were torn, or make no sense: [`settle_sessions`].
///
/// # Errors
/// [`FetchError::Access`] if `read` fails, [`FetchError::Decode`] if what it read is no session table. Records that stay torn,
/// or senseless, are listed in the view, not an error.
pub fn fetch_sessions<E>(
    region: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<SessionsView, FetchError<E>> {
    let [mut before, mut bytes] = [(); 2].map(|()| vec![0; session_table_room(region)]);
    read(0, &mut before).map_err(FetchError::Access)?;
    read(0, &mut bytes).map_err(FetchError::Access)?;
    let mut view = SessionsView::decode_twice(&before, &bytes)?;
    settle_sessions(&mut view, read).map_err(FetchError::Access)?;
    Ok(view)
}

/// How many bytes of a region of so many can be a session table's.
#[must_use]
pub fn session_table_room(region: u64) -> usize {
    let most = session_table_bytes(MAX_SESSIONS);
    usize::try_from(region).unwrap_or(most).min(most)
}

/// Reads again, twice each, the records that were torn, or make no sense: a record that began to be written while it was read
/// looks so. `read` fills a buffer from an offset of the table.
///
/// # Errors
/// If `read` fails.
pub fn settle_sessions<E>(
    view: &mut SessionsView,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let [mut before, mut record] = [(); 2].map(|()| vec![0; view.record_bytes]);
    for _ in 1..READINGS {
        let torn = core::mem::take(&mut view.torn);
        let refused = core::mem::take(&mut view.refused).into_iter().map(|refused| refused.index);
        for index in torn.into_iter().chain(refused) {
            let at = (view.header_bytes + index * view.record_bytes) as u64;
            read(at, &mut before)?;
            read(at, &mut record)?;
            view.take_record(index, &before, &record);
        }
    }
    Ok(())
}

/// Bytes that a connection received, as its ring held them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Position of the first one.
    pub start: u64,
    /// All from there to the last one that TCP had taken in its turn when the record was read.
    pub bytes: Vec<u8>,
}

/// Why there are no received bytes to be had. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReceivedError<E> {
    /// The memory could not be read.
    #[error("{0}")]
    Access(E),
    /// Some of them were never held.
    #[error("received bytes of this connection were missed; what it received cannot be told")]
    Gap,
    /// The record is another connection's by now, or free.
    #[error("the connection ended meanwhile")]
    Gone,
    /// The record makes no sense any more.
    #[error("its record makes no sense: {0}")]
    Refused(&'static str),
    /// The record was being written at every reading.
    #[error("its record was torn: it was being written while it was read; fetch it again")]
    Torn,
}

/// Fetches what a connection's ring holds. `table` and `rings` fill a buffer from an offset of the two regions. The record is
/// read once more afterwards: what may have been overwritten in the meantime is left out.
///
/// # Errors
/// See [`ReceivedError`].
pub fn fetch_received<E>(
    view: &SessionsView,
    session: &SessionView,
    mut table: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    mut rings: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Received, ReceivedError<E>> {
    let held = session.held().ok_or(ReceivedError::Gap)?;
    let length = usize::try_from(held.end - held.start).unwrap_or(0);
    let mut bytes = vec![0; length];
    let ring = session.index as u64 * u64::from(view.rings.stride);
    let first = session.received_sequence(held.start) & (view.rings.bytes - 1);
    // In two pieces if it goes on at the ring's beginning.
    let (upper, lower) = bytes.split_at_mut(length.min((view.rings.bytes - first) as usize));
    for (offset, piece) in [(ring + u64::from(first), upper), (ring, lower)] {
        if !piece.is_empty() {
            rings(offset, piece).map_err(ReceivedError::Access)?;
        }
    }
    let later = look_again(view, session, &mut table)?;
    let start = later.held().ok_or(ReceivedError::Gap)?.start.max(held.start);
    let overwritten = usize::try_from(start - held.start).unwrap_or(usize::MAX).min(length);
    bytes.drain(..overwritten);
    Ok(Received { start, bytes })
}

fn look_again<E>(
    view: &SessionsView,
    session: &SessionView,
    table: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<SessionView, ReceivedError<E>> {
    let mut record = vec![0; view.record_bytes];
    let at = (view.header_bytes + session.index * view.record_bytes) as u64;
    for _ in 0..READINGS {
        table(at, &mut record).map_err(ReceivedError::Access)?;
        let mut later = SessionsView { rings: view.rings, ..SessionsView::default() };
        // What may be overwritten depends on one word, which is whole.
        later.take_record(session.index, &record, &record);
        match (later.sessions.first(), later.refused.first()) {
            (Some(found), _) if found.cookie == session.cookie => return Ok(*found),
            (None, Some(refused)) => return Err(ReceivedError::Refused(refused.why)),
            (None, None) if !later.torn.is_empty() => {}
            _ => return Err(ReceivedError::Gone),
        }
    }
    Err(ReceivedError::Torn)
}
