use super::super::layout::{BoxHead, ExportHead};
use super::super::{BoxMemory, ExportError, SessionBox};
use super::*;
use core::mem::offset_of;
use proptest::prelude::*;
use std::sync::Arc;
use zerocopy::IntoBytes;

const SHAPE: Shape = Shape { capacity: 2, snapshot_bytes: 64, ring_bytes: 4096 };

fn boxes() -> Arc<BoxMemory> {
    BoxMemory::create(SHAPE).unwrap().0
}

fn first(boxes: &BoxMemory) -> Result<Option<BoxView>, ViewError> {
    BoxView::decode(SHAPE, &boxes.read(0).unwrap(), None)
}

/// Writes as an application does.
fn write(session: &mut SessionBox, bytes: &[u8]) {
    let count = session.will_write(bytes);
    assert_eq!(count, bytes.len());
    session.has_written(count);
}

#[test]
fn what_was_exported_last_is_found_with_where_it_was() {
    let boxes = boxes();
    let mut session = boxes.take(7).unwrap();
    let view = first(&boxes).unwrap().unwrap();
    assert_eq!((view.cookie, view.newest.number), (7, 0));
    session.has_read(10);
    write(&mut session, b"hello");
    session.export(b"one").unwrap();
    session.has_read(1);
    session.export(b"the second").unwrap();
    write(&mut session, b" world");
    let view = first(&boxes).unwrap().unwrap();
    assert_eq!(view.newest, Export { number: 2, read: 11, written: 5, bytes: b"the second".to_vec() });
    assert_eq!((view.read, view.written), (11, 11));
    assert_eq!(view.written_bytes(0..11).unwrap(), &b"hello world"[..]);
    assert_eq!(view.written_bytes(0..12), None);
    drop(session);
    assert_eq!(first(&boxes), Ok(None));
}

#[test]
fn a_shape_is_read_as_it_was_made_and_nothing_else_is_one() {
    let bytes = boxes().bytes();
    assert_eq!(Shape::decode(&bytes), Ok(SHAPE));
    assert_eq!(bytes.len(), SHAPE.region_bytes());
    assert_eq!(Shape::decode(&bytes[..120]), Err(ViewError::Short { have: 120, need: 128 }));
    let with = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Shape::decode(&bytes)
    };
    assert_eq!(with(0, 0), Err(ViewError::Magic));
    assert_eq!(with(8, 2), Err(ViewError::Version(2)));
    assert_eq!(with(16, 0), Err(ShapeError::Capacity(0).into()));
    assert_eq!(with(20, 64), Err(ViewError::BoxBytes(64)));
    assert_eq!(with(24, u32::MAX), Err(ShapeError::Snapshot(u32::MAX).into()));
    assert_eq!(with(28, 5000), Err(ShapeError::Ring(5000).into()));
}

#[test]
fn a_box_is_taken_by_one_session_at_a_time() {
    let boxes = boxes();
    let (one, two) = (boxes.take(1).unwrap(), boxes.take(2).unwrap());
    assert!(boxes.take(3).is_none());
    drop(one);
    let mut three = boxes.take(3).unwrap();
    assert_eq!(
        first(&boxes).unwrap().unwrap().newest,
        Export::default(),
        "nothing is left of the one before"
    );
    assert_eq!(three.export(&[0; 65]), Err(ExportError::TooLarge { length: 65, room: 64 }));
    drop((two, three));
}

#[test]
fn more_than_half_of_the_ring_is_not_written_at_once() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    let bytes: Vec<u8> = (0..10_000_u32).map(|index| (index % 251) as u8).collect();
    let mut at = 0;
    while at < bytes.len() {
        let count = session.will_write(&bytes[at..]);
        assert!(count <= 2048);
        // The system takes less, so that the ring's end is met in the middle.
        let count = count.min(1500);
        session.has_written(count);
        at += count;
    }
    let view = first(&boxes).unwrap().unwrap();
    // The last 2048 but the first 1500 were the last put in.
    assert_eq!(view.held(), 9_000 + 1000 - 4096..10_000);
    assert_eq!(view.written_bytes(view.held()).unwrap(), bytes[10_000 - 4096..]);
    assert_eq!(view.written_bytes(10_000 - 4097..10_000), None);
}

#[test]
fn what_was_overwritten_by_bytes_that_the_system_did_not_take_is_not_held() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    write(&mut session, &[1; 2048]);
    write(&mut session, &[1; 2048]);
    assert_eq!(session.will_write(&[2; 100]), 100);
    session.has_written(10);
    let view = first(&boxes).unwrap().unwrap();
    assert_eq!(view.held(), 100..4106);
    assert_eq!(view.written_bytes(99..100), None);
    assert_eq!(view.written_bytes(4095..4098).unwrap(), [1, 2, 2][..]);
}

#[test]
fn bytes_that_were_about_to_be_written_are_held_before() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    assert_eq!(session.will_write(b"abc"), 3);
    // It ends here, and nobody knows whether they left.
    let view = first(&boxes).unwrap().unwrap();
    assert_eq!((view.written, view.written_bytes(0..3).unwrap()), (3, "abc".into()));
}

#[test]
fn a_box_that_is_laid_out_anew_reads_the_same_and_is_no_larger_than_it_must_be() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    let bytes: Vec<u8> = (0..5_000_u32).map(|index| (index % 251) as u8).collect();
    for piece in bytes.chunks(1000) {
        write(&mut session, piece);
    }
    session.has_read(9);
    session.export(b"odd").unwrap();
    let mut view = first(&boxes).unwrap().unwrap();
    // Around the end of the ring.
    view.ring = Some(Ring::whole(3500, bytes[3500..].to_vec().into()));
    for is_held in [true, false] {
        if !is_held {
            view.ring = None;
        }
        let old = view.to_old_box();
        let ring_bytes = if is_held { 4096 } else { 0 };
        assert_eq!(old.shape, Shape { capacity: 1, snapshot_bytes: 8, ring_bytes });
        let mut laid = vec![0; old.shape.box_bytes()];
        for (at, piece) in &old.pieces {
            laid[*at..*at + piece.len()].copy_from_slice(piece);
        }
        let again = BoxView::decode(old.shape, &laid, None).unwrap().unwrap();
        assert_eq!((&again.newest, again.read, again.written), (&view.newest, 9, 5000));
        assert_eq!(again.written_bytes(3500..5000), view.written_bytes(3500..5000));
    }
}

/// Offsets within a box.
fn number_of(place: usize) -> usize {
    offset_of!(BoxHead, exports) + place * size_of::<ExportHead>()
}

#[test]
fn a_crash_at_any_word_of_an_export_leaves_the_snapshot_before_or_the_new_one() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    session.export(&[1; 64]).unwrap();
    session.has_read(5);
    session.export(&[2; 64]).unwrap();
    let before = boxes.read(0).unwrap();
    session.has_read(5);
    let between = boxes.read(0).unwrap();
    session.export(&[3; 64]).unwrap();
    let after = boxes.read(0).unwrap();
    // In the order in which an export stores them; number 3 lies in place 1.
    let mut order = vec![number_of(1)];
    order.extend((SHAPE.buffer_offset(3)..SHAPE.buffer_offset(3) + 64).step_by(8));
    order.extend([8, 16, 24].map(|within| number_of(1) + within));
    order.push(offset_of!(BoxHead, newest));
    let mut bytes = between;
    for (stored, offset) in order.iter().enumerate() {
        let view = BoxView::decode(SHAPE, &bytes, None).unwrap().unwrap();
        assert_eq!((view.newest.number, view.newest.bytes), (2, vec![2; 64]), "after {stored} words");
        bytes[*offset..*offset + 8].copy_from_slice(&after[*offset..*offset + 8]);
    }
    assert_eq!(bytes, after);
    let view = BoxView::decode(SHAPE, &bytes, None).unwrap().unwrap();
    assert_eq!((view.newest.number, view.newest.read), (3, 10));
    // Who read snapshot 1 meanwhile knows that it is gone, and who read snapshot 2 that it is whole.
    let around = |newest, numbers| BoxView::decode(SHAPE, &before, Some(Around { newest, numbers }));
    assert_eq!(around(1, [2, 3]), Err(ViewError::Replaced));
    assert_eq!(around(2, [2, 3]).unwrap().unwrap().newest.number, 2);
}

#[test]
fn a_snapshot_ahead_of_its_application_or_larger_than_its_buffer_is_refused() {
    let boxes = boxes();
    let mut session = boxes.take(1).unwrap();
    session.export(b"x").unwrap();
    let bytes = boxes.read(0).unwrap();
    let with = |offset: usize, value: u64| {
        let mut bytes = bytes.clone();
        bytes[offset..offset + 8].copy_from_slice(value.as_bytes());
        BoxView::decode(SHAPE, &bytes, None).unwrap_err()
    };
    assert_eq!(with(number_of(1) + 8, 65), ViewError::Length { length: 65, room: 64 });
    assert_eq!(with(number_of(1) + 16, 1), ViewError::Ahead { done: "read", snapshot: 1, live: 0 });
    assert_eq!(with(number_of(1) + 24, 9), ViewError::Ahead { done: "written", snapshot: 9, live: 0 });
    assert_eq!(with(offset_of!(BoxHead, newest), 2), ViewError::Replaced);
    assert_eq!(with(offset_of!(BoxHead, written), 4), ViewError::Filled { filled: 0, written: 4 });
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_box_of_bounded_size(
        head in proptest::collection::vec(prop_oneof![Just(0_u64), 1_u64..5, any::<u64>()], size_of::<BoxHead>() / 8),
        rest in proptest::collection::vec(any::<u8>(), 0..6000),
    ) {
        let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(rest);
        let _ = Shape::decode(&bytes);
        if let Ok(Some(view)) = BoxView::decode(SHAPE, &bytes, None) {
            prop_assert!(view.newest.bytes.len() <= 64);
            prop_assert!(view.newest.read <= view.read && view.newest.written <= view.written);
            let held = view.held();
            prop_assert!(held.end.saturating_sub(held.start) <= 4096);
            let _ = view.written_bytes(held);
        }
    }
}
