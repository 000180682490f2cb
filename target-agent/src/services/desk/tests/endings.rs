//! Sessions that their servers are done with.

use super::*;

#[test]
fn a_session_that_was_ended_is_held_until_its_connection_is_over_whatever_becomes_of_its_server() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.session(7);
    scene.wire.borrow_mut().ending = Ending::Unacknowledged;
    scene.end(session, 7);
    scene.look(0);
    scene.desk.lose(1, scene.at(1));
    scene.hello(2, 11, Role::Server, 2);
    assert!(scene.desk.waiting().is_empty(), "no server hears of it any more");
    scene.look(3_000_000);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![], 2));
    scene.wire.borrow_mut().ending = Ending::Over;
    scene.look(3_000_250);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![(7, "ended")], 3));
    assert_eq!(scene.desk.next_deadline(), None);
}

#[test]
fn a_client_that_has_everything_and_does_not_close_is_waited_for_for_a_while() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.session(7);
    scene.wire.borrow_mut().ending = Ending::Unacknowledged;
    scene.end(session, 7);
    scene.look(100_000);
    scene.wire.borrow_mut().ending = Ending::Acknowledged;
    scene.look(110_000);
    scene.look(169_999);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![], 2));
    assert_eq!(scene.desk.next_deadline(), Some(scene.at(170).instant), "not later than it is time");
    scene.look(170_000);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![(7, "ended")], 3));
}

#[test]
fn a_session_that_was_ended_is_looked_at_often_at_first_and_then_four_times_a_second() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.session(7);
    scene.wire.borrow_mut().ending = Ending::Unacknowledged;
    scene.end(session, 7);
    let mut at = scene.start;
    let mut pauses = Vec::new();
    for _ in 0..9 {
        scene.desk.look_after(Now { instant: at, shown: 0 });
        let next = scene.desk.next_deadline().unwrap();
        pauses.push((next - at).as_millis());
        at = next;
    }
    assert_eq!(pauses, [4, 8, 16, 32, 64, 128, 250, 250, 250]);
}

#[test]
fn what_a_server_that_died_had_not_written_of_an_ended_session_is_written_as_room_comes() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let mut session = scene.session(7);
    let count = session.will_write(b"0123456789");
    session.has_written(count);
    // The connection has taken four of them.
    let keep =
        Keep { cookie: 7, index: session.index(), reserved: 0, bases: Bases { read: 0, written: 100 } };
    let taken = Counts { read: 7, written: 4u64.wrapping_sub(100) };
    let socket = scene.socket(7, Some(taken));
    scene.say(1, Message::Keep(keep), Some(socket));
    session.end();
    session.leave();
    scene.wire.borrow_mut().room = 2;
    scene.desk.lose(1, scene.at(0));
    scene.look(0);
    assert_eq!(
        (scene.wire.borrow().written.clone(), scene.wire.borrow().ending),
        (b"45".to_vec(), Ending::Open)
    );
    scene.wire.borrow_mut().room = 100;
    scene.look(250);
    assert_eq!(scene.wire.borrow().written, b"456789");
    assert_eq!(scene.wire.borrow().ending, Ending::Unacknowledged, "the end is behind the last byte");
    scene.wire.borrow_mut().ending = Ending::Over;
    scene.look(1000);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![(7, "ended")], 3));
}

#[test]
fn an_ended_session_whose_box_does_not_fit_its_connection_is_reset_and_counted() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.session(7);
    let keep = Keep { cookie: 7, index: session.index(), reserved: 0, bases: Bases::default() };
    let socket = scene.socket(7, Some(Counts { read: 7, written: 1 }));
    scene.say(1, Message::Keep(keep), Some(socket));
    scene.end(session, 7);
    assert_eq!((scene.fate(), scene.free_boxes()), (vec![(7, "reset")], 3));
}

#[test]
fn a_session_that_was_ended_and_not_kept_gives_its_box_back() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.boxes.take(7).unwrap();
    scene.end(session, 7);
    assert_eq!(scene.free_boxes(), 3);
}

#[test]
fn so_does_one_that_was_ended_while_there_was_no_agent() {
    let mut scene = Scene::after(Some(10));
    let (mut ended, live) = (scene.boxes.take(7).unwrap(), scene.boxes.take(8).unwrap());
    ended.end();
    [ended, live].into_iter().for_each(SessionBox::leave);
    scene.hello(1, 10, Role::ServerAgain, 0);
    // It may be about to tell of both.
    assert_eq!(scene.free_boxes(), 1);
    scene.say(1, Message::Ready, None);
    assert_eq!((scene.free_boxes(), scene.boxes.cookie(1)), (2, Some(8)));
}

#[test]
fn a_recovered_session_that_was_ended_is_written_to_its_end_and_no_server_hears_of_it() {
    let mut scene = Scene::new();
    let (old, _fd) = BoxMemory::create(SHAPE).unwrap();
    let mut session = old.take(3).unwrap();
    session.has_read(4);
    session.export(b"state").unwrap();
    session.has_read(3);
    let bytes: Vec<u8> = (0..3000u32).map(|at| at as u8).collect();
    for half in bytes.chunks(1500) {
        let count = session.will_write(half);
        session.has_written(count);
    }
    session.end();
    let old_box = old.read(0).unwrap();
    let view = BoxView::decode(SHAPE, &old_box, None).unwrap().unwrap();
    // What it had read is not needed by anybody.
    let streams = Streams { acknowledged: 100, sent: 500, received: 1000, held: 1000..1000 };
    let plan = Resumption::plan(&streams, &view).unwrap();
    assert_eq!((plan.unacknowledged.clone(), plan.unsent.clone()), (100..500, 500..3000));
    scene.hello(1, 10, Role::Server, 0);
    scene.hello(2, 12, Role::Adopter, 0);
    // Not even one that has to be there.
    scene.desk.lose(1, scene.at(0));
    let socket = scene.socket(7, None);
    let told = scene.say(2, Message::Offer(Offer::new(7, &view, &plan, Sequences::default())), Some(socket));
    let Some(Message::Offered(offered)) = told.answer else { panic!("{told:?}") };
    let told = scene.begin(2, Begin::new(offered, 700, SHAPE), &old_box);
    assert_eq!(told.answer, Some(Message::Begun));
    // Should this machine fail, too, the next one sees the same.
    let restored = BoxView::decode(SHAPE, &scene.boxes.read(offered.index).unwrap(), None).unwrap().unwrap();
    assert!(restored.is_ended && restored.written == 3000);
    scene.hello(3, 11, Role::Server, 0);
    assert!(scene.desk.waiting().is_empty());
    scene.look(0);
    assert_eq!(scene.wire.borrow().written, bytes[1200..]);
    assert_eq!(scene.wire.borrow().ending, Ending::Unacknowledged);
    assert_eq!(scene.free_boxes(), 2);
}
