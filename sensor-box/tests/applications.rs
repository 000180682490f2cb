//! What applications show: written by a target, read by a monitor, and what a monitor makes of anything else.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::application::{
    Answer, ApplicationRegion, Attachment, Goodbye, Outcome, Request, RequestError, SensorSpec, SpecError,
    region_bytes,
};
use backdoors_sensor_box::layout::NO_LIMIT;
use backdoors_sensor_box::{
    ApplicationState, ApplicationView, ApplicationsFetcher, Class, DecodeError, LocalWords, Unit,
};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn sensors() -> [SensorSpec<'static>; 3] {
    [
        SensorSpec::progress("requests", SECOND),
        SensorSpec::level("queue", 1000).in_unit(Unit::Bytes),
        SensorSpec::floor("workers", 4),
    ]
}

fn region(name: &str, generation: u64) -> (LocalWords, Vec<u8>) {
    let words = LocalWords::zeroed(region_bytes(3));
    let attachment = Attachment { generation, pid: 321, at: 5 };
    ApplicationRegion::lay_out(&words, name, &sensors(), &[], &attachment).unwrap();
    let bytes = words.bytes();
    (words, bytes)
}

fn patched(mut bytes: Vec<u8>, offset: usize, patch: &[u8]) -> Vec<u8> {
    bytes[offset..offset + patch.len()].copy_from_slice(patch);
    bytes
}

fn why(bytes: &[u8]) -> &'static str {
    match ApplicationView::decode(bytes) {
        Err(DecodeError::Layout { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_agent_laid_out_and_the_application_set_is_read() {
    let (words, _) = region("web", 7);
    let app = ApplicationRegion::over(&words, 3).unwrap();
    app.set(1, 99);
    app.set(3, 1);
    let view = ApplicationView::decode(&words.bytes()).unwrap();
    assert_eq!((view.name.as_str(), view.pid, view.generation, view.attached_at), ("web", 321, 7, 5));
    assert_eq!((view.state, view.died_at, view.unknown), (ApplicationState::Attached, None, 0));
    assert_eq!(view.sensors.len(), 3);
    let requests = view.sensor("requests").unwrap();
    assert_eq!((requests.class, requests.limit), (Class::Progress, Some(1_000_000_000)));
    let queue = view.sensor("queue").unwrap();
    assert_eq!((queue.value, queue.unit, queue.limit), (99, Some(Unit::Bytes), Some(1000)));
    assert_eq!(view.sensor("workers").unwrap().value, 4, "a floor starts in order");
    assert_eq!(app.values(), [0, 99, 4]);
}

#[test]
fn death_leaving_and_coming_back_are_seen() {
    let (words, _) = region("web", 7);
    let app = ApplicationRegion::over(&words, 3).unwrap();
    app.die(77);
    let view = ApplicationView::decode(&words.bytes()).unwrap();
    assert_eq!((view.state, view.died_at, view.pid), (ApplicationState::Died, Some(77), 321));
    app.attach(&Attachment { generation: 8, pid: 322, at: 90 });
    let view = ApplicationView::decode(&words.bytes()).unwrap();
    assert_eq!((view.state, view.died_at, view.pid), (ApplicationState::Attached, None, 322));
    assert_eq!((view.generation, view.attached_at), (8, 90));
    app.leave();
    assert_eq!(app.state(), Some(ApplicationState::Left));
    assert_eq!(ApplicationView::decode(&words.bytes()).unwrap().state, ApplicationState::Left);
}

#[test]
fn memory_too_small_for_the_sensors_is_refused_and_left_alone() {
    let words = LocalWords::zeroed(region_bytes(3) - 8);
    let laid = ApplicationRegion::lay_out(&words, "web", &sensors(), &[], &Attachment::default());
    assert!(laid.is_err());
    assert!(words.bytes().iter().all(|&byte| byte == 0));
    assert!(ApplicationRegion::over(&words, 3).is_err());
}

#[test]
fn each_way_a_region_can_be_wrong_has_an_error_of_its_own() {
    let (_, good) = region("web", 7);
    assert!(matches!(
        ApplicationView::decode(&good[..100]),
        Err(DecodeError::Truncated { have: 100, need: 128, .. })
    ));
    assert!(matches!(
        ApplicationView::decode(&good[..300]),
        Err(DecodeError::Truncated { have: 300, need: 320, .. })
    ));
    assert!(matches!(
        ApplicationView::decode(&patched(good.clone(), 0, b"X")),
        Err(DecodeError::Magic { .. })
    ));
    assert!(matches!(
        ApplicationView::decode(&patched(good.clone(), 8, &[9])),
        Err(DecodeError::Version { found: 9, .. })
    ));
    let wrong = |offset, patch: &[u8]| why(&patched(good.clone(), offset, patch));
    assert_eq!(wrong(12, &[8]), "header size");
    assert_eq!(wrong(84, &[8]), "record size");
    assert_eq!(wrong(80, &[63]), "number of sensors");
    assert_eq!(wrong(24, b"\x1b[2J"), "name");
    assert_eq!(wrong(24, &[0]), "name");
    assert_eq!(wrong(60, &[9]), "state");
    assert_eq!(wrong(128, b"\n"), "name of a sensor");
    assert_eq!(wrong(128, b"queue\0\0\0"), "two sensors of one name");
    assert_eq!(wrong(128 + 40, &[0; 8]), "limit of a sensor");
    assert_eq!(wrong(128 + 64 + 40, &[0, 0, 0, 0, 0, 0, 0, 0xff]), "limit of a sensor");
}

#[test]
fn a_newer_targets_longer_records_and_unknown_classes_are_read_as_far_as_known() {
    let (_, good) = region("web", 7);
    let mut longer = good[..128].to_vec();
    for record in good[128..].chunks(64) {
        longer.extend_from_slice(record);
        longer.extend_from_slice(&[0xee; 8]);
    }
    let longer = patched(longer, 84, &[72]);
    assert_eq!(ApplicationView::decode(&longer).unwrap().sensors.len(), 3);
    let view = ApplicationView::decode(&patched(good, 128 + 32, &[200, 200])).unwrap();
    assert_eq!((view.sensors.len(), view.unknown), (2, 1));
}

#[test]
fn a_fetcher_follows_applications_that_come_set_values_die_and_go() {
    let mut fetcher = ApplicationsFetcher::default();
    let (web, bytes) = region("web", 7);
    let (_, mail) = region("mail", 8);
    fetcher.begin();
    fetcher.take(256, 7, &bytes).unwrap();
    fetcher.take(257, 8, &mail).unwrap();
    assert_eq!(fetcher.finish().len(), 2);
    let app = ApplicationRegion::over(&web, 3).unwrap();
    app.set(0, 5);
    app.die(9);
    fetcher.begin();
    fetcher.take(256, 7, &web.bytes()).unwrap();
    let views = fetcher.finish();
    assert_eq!(views, [ApplicationView::decode(&web.bytes()).unwrap()]);
    assert_eq!((views[0].sensors[0].value, views[0].state), (5, ApplicationState::Died));
    fetcher.begin();
    assert!(fetcher.finish().is_empty());
}

#[test]
fn a_fetcher_shows_nothing_of_what_it_could_not_read() {
    let mut fetcher = ApplicationsFetcher::default();
    let (_, good) = region("web", 7);
    fetcher.begin();
    fetcher.take(256, 7, &good).unwrap();
    fetcher.finish();
    fetcher.begin();
    assert!(fetcher.take(256, 7, &good[..200]).is_err());
    assert!(fetcher.finish().is_empty());
    fetcher.begin();
    assert!(fetcher.take(256, 6, &good).unwrap_err().to_string().contains("another generation"));
    fetcher.take(256, 7, &good).unwrap();
    assert!(
        fetcher.take(257, 7, &good).unwrap_err().to_string().contains("another application has its name")
    );
    assert_eq!(fetcher.finish().len(), 1);
    // Also when the second one is known already, and the other way round.
    let (_, mail) = region("mail", 8);
    fetcher.begin();
    fetcher.take(257, 8, &mail).unwrap();
    fetcher.take(256, 7, &good).unwrap();
    fetcher.finish();
    fetcher.begin();
    fetcher.take(257, 8, &patched(mail, 24, b"web\0")).unwrap();
    assert!(
        fetcher.take(256, 7, &good).unwrap_err().to_string().contains("another application has its name")
    );
    assert_eq!(fetcher.finish().len(), 1);
}

#[test]
fn a_request_is_read_as_it_was_written() {
    let request =
        Request { name: "web", held: 12, sensors: sensors().to_vec(), values: vec![1, 2, u64::MAX] };
    assert_eq!(Request::decode(&request.encode()), Ok(request));
}

#[test]
fn a_request_against_the_rules_says_which() {
    let encoded = |sensors: &[SensorSpec<'_>]| {
        Request { name: "web", held: 0, sensors: sensors.into(), values: vec![] }.encode()
    };
    let zero = encoded(&[SensorSpec::progress("p", Duration::ZERO)]);
    assert!(matches!(Request::decode(&zero), Err(RequestError::Spec(SpecError::Deadline { limit: 0, .. }))));
    let twice = encoded(&[SensorSpec::level("p", 1), SensorSpec::level("p", 2)]);
    assert_eq!(Request::decode(&twice), Err(RequestError::Spec(SpecError::Repeated("p".into()))));
    let names: Vec<String> = (0..63).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| SensorSpec::level(name, 1)).collect();
    assert_eq!(
        Request::decode(&encoded(&many)[..4096]),
        Err(RequestError::Spec(SpecError::TooManySensors(63)))
    );
    let none = encoded(&[]);
    assert_eq!(Request::decode(&none), Err(RequestError::Spec(SpecError::NoSensors)));
    let unknown = patched(encoded(&[SensorSpec::level("p", NO_LIMIT)]), 128 + 32, &[99]);
    assert_eq!(Request::decode(&unknown), Err(RequestError::Unknown("p".into())));
    assert!(matches!(Request::decode(b"hello"), Err(RequestError::Malformed(_))));
}

#[test]
fn answers_and_goodbyes_are_read_as_they_were_written() {
    for outcome in [Outcome::New, Outcome::Kept, Outcome::Refused, Outcome::NotNow, Outcome::Left] {
        let answer = Answer { outcome, generation: 9, reason: "because".into() };
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
    let long = Answer { outcome: Outcome::Refused, generation: 0, reason: "\u{e9}".repeat(2000) };
    assert!(Answer::decode(&long.encode()).unwrap().reason.starts_with('\u{e9}'));
    assert!(Answer::decode(b"BDANSWER").is_err());
    assert!(Goodbye::decode(&Goodbye.encode()).is_some());
    assert!(Goodbye::decode(b"BDGOODBYE").is_none());
}

proptest! {
    #[test]
    fn any_bytes_behind_a_good_beginning_give_a_view_or_an_error(
        patches in prop::collection::vec((0usize..320, any::<u8>()), 0..20), cut in 0usize..=320,
    ) {
        let (_, mut bytes) = region("web", 7);
        for (offset, byte) in patches {
            bytes[offset] = byte;
        }
        bytes.truncate(cut);
        let _ = Request::decode(&bytes);
        if let Ok(view) = ApplicationView::decode(&bytes) {
            prop_assert!(view.sensors.len() <= 62);
            prop_assert!(view.name.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(view.sensors.iter().all(|sensor| sensor.name.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }

    #[test]
    fn a_fetcher_that_saw_one_image_shows_of_the_next_what_decoding_shows(
        first in prop::collection::vec((0usize..320, any::<u8>()), 0..4),
        second in prop::collection::vec((0usize..320, any::<u8>()), 0..4),
    ) {
        let mut fetcher = ApplicationsFetcher::default();
        let (_, mut bytes) = region("web", 7);
        for patches in [first, second] {
            for (offset, byte) in patches {
                bytes[offset] = byte;
            }
            fetcher.begin();
            let taken = fetcher.take(256, 7, &bytes);
            let decoded = ApplicationView::decode(&bytes).ok().filter(|view| view.generation == 7);
            prop_assert_eq!(taken.is_ok(), decoded.is_some());
            prop_assert_eq!(fetcher.finish(), decoded.as_slice());
        }
    }

    #[test]
    fn any_bytes_at_all_are_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = ApplicationView::decode(&bytes);
        let _ = Request::decode(&bytes);
        let _ = Answer::decode(&bytes);
        let _ = Goodbye::decode(&bytes);
    }
}
