use super::*;
use crate::snapshot::Export;
use proptest::prelude::*;

fn every() -> Vec<Message> {
    let boxed = Boxed { cookie: 7, index: 3, reserved: 0 };
    let keep = Keep { cookie: 7, index: 3, reserved: 0, bases: Bases { read: 1, written: u64::MAX } };
    let plan = Resumption {
        unread: 1..2,
        unacknowledged: 3..4,
        unsent: 4..6,
        output: Output::Regenerate { back: 1, discard: 2, sent: 3 },
    };
    let shape = Shape { capacity: 2, snapshot_bytes: 64, ring_bytes: 4096 };
    let newest = Export { bytes: vec![0; 5], ..Export::default() };
    let old = BoxView { cookie: 4, newest, read: 0, written: 0, is_ended: true, ring: None };
    vec![
        Message::Hello(Hello { role: Role::Adopter, service: "web".into() }),
        Message::Welcome(Welcome {
            generation: 9,
            capacity: 1,
            snapshot_bytes: 8,
            ring_bytes: 0,
            reserved: 0,
        }),
        Message::Refusal(Refusal { retry_helps: true, reason: "later".into() }),
        Message::Keep(keep),
        Message::NotKept(boxed, "no room".into()),
        Message::Ready,
        Message::Ended(boxed),
        Message::Recovered(Recovered { keep, read: 1, written: 2, ahead: 3, unsent: 4, replay: 5, back: 6 }),
        Message::Goodbye,
        Message::Offer(Offer::new(5, &old, &plan, Sequences { received: 6, sent: 7 })),
        Message::Offered(boxed),
        Message::Begin(Begin::new(boxed, 8, shape)),
        Message::Begun,
    ]
}

#[test]
fn every_message_is_read_as_it_was_said_and_no_beginning_of_one_is() {
    for message in every() {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        let words = matches!(message, Message::Refusal(_) | Message::NotKept(..));
        for length in 0..bytes.len() {
            assert!(words || Message::decode(&bytes[..length]).is_err(), "{length} bytes of {message:?}");
        }
    }
}

#[test]
fn an_offer_carries_what_there_must_be_room_for_and_the_plan() {
    let Some(Message::Offer(offer)) =
        every().into_iter().find(|message| matches!(message, Message::Offer(_)))
    else {
        unreachable!()
    };
    assert_eq!((offer.snapshot, offer.is_ended()), (5, true));
    let plan = offer.plan().unwrap();
    assert_eq!((plan.unread, plan.unacknowledged, plan.unsent), (1..2, 3..4, 4..6));
    assert_eq!(plan.output, Output::Regenerate { back: 1, discard: 2, sent: 3 });
    assert_eq!(Offer { output: 3, ..offer }.plan(), None);
}

#[test]
fn another_version_is_told_and_a_name_that_is_too_long_refused() {
    let mut bytes = Message::Ready.encode();
    bytes[8] = 1;
    assert_eq!(Message::decode(&bytes), Err(MessageError::Version(1)));
    let hello =
        |service: String| Message::decode(&Message::Hello(Hello { role: Role::Server, service }).encode());
    assert!(hello("n".repeat(MOST_NAME)).is_ok());
    assert_eq!(hello("n".repeat(MOST_NAME + 1)), Err(MessageError::Senseless("a name that no service has")));
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_a_message(kind in 0u32..20, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let head = Head { magic: MAGIC, version: VERSION, kind };
        if let Ok(message) = Message::decode(&[head.as_bytes(), &body[..]].concat()) {
            prop_assert!(Message::decode(&message.encode()).is_ok());
        }
    }
}
