//! Live connections as read: whole ones are what was written, and no bytes whatever harm the reader.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::session::layout::{
    LEAST_RING, SessionFlags, SessionRecord, ring_stride, session_table_bytes,
};
use backdoors_sensor_box::session::{Received, ReceivedError, Refused};
use backdoors_sensor_box::writer::SessionTable;
use backdoors_sensor_box::{
    DecodeError, FetchError, LocalWords, SessionsView, SharedWords, TcpState, fetch_received, fetch_sessions,
};
use proptest::prelude::*;
use std::cell::RefCell;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const RECORDS: usize = 3;
const HEADER: usize = 256;
const RECORD: usize = 256;

fn table(records: &[SessionRecord]) -> Vec<u8> {
    let words = LocalWords::zeroed(session_table_bytes(RECORDS));
    SessionTable::lay_out(&words, 7, LEAST_RING, LEAST_RING / 2).unwrap();
    let mut bytes = words.bytes();
    for (index, record) in records.iter().enumerate() {
        bytes[HEADER + index * RECORD..][..RECORD].copy_from_slice(record.as_bytes());
    }
    bytes
}

/// A connection that received so many bytes, half of which were read, and whose sequence numbers wrap on the way.
fn connection(received: u64) -> SessionRecord {
    let (irs, iss) = (u32::MAX - 5, u32::MAX - 9);
    let rcv_nxt = irs.wrapping_add(1).wrapping_add(received as u32);
    SessionRecord {
        sequence: 4,
        cookie: 11,
        held_end: u64::from(rcv_nxt),
        local: std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        remote: std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets(),
        family: 2,
        local_port: 80,
        remote_port: 5000,
        state: TcpState::Established as u32,
        flags: SessionFlags::WINDOW_SCALE,
        irs,
        iss,
        snd_una: iss.wrapping_add(1),
        snd_nxt: iss.wrapping_add(21),
        write_seq: iss.wrapping_add(31),
        rcv_nxt,
        copied_seq: rcv_nxt.wrapping_sub((received / 2) as u32),
        rcv_wup: rcv_nxt,
        rcv_wnd: 1000,
        snd_wscale: 7,
        rcv_wscale: 7,
        bytes_received: received,
        ..SessionRecord::new_zeroed()
    }
}

fn read(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) -> Result<(), &'static str> {
    move |offset, into| {
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or("outside")?;
        into.copy_from_slice(from);
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_since_the_record_was_written_counts_if_it_was_sent() {
    let una = connection(100).snd_una;
    let told = |acknowledged: u32| u64::from(una.wrapping_add(acknowledged)) | 500 << 32;
    let view = |heard, flags| {
        let mut record = SessionRecord { heard, snd_wnd: 1, max_window: 1, ..connection(100) };
        record.flags |= flags;
        if flags & SessionFlags::OWN_FIN != 0 {
            record.snd_nxt = record.write_seq;
        }
        let [session] = SessionsView::decode(&table(&[record])).unwrap().sessions[..] else { panic!() };
        let after = session.record;
        assert_eq!(u64::from(after.snd_una.wrapping_sub(una)), after.bytes_acked);
        // A window that is larger than all before is the largest.
        assert!(after.max_window >= after.snd_wnd, "{after:?}");
        (after.bytes_acked, after.snd_wnd)
    };
    assert_eq!(view(told(15), 0), (15, 500 << 7));
    assert_eq!(view(told(20), 0), (20, 500 << 7));
    // No news, old news, and what was never sent.
    for heard in [told(0), told(u32::MAX), told(21), told(1 << 31)] {
        assert_eq!(view(heard, 0), (0, 1));
    }
    // The end is no byte, and the connection's state goes with it.
    assert_eq!(view(told(29), SessionFlags::OWN_FIN), (29, 500 << 7));
    assert_eq!(view(told(30), SessionFlags::OWN_FIN), (0, 1));
}

#[test]
fn a_connection_is_read_as_it_was_written_and_free_records_are_none() {
    let view = SessionsView::decode(&table(&[connection(100)])).unwrap();
    assert_eq!((view.generation, view.capacity, view.receive_cap), (7, RECORDS, LEAST_RING / 2));
    assert_eq!((view.sessions.len(), view.refused.len(), view.torn.len()), (1, 0, 0));
    let session = view.session(11).unwrap();
    assert_eq!(
        (session.local, session.remote),
        ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:5000".parse().unwrap())
    );
    assert_eq!((session.held(), session.read_position(), session.received()), (Some(0..100), 50, 100));
    assert!(session.is_protected() && session.has(SessionFlags::WINDOW_SCALE));
}

#[test]
fn a_ring_holds_what_the_highest_byte_that_ever_came_left_of_it() {
    let held = |received: u64, beyond: u32| {
        let mut record = connection(received);
        record.held_end = u64::from(record.rcv_nxt.wrapping_add(beyond));
        let view = SessionsView::decode(&table(&[record])).unwrap();
        (view.sessions[0].held().unwrap(), view.sessions[0].is_protected())
    };
    let ring = u64::from(LEAST_RING);
    assert_eq!(held(ring, 0), (0..ring, true));
    assert_eq!(held(ring, 10), (10..ring, true));
    // Half of them was not read.
    assert_eq!(held(2 * ring, 0), (ring..2 * ring, true));
    assert_eq!(held(2 * ring, 1), (ring + 1..2 * ring, false));
    assert_eq!(held(100, LEAST_RING + 5), (100..100, false));
}

#[test]
fn bytes_that_were_missed_make_all_that_is_held_worthless() {
    // What was missed may have been the newest.
    let record = SessionRecord { gaps: 1, held_end: 0, ..connection(100) };
    let bytes = table(&[record]);
    let view = SessionsView::decode(&bytes).unwrap();
    assert!(view.sessions[0].held().is_none() && !view.sessions[0].is_protected());
    let fetched = fetch_received(&view, &view.sessions[0], read(&bytes), read(&[]));
    assert!(matches!(fetched, Err(ReceivedError::Gap)));
}

#[test]
fn the_peers_end_is_no_byte() {
    let mut record = connection(100);
    record.held_end = u64::from(record.rcv_nxt);
    record.rcv_nxt = record.rcv_nxt.wrapping_add(1);
    record.bytes_received += 1;
    record.flags |= SessionFlags::PEER_FIN;
    record.copied_seq = record.rcv_nxt;
    let view = SessionsView::decode(&table(&[record])).unwrap();
    assert_eq!((view.sessions[0].held(), view.sessions[0].read_position()), (Some(0..100), 100));
}

#[test]
fn a_record_that_makes_no_sense_is_refused_and_the_others_stand() {
    type Change = fn(&mut SessionRecord);
    let wrong: [(Change, &str); 17] = [
        (|record| record.family = 3, "family"),
        (|record| record.local[0] = 1, "IPv4 address that is none"),
        (|record| (record.family, record.local[0]) = (10, 1), "different families"),
        (|record| record.remote_port = 0, "port 0"),
        (|record| record.state = 0, "state"),
        (|record| record.state = 7, "state"),
        (|record| record.state = 13, "state"),
        (|record| record.snd_wscale = 15, "scale"),
        (|record| record.flags = 0, "scale"),
        (|record| record.snd_nxt = record.snd_una.wrapping_sub(1), "acknowledged than sent"),
        (|record| record.write_seq = record.snd_nxt.wrapping_sub(1), "sent than written"),
        (|record| record.copied_seq = record.rcv_nxt.wrapping_add(1), "more read than received"),
        (|record| record.copied_seq = record.rcv_nxt.wrapping_sub(101), "more unread than received"),
        (|record| record.rcv_wnd = 1 << 31, "window larger"),
        (|record| record.bytes_received += 1, "bytes received"),
        (|record| record.bytes_acked += 1, "bytes acknowledged"),
        (|record| record.held_end = u64::from(record.rcv_nxt.wrapping_sub(1)), "less held"),
    ];
    for (index, (change, expected)) in wrong.into_iter().enumerate() {
        let mut record = connection(100);
        change(&mut record);
        let view = SessionsView::decode(&table(&[record, connection(5)])).unwrap();
        assert_eq!(view.sessions.len(), 1, "{index}: {expected}");
        assert_eq!(view.sessions[0].index, 1);
        let Refused { index: 0, why } = view.refused[0] else { panic!("{:?}", view.refused) };
        assert!(why.contains(expected), "{index}: {why}");
    }
}

#[test]
fn a_torn_or_senseless_record_is_read_again_and_told_if_it_stays_so() {
    let torn = SessionRecord { sequence: 5, ..connection(100) };
    let senseless = SessionRecord { bytes_acked: 7, ..connection(100) };
    for (wrong, told) in [(torn, (1, 0)), (senseless, (0, 1))] {
        let bytes = table(&[wrong, connection(5)]);
        let view = fetch_sessions(bytes.len() as u64, read(&bytes)).unwrap();
        assert_eq!(((view.torn.len(), view.refused.len()), view.sessions.len()), (told, 1));
        let (first, later) = (table(&[wrong]), table(&[connection(100)]));
        let readings = RefCell::new(0);
        let view = fetch_sessions(first.len() as u64, |offset, into: &mut [u8]| {
            *readings.borrow_mut() += 1;
            read(if *readings.borrow() > 3 { &later } else { &first })(offset, into)
        });
        let view = view.unwrap();
        assert_eq!((view.torn.len(), view.refused.len(), view.sessions.len()), (0, 0, 1));
    }
}

#[test]
fn a_record_that_is_not_the_same_twice_is_torn_unless_only_what_changes_at_any_time_did() {
    let first = connection(100);
    let torn = |second| {
        let view = SessionsView::decode_twice(&table(&[first]), &table(&[second])).unwrap();
        assert_eq!(view.sessions.len() + view.torn.len(), 1);
        view.torn.len() == 1
    };
    assert!(!torn(first));
    assert!(!torn(SessionRecord { gaps: 1, held_end: first.held_end + 1, heard: 7, ..first }));
    assert!(torn(SessionRecord { sequence: first.sequence + 2, ..first }));
    // Its writer had ended before the last words of it were read.
    assert!(torn(SessionRecord { rcv_wnd: first.rcv_wnd + 1, ..first }));
}

#[test]
fn a_table_in_a_region_too_small_for_it_is_an_error() {
    let bytes = table(&[]);
    let fetched = fetch_sessions(bytes.len() as u64 - 1, read(&bytes));
    assert!(matches!(fetched, Err(FetchError::Decode(DecodeError::Truncated { .. }))));
    assert!(matches!(SessionsView::decode(&bytes[..300]), Err(DecodeError::Truncated { .. })));
    // Magic, version, sizes of header and record, number of records, size and distance of rings.
    for (offset, bits) in [(0, 1), (8, 9), (12, 1), (28, 1), (26, 1), (32, 1), (38, 0xff)] {
        let mut wrong = bytes.clone();
        wrong[offset] ^= bits;
        assert!(SessionsView::decode(&wrong).is_err(), "byte {offset}");
    }
}

/// The ring of the second record: each byte tells its sequence number.
fn rings(record: &SessionRecord, received: u64) -> Vec<u8> {
    let stride = ring_stride(LEAST_RING) as usize;
    let mut rings = vec![0xee; 2 * stride];
    for position in 0..received {
        let sequence = record.irs.wrapping_add(1).wrapping_add(position as u32);
        rings[stride + (sequence & (LEAST_RING - 1)) as usize] = (position % 251) as u8;
    }
    rings
}

#[test]
fn received_bytes_are_fetched_across_the_rings_end_without_what_was_overwritten_meanwhile() {
    let received = 300_000;
    let record = connection(received);
    let free = SessionRecord::new_zeroed();
    let (bytes, rings) = (table(&[free, record]), rings(&record, received));
    let view = SessionsView::decode(&bytes).unwrap();
    let expected = |start: u64| (start..received).map(|position| (position % 251) as u8).collect::<Vec<u8>>();
    let start = received - u64::from(LEAST_RING);
    let fetch = |later: &[u8]| fetch_received(&view, &view.sessions[0], read(later), read(&rings));
    assert_eq!(fetch(&bytes).unwrap(), Received { start, bytes: expected(start) });
    let mut later = record;
    later.held_end = u64::from((later.held_end as u32).wrapping_add(1000));
    let got = fetch(&table(&[free, later])).unwrap();
    assert_eq!(got, Received { start: start + 1000, bytes: expected(start + 1000) });
    let gone = table(&[free, SessionRecord { cookie: 12, ..record }]);
    assert!(matches!(fetch(&gone), Err(ReceivedError::Gone)));
    assert!(matches!(fetch(&table(&[free, free])), Err(ReceivedError::Gone)));
    let missed = table(&[free, SessionRecord { gaps: 1, ..record }]);
    assert!(matches!(fetch(&missed), Err(ReceivedError::Gap)));
    let torn = table(&[free, SessionRecord { sequence: 5, ..record }]);
    assert!(matches!(fetch(&torn), Err(ReceivedError::Torn)));
    let refused = table(&[free, SessionRecord { state: 0, ..record }]);
    assert!(matches!(fetch(&refused), Err(ReceivedError::Refused(_))));
}

#[test]
fn only_a_table_of_this_version_is_taken_up() {
    let words = LocalWords::zeroed(session_table_bytes(RECORDS));
    assert!(SessionTable::adopt(&words).is_err());
    SessionTable::lay_out(&words, 7, LEAST_RING, 1).unwrap();
    assert_eq!(SessionTable::adopt(&words).unwrap().header().generation, 7);
    words.compare_exchange(0, words.load(0), 1).unwrap();
    assert!(SessionTable::adopt(&words).is_err());
    assert!(SessionTable::lay_out(LocalWords::zeroed(HEADER), 7, LEAST_RING, 1).is_err());
}

/// Whatever a view says lies within what there is.
fn bounded(bytes: &[u8]) {
    let Ok(view) = SessionsView::decode(bytes) else { return };
    assert!(view.sessions.len() + view.refused.len() + view.torn.len() <= view.capacity);
    for session in &view.sessions {
        if let Some(held) = session.held() {
            assert!(held.start <= held.end && held.end - held.start <= u64::from(view.rings.bytes));
        }
        assert!(session.read_position() <= session.received());
        if let Ok(received) = fetch_received(&view, session, read(bytes), |_, into| {
            into.fill(1);
            Ok(())
        }) {
            assert!(received.bytes.len() <= view.rings.bytes as usize);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_bounded_view(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        bounded(&bytes);
    }

    #[test]
    fn any_records_behind_a_good_header_give_a_bounded_view(
        noise in proptest::collection::vec(any::<u8>(), RECORDS * RECORD),
    ) {
        let mut bytes = table(&[]);
        bytes[HEADER..].copy_from_slice(&noise);
        for index in 0..RECORDS {
            bytes[HEADER + index * RECORD] &= 0xfe;
        }
        bounded(&bytes);
    }

    #[test]
    fn a_good_record_with_any_change_is_refused_or_bounded(
        received in any::<u64>(), offset in 0..RECORD, patch in any::<[u8; 8]>(),
    ) {
        let mut chunk = connection(received).as_bytes().to_vec();
        let end = (offset + patch.len()).min(RECORD);
        chunk[offset..end].copy_from_slice(&patch[..end - offset]);
        bounded(&table(&[SessionRecord::read_from_bytes(&chunk).unwrap()]));
    }
}
