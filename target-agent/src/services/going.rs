//! How a session goes on at the machine it was on, whose kernel still has its connection.

use backdoors_continuation_box::resume::{Lost, Output, Resumption, Streams};
use backdoors_continuation_box::snapshot::BoxView;
use backdoors_continuation_box::tcp::Counts;
use backdoors_sensor_box::session::Received;

/// Where a session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    /// Bytes that its application had read as of its newest snapshot, from where it goes on.
    pub read: u64,
    /// Bytes that were written, whether or not the application knows.
    pub written: u64,
    /// How many of those it writes again.
    pub ahead: u64,
    /// Those from here on are still to be written to the connection.
    pub unsent: u64,
    /// How far the application goes back behind its snapshot with what it writes.
    pub back: u64,
    /// What it reads again, before anything else.
    pub replay: Vec<u8>,
}

/// From a session's box, how far its last server got with the connection, as positions, and what the connection received.
///
/// The queues of the connection are whole: what was taken off them is all that is read again, and what was put into them is as
/// good as sent.
///
/// # Errors
/// [`Lost`] if it cannot go on exactly.
pub fn go_on(session: &BoxView, done: Counts, received: Option<Received>) -> Result<Going, Lost> {
    let Counts { read, written } = done;
    let held = received.as_ref().map_or(read..read, |received| {
        received.start..received.start.saturating_add(received.bytes.len() as u64)
    });
    let streams = Streams { acknowledged: written, sent: written, received: read, held };
    let plan = Resumption::plan(&streams, session)?;
    let back = match plan.output {
        Output::Discard(_) => 0,
        Output::Regenerate { back, .. } => back,
    };
    let replay = received.filter(|_| !plan.unread.is_empty()).and_then(|received| {
        let [from, to] = [plan.unread.start, plan.unread.end]
            .map(|position| usize::try_from(position.checked_sub(received.start)?).ok());
        Some(received.bytes.get(from?..to?)?.to_vec())
    });
    Ok(Going {
        read: plan.unread.start,
        written: plan.unsent.end,
        ahead: plan.unsent.end - (session.newest.written - back),
        unsent: plan.unsent.start,
        back,
        replay: replay.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_continuation_box::snapshot::{BoxMemory, Shape};

    const SHAPE: Shape = Shape { capacity: 1, snapshot_bytes: 64, ring_bytes: 4096 };

    /// A session whose snapshot is after 10 bytes read and 5 written, and which read 3 and wrote 4 more.
    fn session(shape: Shape) -> BoxView {
        let (boxes, _fd) = BoxMemory::create(shape).unwrap();
        let mut session = boxes.take(7).unwrap();
        let write = |session: &mut backdoors_continuation_box::snapshot::SessionBox, bytes: &[u8]| {
            let count = session.will_write(bytes);
            session.has_written(count);
        };
        session.has_read(10);
        write(&mut session, b"hello");
        session.export(b"state").unwrap();
        session.has_read(3);
        write(&mut session, b"more");
        let view = BoxView::decode(shape, &boxes.read(0).unwrap(), None).unwrap().unwrap();
        session.leave();
        view
    }

    fn received(start: u64, bytes: &[u8]) -> Option<Received> {
        Some(Received { start, bytes: bytes.to_vec() })
    }

    #[test]
    fn what_was_read_since_the_snapshot_is_read_again_and_what_was_written_is_passed() {
        let found = received(8, b"89abcdef");
        let going = go_on(&session(SHAPE), Counts { read: 13, written: 9 }, found).unwrap();
        let replay = b"abc".to_vec();
        assert_eq!(going, Going { read: 10, written: 9, ahead: 4, unsent: 9, back: 0, replay });
    }

    #[test]
    fn what_the_kernel_had_not_taken_by_the_snapshot_is_still_to_be_written() {
        let going = go_on(&session(SHAPE), Counts { read: 10, written: 2 }, None).unwrap();
        assert_eq!(going, Going { read: 10, written: 5, ahead: 0, unsent: 2, back: 0, replay: Vec::new() });
    }

    #[test]
    fn where_output_is_generated_again_only_what_was_taken_is_passed() {
        let shape = Shape { ring_bytes: 0, ..SHAPE };
        let going = go_on(&session(shape), Counts { read: 10, written: 7 }, None).unwrap();
        assert_eq!(going, Going { read: 10, written: 7, ahead: 2, unsent: 7, back: 0, replay: Vec::new() });
    }

    #[test]
    fn bytes_that_are_needed_and_not_held_lose_the_session() {
        let done = Counts { read: 13, written: 9 };
        assert!(matches!(go_on(&session(SHAPE), done, None), Err(Lost::Received { .. })));
        assert!(matches!(go_on(&session(SHAPE), done, received(11, b"bc")), Err(Lost::Received { .. })));
        assert!(matches!(go_on(&session(SHAPE), done, received(9, b"9ab")), Err(Lost::Received { .. })));
        let more = Counts { read: 13, written: 10 };
        assert!(matches!(go_on(&session(SHAPE), more, received(9, b"9abc")), Err(Lost::SentMore { .. })));
    }
}
