//! Every parser of a target's memory, on any bytes.

#![no_main]

use backdoors_sensor_box::{
    AcknowledgementView, ProcessView, SensorFetcher, SensorView, fetch_acknowledgement, fetch_processes,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = SensorView::decode(bytes);
    let _ = ProcessView::decode(bytes);
    let _ = AcknowledgementView::decode(bytes);
    let read = |offset: u64, into: &mut [u8]| -> Result<(), ()> {
        let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or(())?;
        into.copy_from_slice(from);
        Ok(())
    };
    let _ = SensorFetcher::default().fetch(bytes.len() as u64, read);
    let _ = fetch_processes(bytes.len() as u64, read);
    let _ = fetch_acknowledgement(0, read);
});
