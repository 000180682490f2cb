//! From what the kernel half recorded of a connection to its streams, and to what it is rebuilt from.

use crate::resume::{Output, Resumption, Streams};
use crate::snapshot::BoxView;
use crate::tcp::state::{ReceiveSide, Scales, SendSide, Timestamps};
use crate::tcp::{StateError, TcpState};
use backdoors_sensor_box::session::layout::SessionFlags;
use backdoors_sensor_box::session::{Received, SessionView, TcpState as Phase};
use bytes::Bytes;
use std::time::Duration;

/// Why a connection cannot be gone on with, whatever its application exported. It is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRebuilt {
    /// The client's connection was not open yet.
    #[error("it was being opened; the client will try again by itself")]
    Opening,
    /// Nobody waits for anything any more.
    #[error("it was over: both ends had closed")]
    Over,
    /// Nobody holds what is under way. A connection that is rebuilt without it never hears the client again, which acknowledges
    /// what it has.
    #[error(
        "{0} bytes are under way to the client, and nobody holds them: let the service's output be mirrored, or wait until it is \
         acknowledged"
    )]
    NotHeld(u64),
    /// The plan wants bytes that are not there. Plans made of the same views never do.
    #[error("bytes that are needed were not fetched")]
    Missing,
    /// What was recorded contradicts itself.
    #[error("its record cannot be right: {0}")]
    State(#[from] StateError),
}

/// Whether our own FIN was sent.
fn closed(session: &SessionView) -> bool {
    session.has(SessionFlags::OWN_FIN) && session.record.snd_nxt == session.record.write_seq
}

/// The two streams of a connection. `received` is what of the received bytes is held.
#[must_use]
pub fn streams(session: &SessionView, received: &Received) -> Streams {
    let record = &session.record;
    let flight = u64::from(record.snd_nxt.wrapping_sub(record.snd_una));
    let fin = u64::from(closed(session));
    // A FIN is no byte: sent it lies behind the last one, and acknowledged it is counted, too.
    let sent = (record.bytes_acked + flight).saturating_sub(fin);
    Streams {
        acknowledged: record.bytes_acked.min(sent),
        sent,
        received: session.received(),
        held: received.start..received.start + received.bytes.len() as u64,
    }
}

/// What a connection is rebuilt from; what was written and never sent is not among it, but for who goes on with the session to
/// write. `clock` is the monotonic clock of its node now, in nanoseconds; it may be ahead of
/// the truth, but not behind.
///
/// # Errors
/// [`NotRebuilt`].
pub fn tcp_state(
    session: &SessionView,
    received: &Received,
    session_box: &BoxView,
    plan: &Resumption,
    clock: u64,
) -> Result<TcpState, NotRebuilt> {
    match session.state {
        Phase::SynReceived => return Err(NotRebuilt::Opening),
        Phase::TimeWait => return Err(NotRebuilt::Over),
        _ => {}
    }
    let record = &session.record;
    let unread = held(received, plan).ok_or(NotRebuilt::Missing)?;
    let written = |range| session_box.written_bytes(range).ok_or(NotRebuilt::Missing);
    let is_closed = closed(session);
    if let Output::Regenerate { sent: sent @ 1.., .. } = plan.output {
        return Err(NotRebuilt::NotHeld(sent));
    }
    let has = |flag| session.has(flag);
    let state = TcpState {
        local: session.local,
        remote: session.remote,
        send: SendSide {
            una: record.snd_una,
            next: record.snd_nxt,
            window: record.snd_wnd,
            window_at: record.snd_wl1,
            max_window: record.max_window,
            unacknowledged: written(plan.unacknowledged.clone())?,
            unsent: Bytes::new(),
            closed: is_closed,
        },
        receive: ReceiveSide {
            copied: session.received_sequence(plan.unread.start),
            next: record.rcv_nxt,
            window: record.rcv_wnd,
            window_at: record.rcv_wup,
            unread,
            closed: has(SessionFlags::PEER_FIN),
        },
        segment_size: record.mss_clamp,
        scales: has(SessionFlags::WINDOW_SCALE)
            .then_some(Scales { send: record.snd_wscale, receive: record.rcv_wscale }),
        selective: has(SessionFlags::SACK),
        timestamps: has(SessionFlags::TIMESTAMPS).then(|| timestamps(session, clock)),
    };
    state.check()?;
    Ok(state)
}

/// The received bytes that the application reads first.
fn held(received: &Received, plan: &Resumption) -> Option<Vec<u8>> {
    let from = usize::try_from(plan.unread.start.checked_sub(received.start)?).ok()?;
    let to = usize::try_from(plan.unread.end.checked_sub(received.start)?).ok()?;
    Some(received.bytes.get(from..to)?.to_vec())
}

/// The clock that the connection told its peer, as `tcp_clock_ts` and the connection's offset have it, when the record was
/// written; or what left in a packet, if that is later.
fn timestamps(session: &SessionView, clock: u64) -> Timestamps {
    let record = &session.record;
    let microseconds = session.has(SessionFlags::MICROSECONDS);
    let tick = if microseconds { 1_000 } else { 1_000_000 };
    let told = ((record.changed_at / tick) as u32).wrapping_add(record.tsoffset);
    let left_later = record.last_tsval.wrapping_sub(told) < u32::MAX / 2;
    Timestamps {
        last: if record.last_tsval != 0 && left_later { record.last_tsval } else { told },
        age: Duration::from_nanos(clock.saturating_sub(record.changed_at)),
        microseconds,
    }
}
