//! Everything that is read of an application, on any bytes: by monitors of its region, by the agent of its requests, by
//! the application's library of answers and calls. As they come, behind a valid magic and version, and as changes of a valid
//! region, which a fuzzer would take long to guess.

#![no_main]

use backdoors_sensor_box::application::{
    APPLICATION_MAGIC, APPLICATION_VERSION, Answer, Answered, Call, Goodbye, HookSpec, Request, SensorSpec,
};
use backdoors_sensor_box::{ApplicationView, ApplicationsFetcher};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fn parse(bytes: &[u8]) {
    let view = ApplicationView::decode(bytes).ok();
    let _ = Request::decode(bytes);
    let _ = Answer::decode(bytes);
    let _ = Goodbye::decode(bytes);
    let _ = Answered::decode(bytes);
    let _ = Call::decode(bytes);
    let mut fetcher = ApplicationsFetcher::default();
    for _ in 0..2 {
        fetcher.begin();
        let taken = fetcher.take(0x100, view.as_ref().map_or(0, |view| view.generation), bytes);
        assert_eq!(taken.is_ok(), view.is_some());
        assert_eq!(fetcher.finish(), view.as_slice());
    }
}

/// Takes in a region, then the same region with changes: shows what decoding shows.
fn follow(region: &[u8], changes: &[u8]) {
    let mut bytes = region.to_vec();
    let mut fetcher = ApplicationsFetcher::default();
    fetcher.begin();
    let _ = fetcher.take(0x100, 0, &bytes);
    fetcher.finish();
    for change in changes.chunks_exact(3) {
        let offset = usize::from(u16::from_le_bytes([change[0], change[1]]));
        if let Some(byte) = bytes.get_mut(offset) {
            *byte = change[2];
        }
    }
    fetcher.begin();
    let _ = fetcher.take(0x100, 0, &bytes);
    let decoded = ApplicationView::decode(&bytes).ok().filter(|view| view.generation == 0);
    assert_eq!(fetcher.finish(), decoded.as_slice());
}

fuzz_target!(|bytes: &[u8]| {
    parse(bytes);
    let mut begun = Vec::from(APPLICATION_MAGIC.to_le_bytes());
    begun.extend(APPLICATION_VERSION.to_le_bytes());
    begun.extend(bytes);
    parse(&begun);
    let sensors = vec![SensorSpec::progress("ticks", Duration::from_secs(1)), SensorSpec::level("level", 5)];
    let hooks = vec![HookSpec { name: "reopen", least: 1, most: 9 }];
    follow(&Request { name: "web", sensors, hooks, ..Request::default() }.encode(), bytes);
});
