//! Sessions that were recovered from other machines.

use super::*;

/// A session on the machine that it comes from.
struct Old {
    memory: Arc<BoxMemory>,
    session: SessionBox,
    /// Its box.
    bytes: Vec<u8>,
    view: BoxView,
    plan: Resumption,
}

impl Old {
    /// One that was exported when its application had read so much of what it received, and that wrote nothing.
    fn after(read: usize, received: u64) -> Old {
        let (memory, _fd) = BoxMemory::create(SHAPE).unwrap();
        let mut session = memory.take(3).unwrap();
        session.has_read(read);
        session.export(b"state").unwrap();
        let bytes = memory.read(0).unwrap();
        let view = BoxView::decode(SHAPE, &bytes, None).unwrap().unwrap();
        let streams = Streams { acknowledged: 0, sent: 0, received, held: 0..received };
        let plan = Resumption::plan(&streams, &view).unwrap();
        Old { memory, session, bytes, view, plan }
    }
}

#[test]
fn only_who_offered_a_session_begins_it_and_its_server_hears_of_it_then() {
    let mut scene = Scene::new();
    let Old { bytes, view, plan, .. } = Old::after(4, 6);
    scene.hello(1, 10, Role::Server, 0);
    for adopter in [2, 3] {
        scene.hello(adopter, 12, Role::Adopter, 0);
    }
    let offer = |scene: &mut Scene, by| {
        let socket = scene.socket(7, Some(Counts { read: 100, written: 50 }));
        let now = scene.at(0);
        let message = Message::Offer(Offer::new(7, &view, &plan, Sequences::default()));
        let told = scene.desk.hear(by, 12, message, Some(socket), &[], now);
        let Some(Message::Offered(offered)) = told.answer else { panic!("{told:?}") };
        offered
    };
    let offered = offer(&mut scene, 2);
    refusal(scene.begin(3, Begin::new(offered, 0, SHAPE), &bytes).answer);
    // Withdrawn it is nothing any more.
    scene.desk.lose(2, scene.at(0));
    assert_eq!(*scene.fate.borrow(), [(7, "reset")]);
    assert_eq!(scene.boxes.cookie(offered.index), Some(0));
    let offered = offer(&mut scene, 3);
    assert!(scene.desk.waiting().is_empty());
    let told = scene.begin(3, Begin::new(offered, 0, SHAPE), &bytes);
    assert_eq!(told.answer, Some(Message::Begun));
    scene.desk.lose(3, scene.at(0));
    let mut seen = None;
    scene.desk.hand(1, &mut TenBytes, &mut |recovered, _, _| {
        seen = Some(*recovered);
        Ok(())
    });
    let bases = seen.unwrap().keep.bases;
    assert_eq!((bases.read.wrapping_add(100), bases.written.wrapping_add(50)), (4, 0));
}

#[test]
fn a_session_whose_box_is_not_what_was_offered_is_reset_when_it_is_to_begin() {
    let Old { memory, mut session, bytes, view, plan } = Old::after(4, 6);
    session.end();
    let ended = memory.read(0).unwrap();
    let other = Resumption { unread: 3..6, ..plan.clone() };
    // A snapshot that is not there.
    let senseless = [&bytes[..8], &[3], &bytes[9..]].concat();
    let nobody = vec![0; bytes.len()];
    let none = Shape { capacity: 0, ..SHAPE };
    for (shape, plan, written, bytes) in [
        (SHAPE, &plan, 0, &ended),
        (SHAPE, &plan, 1, &bytes),
        (SHAPE, &other, 0, &bytes),
        (SHAPE, &plan, 0, &senseless),
        (SHAPE, &plan, 0, &nobody),
        (SHAPE, &plan, 0, &Vec::new()),
        (none, &plan, 0, &bytes),
    ] {
        let mut scene = Scene::new();
        scene.hello(1, 10, Role::Server, 0);
        scene.hello(2, 12, Role::Adopter, 0);
        let socket = scene.socket(7, Some(Counts { read: 100, written: 50 }));
        let told =
            scene.say(2, Message::Offer(Offer::new(7, &view, plan, Sequences::default())), Some(socket));
        let Some(Message::Offered(offered)) = told.answer else { panic!("{told:?}") };
        refusal(scene.begin(2, Begin::new(offered, written, shape), bytes).answer);
        assert_eq!(*scene.fate.borrow(), [(7, "reset")]);
        assert_eq!(scene.boxes.cookie(offered.index), Some(0));
        assert!(scene.desk.waiting().is_empty());
    }
}

#[test]
fn what_was_offered_outlives_a_server_that_ends_before_it_begins() {
    let mut scene = Scene::new();
    let Old { bytes, view, plan, .. } = Old::after(0, 0);
    scene.hello(1, 10, Role::Server, 0);
    scene.hello(2, 12, Role::Adopter, 0);
    let socket = scene.socket(7, Some(Counts { read: 0, written: 0 }));
    let told = scene.say(2, Message::Offer(Offer::new(7, &view, &plan, Sequences::default())), Some(socket));
    let Some(Message::Offered(offered)) = told.answer else { panic!("{told:?}") };
    scene.desk.lose(1, scene.at(0));
    let told = scene.begin(2, Begin::new(offered, 0, SHAPE), &bytes);
    assert_eq!(told.answer, Some(Message::Begun));
    scene.hello(3, 11, Role::Server, 0);
    assert_eq!(scene.desk.waiting(), [3]);
}
