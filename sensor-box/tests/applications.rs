//! What applications show: written by a target, read by a monitor, and what a monitor makes of anything else.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::application::{
    Answer, Answered, ApplicationRegion, Attachment, Call, Goodbye, HookCalls, HookResult, HookSpec,
    LastCall, Outcome, Request, RequestError, SensorSpec, SpecError, region_bytes,
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

const HOOKS: [HookSpec<'static>; 2] =
    [HookSpec { name: "shed-load", least: 0, most: 100 }, HookSpec { name: "reopen", least: 1, most: 1 }];
/// Where the first hook's record lies.
const HOOK: usize = region_bytes(3, 0);
const WHOLE: usize = region_bytes(3, 2);

fn asked(name: &str) -> Request<'_> {
    Request { name, sensors: sensors().to_vec(), hooks: HOOKS.to_vec(), ..Request::default() }
}

fn region(name: &str, generation: u64) -> (LocalWords, Vec<u8>) {
    let words = LocalWords::zeroed(WHOLE);
    let attachment = Attachment { generation, pid: 321, at: 5 };
    ApplicationRegion::lay_out(&words, &asked(name), &attachment).unwrap();
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
    let app = ApplicationRegion::over(&words, 3, 2).unwrap();
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
fn what_became_of_calls_is_read() {
    let (words, _) = region("web", 7);
    let app = ApplicationRegion::over(&words, 3, 2).unwrap();
    let shown = || ApplicationView::decode(&words.bytes()).unwrap();
    let view = shown();
    let (place, shed) = view.hook("shed-load").unwrap();
    assert_eq!((place, shed.least, shed.most, shed.calls), (0, 0, 100, Some(HookCalls::default())));
    assert_eq!(view.hooks.len(), 2);
    let calls = HookCalls::default().and_one(1, 50);
    app.set_calls(1, &calls);
    app.set_calls(2, &calls);
    let last = LastCall { word: 1, result: None, called_at: 50, answered_at: 0 };
    assert_eq!(shown().hooks[1].calls, Some(HookCalls { made: 1, last: Some(last) }));
    for result in [HookResult::Done, HookResult::Failed(0), HookResult::Failed(u32::MAX), HookResult::TooLate]
    {
        app.set_calls(1, &calls.answered(result, 60));
        let last = LastCall { result: Some(result), answered_at: 60, ..last };
        assert_eq!(shown().hooks[1].calls, Some(HookCalls { made: 1, last: Some(last) }));
    }
    assert_eq!(shown().hooks[0].calls, Some(HookCalls::default()), "calls of one are not another's");
    assert_eq!(shown().sensors, view.sensors);
}

#[test]
fn calls_read_while_they_were_written_are_none_at_all() {
    let (words, before) = region("web", 7);
    let app = ApplicationRegion::over(&words, 3, 2).unwrap();
    app.set_calls(0, &HookCalls::default().and_one(40, 50).answered(HookResult::Failed(3), 60));
    let after = words.bytes();
    let calls = HOOK + 48..HOOK + 96;
    assert_eq!(before[..calls.start], after[..calls.start]);
    assert_eq!(before[calls.end..], after[calls.end..]);
    // Whichever of the six words were read before and which after.
    for mixture in 1..0b11_1111_u32 {
        let mut bytes = before.clone();
        for word in (0..6).filter(|word| mixture & 1 << word != 0) {
            let word = calls.start + 8 * word..calls.start + 8 * (word + 1);
            bytes[word.clone()].copy_from_slice(&after[word]);
        }
        let view = ApplicationView::decode(&bytes).unwrap();
        assert_eq!(view.hooks[0].calls, None, "{mixture:b}");
        assert_eq!(view.hooks[1].calls, Some(HookCalls::default()));
    }
}

#[test]
fn death_leaving_and_coming_back_are_seen() {
    let (words, _) = region("web", 7);
    let app = ApplicationRegion::over(&words, 3, 2).unwrap();
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
    let words = LocalWords::zeroed(WHOLE - 8);
    let laid = ApplicationRegion::lay_out(&words, &asked("web"), &Attachment::default());
    assert!(laid.is_err());
    assert!(words.bytes().iter().all(|&byte| byte == 0));
    assert!(ApplicationRegion::over(&words, 3, 2).is_err());
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
        Err(DecodeError::Truncated { have: 300, need: WHOLE, .. })
    ));
    assert!(matches!(
        ApplicationView::decode(&good[..WHOLE - 1]),
        Err(DecodeError::Truncated { need: WHOLE, .. })
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
    assert_eq!(wrong(92, &[8]), "size of a hook's record");
    assert_eq!(wrong(92, &[129]), "size of a hook's record");
    assert_eq!(wrong(88, &[30]), "number of hooks");
    assert_eq!(wrong(88, &[0xff; 4]), "number of hooks");
    assert_eq!(wrong(HOOK, b"\x1b"), "name or range of a hook");
    assert_eq!(wrong(HOOK + 32, &[101]), "name or range of a hook");
    assert_eq!(wrong(HOOK + 128, b"shed-load"), "two hooks of one name");
}

#[test]
fn a_newer_targets_longer_records_and_unknown_classes_are_read_as_far_as_known() {
    let (_, good) = region("web", 7);
    let mut longer = good[..128].to_vec();
    for (records, size) in [(&good[128..HOOK], 64), (&good[HOOK..], 128)] {
        for record in records.chunks(size) {
            longer.extend_from_slice(record);
            longer.extend_from_slice(&[0xee; 8]);
        }
    }
    let longer = patched(patched(longer, 84, &[72]), 92, &[136]);
    let (plain, longer) =
        (ApplicationView::decode(&good).unwrap(), ApplicationView::decode(&longer).unwrap());
    assert_eq!((longer.sensors, longer.hooks), (plain.sensors, plain.hooks));
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
    let app = ApplicationRegion::over(&web, 3, 2).unwrap();
    app.set(0, 5);
    app.set_calls(0, &HookCalls::default().and_one(9, 9));
    app.die(9);
    fetcher.begin();
    fetcher.take(256, 7, &web.bytes()).unwrap();
    let views = fetcher.finish();
    assert_eq!(views, [ApplicationView::decode(&web.bytes()).unwrap()]);
    assert_eq!((views[0].sensors[0].value, views[0].state), (5, ApplicationState::Died));
    assert_eq!(views[0].hooks[0].calls.unwrap().made, 1);
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
    let request = Request { held: 12, values: vec![1, 2, u64::MAX], ..asked("web") };
    assert_eq!(Request::decode(&request.encode()), Ok(request.clone()));
    let alone = Request { hooks: vec![], ..request.clone() };
    assert_eq!(Request::decode(&alone.encode()), Ok(alone));
    let only = Request { sensors: vec![], values: vec![], ..request };
    assert_eq!(Request::decode(&only.encode()), Ok(only));
}

#[test]
fn a_request_against_the_rules_says_which() {
    let encoded = |sensors: &[SensorSpec<'_>]| {
        Request { name: "web", sensors: sensors.into(), ..Request::default() }.encode()
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
    assert_eq!(Request::decode(&none), Err(RequestError::Spec(SpecError::Nothing)));
    let unknown = patched(encoded(&[SensorSpec::level("p", NO_LIMIT)]), 128 + 32, &[99]);
    assert_eq!(Request::decode(&unknown), Err(RequestError::Unknown("p".into())));
    assert!(matches!(Request::decode(b"hello"), Err(RequestError::Malformed(_))));
    let hooks = |hooks: &[HookSpec<'static>]| Request { hooks: hooks.into(), ..asked("web") }.encode();
    let empty = HookSpec { least: 2, most: 1, ..HOOKS[0] };
    assert!(matches!(Request::decode(&hooks(&[empty])), Err(RequestError::Spec(SpecError::Range { .. }))));
    let twice = Request::decode(&hooks(&[HOOKS[0], HOOKS[0]])).unwrap_err().to_string();
    assert!(twice.contains("two hooks are named"), "{twice}");
    let many = Request::decode(&patched(hooks(&HOOKS), 88, &[30])).unwrap_err().to_string();
    assert!(many.contains("3 sensors and 30 hooks"), "{many}");
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

#[test]
fn calls_and_what_is_answered_are_read_as_they_were_written_and_nothing_else_is() {
    let call = Call { id: 1, hook: u32::MAX, word: u64::MAX, until: 3 };
    assert_eq!(Call::decode(&call.encode()), Some(call));
    for result in [HookResult::Done, HookResult::Failed(0), HookResult::Failed(u32::MAX), HookResult::TooLate]
    {
        let answered = Answered { id: 9, result };
        assert_eq!(Answered::decode(&answered.encode()), Some(answered));
        assert_eq!(Answered::decode(&patched(answered.encode().to_vec(), 8, &[1])), None, "another version");
        assert_eq!(Answered::decode(&patched(answered.encode().to_vec(), 24, &[9])), None, "no such result");
        assert_eq!(Answered::decode(&answered.encode()[..31]), None);
        assert_eq!(Call::decode(&answered.encode()), None);
    }
    assert_eq!(Call::decode(&patched(call.encode().to_vec(), 8, &[1])), None, "another version");
    assert_eq!(Answered::decode(&call.encode()), None);
    assert_eq!(Goodbye::decode(&call.encode()), None);
}

proptest! {
    #[test]
    fn any_bytes_behind_a_good_beginning_give_a_view_or_an_error(
        patches in prop::collection::vec((0usize..WHOLE, any::<u8>()), 0..20), cut in 0usize..=WHOLE,
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
            prop_assert!(view.hooks.len() <= 31 && view.hooks.iter().all(|hook| hook.least <= hook.most));
            prop_assert!(view.hooks.iter().all(|hook| hook.name.bytes().all(|byte| byte.is_ascii_graphic())));
        }
    }

    #[test]
    fn a_fetcher_that_saw_one_image_shows_of_the_next_what_decoding_shows(
        first in prop::collection::vec((0usize..WHOLE, any::<u8>()), 0..4),
        second in prop::collection::vec((0usize..WHOLE, any::<u8>()), 0..4),
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
        let _ = Call::decode(&bytes);
        let _ = Answered::decode(&bytes);
    }
}
