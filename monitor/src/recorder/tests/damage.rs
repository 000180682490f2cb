//! Files that were cut off, damaged, forged or never a recording.

use super::*;
use crate::recorder::layout::{
    HEADER_BYTES, Header, SEGMENT_HEAD_BYTES, SegmentHead, VERSION, frame_crc, frame_end,
};
use proptest::prelude::*;

/// A small recording of two segments with a bit of everything.
fn sample() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut recorder = open(folder.path());
        write_everything(&mut recorder);
        for tick in 61..75 {
            recorder.reading(at(tick), &view(tick, 5));
        }
    }
    extract(&read(folder.path()), "web1", None, NOON)
}

type Told = Vec<(Moment, Option<SensorView>)>;

/// What is told of sensors and events; and whether something is said to be missing.
fn sound(recording: &Recording) -> (Told, bool) {
    let (gaps, sound): (Told, Told) =
        told(recording).into_iter().partition(|(moment, _)| matches!(moment.what, What::Gap(_)));
    (sound, !gaps.is_empty() || !recording.gaps().is_empty())
}

/// Whether `part` is `whole` with something left out. What a missed sample's reason was may be lost.
fn is_part(part: &Told, whole: &Told) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|one| {
        rest.any(|other| {
            let both_missed =
                matches!((&one.0.what, &other.0.what), (What::Missed { .. }, What::Missed { .. }));
            one == other || (both_missed && one.0.at == other.0.at)
        })
    })
}

#[test]
fn a_file_cut_off_at_any_byte_tells_everything_before_and_that_it_is_cut_off() {
    let bytes = sample();
    let (whole, marked) = sound(&Recording::new(bytes.clone()).unwrap());
    assert!(!marked);
    let mut before = 0;
    for length in 0..bytes.len() {
        match Recording::new(bytes[..length].to_vec()) {
            Ok(recording) => {
                let (part, marked) = sound(&recording);
                assert!(marked, "cut off at {length}");
                assert!(whole.starts_with(&part), "cut off at {length}");
                assert!(part.len() >= before, "cut off at {length}");
                before = part.len();
            }
            Err(ReadError::Empty) => assert_eq!(length, 0),
            Err(error) => {
                assert!(matches!(error, ReadError::Foreign), "{error}");
                assert!(length < HEADER_BYTES, "cut off at {length}");
            }
        }
    }
    // Only the word that says there is nothing more is missing.
    assert_eq!(before, whole.len());
}

#[test]
fn whatever_byte_is_flipped_the_rest_is_told_and_nothing_false() {
    let bytes = sample();
    let (whole, _) = sound(&Recording::new(bytes.clone()).unwrap());
    for at in 0..bytes.len() {
        for bits in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= bits;
            let recording = Recording::new(bytes).unwrap();
            let (part, marked) = sound(&recording);
            assert!(is_part(&part, &whole), "byte {at} ^ {bits}: {part:?}");
            assert!(marked || part == whole, "byte {at} ^ {bits}: something is missing and nobody says so");
            let second_run = |told: &Told| {
                told.iter().filter(|(moment, _)| moment.run == whole.last().unwrap().0.run).count()
            };
            let first = whole.len() - second_run(&whole);
            // A run of the monitor is a segment here, and one is always whole.
            assert!(
                second_run(&part) == second_run(&whole) || part.len() - second_run(&part) == first,
                "byte {at} ^ {bits}"
            );
        }
    }
}

#[test]
fn behind_a_damaged_frame_the_segment_goes_on_from_its_next_keyframe() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    for tick in 0..200 {
        recorder.reading(at(tick), &view(tick, 5));
        if tick == 120 {
            recorder.verdict(at(tick), &verdict(Layer::Kernel, State::Failed));
        }
    }
    let mut bytes = std::fs::read(file_of(folder.path(), "web1")).unwrap();
    // Somewhere in the second hundred of readings, before the verdict.
    let verdict_at = bytes[HEADER_BYTES..].windows(6).position(|six| six == b"kernel").unwrap();
    bytes[HEADER_BYTES + verdict_at - 200] ^= 4;
    let recording = Recording::new(bytes).unwrap();
    let told = told(&recording);
    let readings: Vec<u64> = told.iter().filter_map(|(_, view)| Some(view.as_ref()?.clock)).collect();
    assert!(readings.len() > 130 && readings.len() < 190, "{}", readings.len());
    assert_eq!(readings.last(), Some(&199_000_000));
    assert!(told.iter().any(|(moment, _)| matches!(moment.what, What::Verdict(_))));
    let gaps: Vec<_> = told.iter().filter(|(moment, _)| matches!(moment.what, What::Gap(_))).collect();
    assert!(
        matches!(
            gaps.iter().map(|(moment, _)| &moment.what).collect::<Vec<_>>()[..],
            [What::Gap(Gap::Bytes { .. }), What::Gap(Gap::Frames(1)), What::Gap(Gap::Keyframe)]
        ),
        "{gaps:?}"
    );
}

#[test]
fn other_files_are_no_recordings() {
    let text = |bytes: &[u8]| Recording::new(bytes.to_vec()).unwrap_err().to_string();
    assert_eq!(text(b""), "the file is empty");
    for bytes in [&b"\n"[..], &[0; 100_000], b"BDRECORD", &[0xff; 70_000], include_bytes!("../tests.rs")] {
        assert_eq!(text(bytes), "this is no recording of `backdoors`, or nothing of it can be read any more");
    }
}

/// A sound header of another version.
fn of_version(version: u32) -> Vec<u8> {
    let mut bytes = Header::new("web1", NOON, 0, HEADER_BYTES as u64).encode().unwrap();
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let mut summed = version.to_le_bytes().to_vec();
    summed.extend_from_slice(&(length as u64).to_le_bytes());
    summed.extend_from_slice(&bytes[24..24 + length]);
    bytes[16..20].copy_from_slice(&crc32fast::hash(&summed).to_le_bytes());
    bytes
}

#[test]
fn a_later_version_is_told_apart_from_damage() {
    assert!(Recording::new(of_version(VERSION)).is_ok());
    let error = Recording::new(of_version(VERSION + 1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "the recording has version 2 of the format, this program reads up to 1: use a later one"
    );
}

#[test]
fn a_recorder_spoils_no_file_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let try_open = |target: &str, bytes| Recorder::open(folder.path(), target, bytes).map(drop);
    let path = file_of(folder.path(), "web1");
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(try_open("web1", LEAST_BYTES), Err(OpenError::Foreign(_))));
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");

    try_open("web2", LEAST_BYTES).unwrap();
    std::fs::copy(file_of(folder.path(), "web2"), &path).unwrap();
    let error = try_open("web1", LEAST_BYTES).unwrap_err();
    assert!(matches!(&error, OpenError::OfAnother { found, .. } if found == "web2"), "{error}");

    let _first = Recorder::open(folder.path(), "web2", LEAST_BYTES).unwrap();
    assert!(matches!(try_open("web2", LEAST_BYTES), Err(OpenError::InUse(_))));
    for name in ["", "a/b", "..\0", "ä", &"x".repeat(65)] {
        assert!(matches!(try_open(name, LEAST_BYTES), Err(OpenError::Name(_))), "{name}");
    }
    for bytes in [0, LEAST_BYTES - 1, u64::MAX] {
        assert!(matches!(try_open("web3", bytes), Err(OpenError::Size(_))));
    }
}

#[test]
fn a_recording_of_another_size_or_version_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_of(folder.path(), "web1");
    let old = folder.path().join("web1.recording.old");
    write_everything(&mut open(folder.path()));
    Recorder::open(folder.path(), "web1", 2 * LEAST_BYTES).unwrap().reading(at(1), &view(1, 3));
    assert!(std::fs::metadata(&old).unwrap().len() <= LEAST_BYTES);
    assert_eq!(told(&read(folder.path())).len(), 2);
    for other in [of_version(9), std::fs::read(&path).unwrap()[..50_000].to_vec()] {
        std::fs::write(&path, &other).unwrap();
        Recorder::open(folder.path(), "web1", 2 * LEAST_BYTES).unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), other);
        assert!(told(&read(folder.path())).is_empty());
    }
}

/// A file with one segment of the frames given, every checksum right.
fn forge(head: SegmentHead, frames: &[(u8, u32, Vec<u8>)]) -> Vec<u8> {
    let mut segment = vec![0; SEGMENT_HEAD_BYTES];
    for (kind, sequence, payload) in frames {
        let end = frame_end(segment.len(), payload.len());
        let crc = frame_crc(head.number, *kind, *sequence, payload);
        let first = payload.len() as u64 | u64::from(*kind) << 24 | u64::from(crc) << 32;
        segment.extend_from_slice(&first.to_le_bytes());
        segment.extend_from_slice(&sequence.to_le_bytes());
        segment.extend_from_slice(payload);
        segment.resize(end, 0);
    }
    segment.extend_from_slice(&[0; 8]);
    segment[..SEGMENT_HEAD_BYTES].copy_from_slice(&head.encode());
    let mut bytes = Header::new("web1", NOON, 0, 0).encode().unwrap();
    bytes.append(&mut segment);
    bytes
}

prop_compose! {
    fn any_head()(
        number: u64, length in prop_oneof![0..5000_u64, any::<u64>()], run: u64, wall: u64, monotonic: u64, sequence: u32
    ) -> SegmentHead {
        SegmentHead { number, length, run, wall, monotonic, sequence }
    }
}

proptest! {
    #[test]
    fn forged_frames_are_told_or_marked(
        head in any_head(),
        frames in prop::collection::vec((0..16_u8, 0..9_u32, prop::collection::vec(any::<u8>(), 0..80)), 0..20),
    ) {
        if let Ok(recording) = Recording::new(forge(head, &frames)) {
            told(&recording);
            Recording::new(extract(&recording, "web1", Some(at(5)), NOON)).unwrap();
        }
    }

    #[test]
    fn any_bytes_behind_a_header_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..3000), stride in 0..600_u64) {
        let mut file = Header::new("web1", NOON, stride, 9000).encode().unwrap();
        file.extend(bytes);
        told(&Recording::new(file).unwrap());
    }

    #[test]
    fn several_bytes_flipped_tell_nothing_false(flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8)) {
        let bytes = sample();
        let (whole, _) = sound(&Recording::new(bytes.clone()).unwrap());
        let mut damaged = bytes;
        for (index, bits) in flips {
            let at = index.index(damaged.len());
            damaged[at] ^= bits;
        }
        if let Ok(recording) = Recording::new(damaged) {
            let (part, _) = sound(&recording);
            prop_assert!(is_part(&part, &whole));
        }
    }
}
