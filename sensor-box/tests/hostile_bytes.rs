//! Bytes from another machine: any of them, cut anywhere, never harm the reader.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::{MAX_PROCESSES, MAX_SENSORS, process_table_bytes};
use backdoors_sensor_box::writer::{ProcessTable, SensorBox, Shape};
use backdoors_sensor_box::{
    AcknowledgementView, DecodeError, FetchError, LocalWords, ProcessView, SensorFetcher, SensorKind,
    SensorView, fetch_processes,
};
use proptest::prelude::*;

fn valid_box(sensors: u32) -> Vec<u8> {
    let words = LocalWords::zeroed(128 + 32 * 64);
    let shape = Shape { generation: 1, capabilities: 1, cpus: 1, tick_period: 1 };
    let made = SensorBox::lay_out(&words, &shape).unwrap();
    for instance in 0..sensors {
        made.new_sensor(SensorKind::USER_PROCESSES, instance, 5).unwrap();
    }
    words.bytes()
}

fn valid_table() -> Vec<u8> {
    let words = LocalWords::zeroed(process_table_bytes(16));
    ProcessTable::lay_out(&words, 1).unwrap();
    words.bytes()
}

fn patched(mut bytes: Vec<u8>, offset: usize, patch: &[u8]) -> Vec<u8> {
    bytes[offset..offset + patch.len()].copy_from_slice(patch);
    bytes
}

#[test]
fn each_way_a_box_can_be_wrong_has_an_error_of_its_own() {
    let good = valid_box(2);
    assert!(SensorView::decode(&good).is_ok());
    assert!(matches!(
        SensorView::decode(&good[..100]),
        Err(DecodeError::Truncated { have: 100, need: 128, .. })
    ));
    assert!(matches!(
        SensorView::decode(&good[..150]),
        Err(DecodeError::Truncated { have: 150, need: 192, .. })
    ));
    let wrong_magic = patched(good.clone(), 0, b"X");
    assert!(matches!(SensorView::decode(&wrong_magic), Err(DecodeError::Magic { .. })));
    let wrong_version = patched(good.clone(), 8, &[9]);
    assert!(matches!(SensorView::decode(&wrong_version), Err(DecodeError::Version { found: 9, .. })));
    let torn = patched(good.clone(), 32, &[1]);
    assert!(matches!(SensorView::decode(&torn), Err(DecodeError::Torn { .. })));
    let too_many = patched(good.clone(), 40, &u32::MAX.to_le_bytes());
    assert!(matches!(SensorView::decode(&too_many), Err(DecodeError::Layout { .. })));
    let small_records = patched(good, 48, &[8]);
    assert!(matches!(SensorView::decode(&small_records), Err(DecodeError::Layout { .. })));
}

#[test]
fn a_table_that_claims_more_than_its_region_is_refused_before_memory_is_reserved() {
    let huge = patched(valid_table(), 24, &[0xff; 8]);
    let read = |offset: u64, into: &mut [u8]| -> Result<(), ()> {
        into.copy_from_slice(&huge[offset as usize..][..into.len()]);
        Ok(())
    };
    assert!(matches!(fetch_processes(1024, read), Err(FetchError::Decode(DecodeError::Layout { .. }))));
    let beyond = patched(valid_table(), 24, &[0, 1, 0, 0, 0, 1, 0, 0]);
    let read = |offset: u64, into: &mut [u8]| -> Result<(), ()> {
        into.copy_from_slice(&beyond[offset as usize..][..into.len()]);
        Ok(())
    };
    assert!(matches!(fetch_processes(1024, read), Err(FetchError::Decode(DecodeError::Truncated { .. }))));
}

#[test]
fn a_newer_target_with_longer_header_and_records_is_read() {
    let good = valid_box(2);
    let mut newer = good[..128].to_vec();
    newer[12..16].copy_from_slice(&136u32.to_le_bytes());
    newer[48..52].copy_from_slice(&40u32.to_le_bytes());
    newer.extend([0xaa; 8]);
    for record in good[128..192].chunks_exact(32) {
        newer.extend(record);
        newer.extend([0xbb; 8]);
    }
    assert_eq!(SensorView::decode(&newer).unwrap().sensors, SensorView::decode(&good).unwrap().sensors);
}

#[test]
fn sensors_of_an_unknown_class_are_counted_and_skipped() {
    let strange = patched(valid_box(2), 128 + 8, &[77]);
    let view = SensorView::decode(&strange).unwrap();
    assert_eq!((view.sensors.len(), view.unknown), (1, 1));
}

proptest! {
    #[test]
    fn no_bytes_harm_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = SensorView::decode(&bytes);
        let _ = ProcessView::decode(&bytes);
        let _ = AcknowledgementView::decode(&bytes);
    }

    #[test]
    fn a_damaged_box_gives_an_error_or_a_bounded_view(
        damage in proptest::collection::vec((0usize..512, any::<u8>()), 0..12),
    ) {
        let mut bytes = valid_box(12);
        for (offset, value) in damage {
            bytes[offset] = value;
        }
        if let Ok(view) = SensorView::decode(&bytes) {
            prop_assert!(view.sensors.len() <= MAX_SENSORS);
        }
        let mut fetcher = SensorFetcher::default();
        let length = bytes.len() as u64;
        let _ = fetcher.fetch(length, |offset, into: &mut [u8]| -> Result<(), ()> {
            let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or(())?;
            into.copy_from_slice(from);
            Ok(())
        });
    }

    #[test]
    fn a_damaged_table_gives_an_error_or_a_bounded_view(
        damage in proptest::collection::vec((0usize..1088, any::<u8>()), 0..12),
    ) {
        let mut bytes = valid_table();
        for (offset, value) in damage {
            bytes[offset] = value;
        }
        let mut largest_read = 0;
        let _ = fetch_processes(bytes.len() as u64, |offset, into: &mut [u8]| -> Result<(), ()> {
            largest_read = largest_read.max(into.len());
            let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or(())?;
            into.copy_from_slice(from);
            Ok(())
        });
        prop_assert!(largest_read <= bytes.len());
        if let Ok(view) = ProcessView::decode(&bytes) {
            prop_assert!(view.processes.len() <= MAX_PROCESSES);
        }
    }
}
