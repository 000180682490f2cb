//! Every parser of a target's memory, on any bytes: as they come, and behind a valid magic and version, which a
//! fuzzer would take long to guess.

#![no_main]

use backdoors_sensor_box::audit::layout::AUDIT_MAGIC;
use backdoors_sensor_box::fence::layout::FENCE_MAGIC;
use backdoors_sensor_box::layout::{BOX_MAGIC, PROCESS_MAGIC, VERSION};
use backdoors_sensor_box::session::layout::SESSION_MAGIC;
use backdoors_sensor_box::{
    AcknowledgementView, CommandKey, FenceView, LeaseView, ProcessView, SensorFetcher, SensorView, fetch_acknowledgement,
    fetch_audit, fetch_processes, fetch_received, fetch_sessions,
};
use libfuzzer_sys::fuzz_target;

fn parse(bytes: &[u8]) {
    let _ = SensorView::decode(bytes);
    let _ = ProcessView::decode(bytes);
    let _ = AcknowledgementView::decode(bytes);
    let _ = LeaseView::decode(bytes);
    if let Ok(fence) = FenceView::decode(bytes) {
        let _ = fence.holds(u32::MAX, &CommandKey::from_bytes([0; 16]));
    }
    let read = |offset: u64, into: &mut [u8]| -> Result<(), ()> {
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or(())?;
        into.copy_from_slice(from);
        Ok(())
    };
    let _ = SensorFetcher::default().fetch(bytes.len() as u64, read);
    let _ = fetch_processes(bytes.len() as u64, read);
    let _ = fetch_acknowledgement(0, read);
    let _ = fetch_audit(bytes.len() as u64, read);
    if let Ok(view) = fetch_sessions(bytes.len() as u64, read) {
        for session in &view.sessions {
            let _ = fetch_received(&view, session, read, read);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    parse(bytes);
    for magic in [BOX_MAGIC, PROCESS_MAGIC, AUDIT_MAGIC, SESSION_MAGIC, FENCE_MAGIC] {
        let mut begun = Vec::from(magic.to_le_bytes());
        begun.extend(VERSION.to_le_bytes());
        begun.extend(bytes);
        parse(&begun);
    }
});
