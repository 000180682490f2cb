//! The audit ring: what its reader tells, whatever its writer does meanwhile, and whatever the bytes are.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::audit::layout::{AuditHeader, AuditRecord, MAX_AUDIT_RECORDS, audit_bytes};
use backdoors_sensor_box::layout::{Acknowledgement, CommandSlot};
use backdoors_sensor_box::writer::{AuditRing, LayOutError};
use backdoors_sensor_box::{
    AuditKind, AuditView, Command, CommandKey, CommandState, DecodeError, FetchError, LeaseWord, LocalWords,
    Opcode, Refusal, Seal, SharedWords, fetch_audit,
};
use proptest::prelude::*;
use std::mem::offset_of;
use zerocopy::{FromBytes, IntoBytes};

fn command(subject: u64, reason: &str) -> CommandSlot {
    let seal = Seal { key: CommandKey::from_bytes([1; 16]), slot: 3, generation: 5 };
    let token = LeaseWord::from_word(1 << 32 | 4 << 24).token().unwrap();
    let encoded = Command::new(Opcode::KillUser, subject).encode(subject, token, &seal, reason);
    CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap()
}

fn record(subject: u64, reason: &str) -> AuditRecord {
    let answer = Acknowledgement {
        state: CommandState::Refused as u32,
        reason: Refusal::SparedUser as u32,
        matched: 1,
        signalled: 2,
        remaining: 3,
        failure: 4,
        accepted_at: 5,
        first_signal_at: 6,
        last_death_at: 7,
        finished_at: 8,
        ..Acknowledgement::default()
    };
    AuditRecord {
        whose: 77,
        left_out: 9,
        ..AuditRecord::of(10, AuditKind::Judged, 3, &command(subject, reason), &answer)
    }
}

fn ring(records: usize) -> (LocalWords, u64) {
    let words = LocalWords::zeroed(audit_bytes(records));
    AuditRing::lay_out(&words, 5).unwrap();
    (words, audit_bytes(records) as u64)
}

fn fetch(words: &LocalWords, region: u64) -> Result<AuditView, FetchError<()>> {
    fetch_audit(region, |offset, into| copied(&words.bytes(), offset, into))
}

fn copied(bytes: &[u8], offset: u64, into: &mut [u8]) -> Result<(), ()> {
    let from = bytes.get(offset as usize..).and_then(|rest| rest.get(..into.len())).ok_or(())?;
    into.copy_from_slice(from);
    Ok(())
}

fn subjects(view: &AuditView) -> Vec<(u64, u64)> {
    view.entries.iter().map(|entry| (entry.number, entry.subject)).collect()
}

#[test]
fn a_record_tells_the_command_its_reason_and_what_became_of_it() {
    let (words, region) = ring(4);
    let ring = AuditRing::adopt(&words).unwrap();
    ring.write(&record(60001, "fork-bomb: user 60001: 900 processes \u{1b}[2J"));
    ring.set_wall_offset(1000);
    ring.set_left_out(11);
    let view = fetch(&words, region).unwrap();
    assert_eq!((view.generation, view.written, view.wall_offset, view.left_out), (5, 1, Some(1000), 11));
    let [entry] = &view.entries[..] else { panic!("{view:?}") };
    assert_eq!(
        (entry.number, entry.at, entry.kind, entry.slot, entry.whose),
        (1, 10, AuditKind::Judged, 3, 77)
    );
    assert_eq!((entry.opcode_name().as_str(), entry.subject, entry.sequence), ("kill-user", 60001, 60001));
    assert_eq!((entry.state, entry.refusal), (CommandState::Refused, Refusal::SparedUser));
    assert_eq!(
        (entry.matched, entry.signalled, entry.remaining, entry.left_out, entry.failure),
        (1, 2, 3, 9, 4)
    );
    let times = (entry.accepted_at, entry.first_signal_at, entry.last_death_at, entry.finished_at);
    assert_eq!(times, (5, 6, 7, 8));
    assert_eq!(entry.reason, "fork-bomb: user 60001: 900 processes \u{fffd}[2J");
}

#[test]
fn people_read_when_what_and_how_it_ended() {
    let (words, region) = ring(4);
    let ring = AuditRing::adopt(&words).unwrap();
    let answer =
        Acknowledgement { state: CommandState::Running as u32, matched: 3, ..Acknowledgement::default() };
    let given = CommandSlot { most_victims: 5, flags: 1, ..command(60001, "") };
    ring.write(&AuditRecord::of(1_500_000_000, AuditKind::Judged, 0, &given, &answer));
    let answer = Acknowledgement { state: CommandState::Done as u32, signalled: 2, ..answer };
    ring.write(&AuditRecord::of(2_000_000_000, AuditKind::Ended, 0, &given, &answer));
    ring.write(&record(7, ""));
    ring.write(&AuditRecord { opcode: 999, argument: 4, ..record(8, "") });
    let view = fetch(&words, region).unwrap();
    let lines = |view: &AuditView| -> Vec<String> {
        let line = |entry| format!("{}|{}|{}", view.time_of(entry), entry.order(), entry.outcome());
        view.entries.iter().map(line).collect()
    };
    assert_eq!(
        lines(&view)[..],
        [
            "2.000000 s after boot|kill-user 60001 at most 5 dry-run|done, 3 matched, 2 signalled, 0 alive",
            "0.000000 s after boot|kill-user 7|refused: a spared user (4) (and 9 refusals before it that are not listed)",
            "0.000000 s after boot|opcode 999 8 argument 4|refused: a spared user (4) (and 9 refusals before it that are not listed)",
        ]
    );
    ring.set_wall_offset(1_735_689_600_000_000_000);
    let view = fetch(&words, region).unwrap();
    assert_eq!(view.time_of(&view.entries[0]), "2025-01-01T00:00:02.000000Z");
    assert_eq!(view.entries[0].command().unwrap().most_victims, 5);
}

#[test]
fn a_full_ring_tells_the_newest_records_in_their_order() {
    let (words, region) = ring(4);
    let ring = AuditRing::adopt(&words).unwrap();
    assert_eq!(fetch(&words, region).unwrap().entries, []);
    for subject in 1..=3 {
        ring.write(&record(subject, ""));
    }
    assert_eq!(subjects(&fetch(&words, region).unwrap()), [(1, 1), (2, 2), (3, 3)]);
    for subject in 4..=10 {
        ring.write(&record(subject, ""));
    }
    // Number 7 may be being overwritten.
    assert_eq!(subjects(&fetch(&words, region).unwrap()), [(8, 8), (9, 9), (10, 10)]);
}

#[test]
fn a_ring_is_taken_up_as_it_is_and_nothing_else_is_taken_for_one() {
    let (words, region) = ring(4);
    AuditRing::adopt(&words).unwrap().write(&record(1, ""));
    AuditRing::adopt(&words).unwrap().write(&record(2, ""));
    assert_eq!(subjects(&fetch(&words, region).unwrap()), [(1, 1), (2, 2)]);
    words.store(offset_of!(AuditHeader, capacity) / 8, 5);
    assert!(matches!(AuditRing::adopt(&words), Err(LayOutError::OtherLayout)));
    assert!(matches!(AuditRing::adopt(LocalWords::zeroed(4096)), Err(LayOutError::OtherLayout)));
    assert!(matches!(AuditRing::lay_out(LocalWords::zeroed(500), 1), Err(LayOutError::TooSmall)));
}

#[test]
fn a_record_that_is_being_written_is_left_out_and_one_of_unknown_meaning_counted() {
    let (words, region) = ring(4);
    let ring = AuditRing::adopt(&words).unwrap();
    for subject in 1..=3 {
        ring.write(&record(subject, ""));
    }
    let word = |index: usize, offset: usize| (audit_bytes(index) + offset) / 8;
    words.store(word(1, offset_of!(AuditRecord, guard)), 5);
    words.store(word(2, offset_of!(AuditRecord, state)), 99);
    let view = fetch(&words, region).unwrap();
    assert_eq!((subjects(&view), view.unknown), (vec![(1, 1)], 1));
}

#[test]
fn each_way_a_ring_can_be_wrong_has_an_error_of_its_own() {
    let wrong = |offset: usize, patch: &[u8]| {
        let (words, region) = ring(4);
        let mut bytes = words.bytes();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        match fetch_audit(region, |offset, into| copied(&bytes, offset, into)) {
            Err(FetchError::Decode(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let capacity = |records: usize| (records as u32).to_le_bytes();
    assert!(matches!(wrong(0, b"X"), DecodeError::Magic { .. }));
    assert!(matches!(wrong(8, &[9]), DecodeError::Version { found: 9, .. }));
    assert!(matches!(wrong(12, &[8]), DecodeError::Layout { why: "header size", .. }));
    assert!(matches!(wrong(28, &[8, 0]), DecodeError::Layout { why: "record size", .. }));
    for records in [0, MAX_AUDIT_RECORDS + 1] {
        assert!(matches!(
            wrong(24, &capacity(records)),
            DecodeError::Layout { why: "number of records", .. }
        ));
    }
    assert!(matches!(wrong(24, &capacity(5)), DecodeError::Truncated { need: 2048, have: 1664, .. }));
}

#[test]
fn a_ring_made_anew_while_it_is_read_is_torn() {
    let (words, region) = ring(4);
    let mut reads = 0;
    let fetched = fetch_audit(region, |offset, into| {
        reads += 1;
        if reads == 3 {
            AuditRing::lay_out(&words, 6).unwrap();
        }
        copied(&words.bytes(), offset, into)
    });
    assert!(matches!(fetched, Err(FetchError::Decode(DecodeError::Torn { .. }))), "{fetched:?}");
}

proptest! {
    /// The bytes of a record may come in any order, and records be written at any moment of a fetch.
    #[test]
    fn every_record_a_fetch_tells_is_whole(
        earlier in 0u64..10,
        during in proptest::collection::vec(0usize..200, 0..8),
        descending in any::<bool>(),
    ) {
        let (words, region) = ring(4);
        let ring = AuditRing::adopt(&words).unwrap();
        let told = |number: u64| record(number, &format!("reason {number}"));
        for number in 1..=earlier {
            ring.write(&told(number));
        }
        let mut step = 0;
        let view = fetch_audit(region, |offset, into| -> Result<(), ()> {
            let words_read = into.len() / 8;
            for index in 0..words_read {
                for _ in during.iter().filter(|moment| **moment == step) {
                    ring.write(&told(ring.header().written + 1));
                }
                step += 1;
                let index = if descending { words_read - 1 - index } else { index };
                let word = words.load(offset as usize / 8 + index);
                into[index * 8..][..8].copy_from_slice(&word.to_le_bytes());
            }
            Ok(())
        }).unwrap();
        prop_assert_eq!(view.written, view.written.max(earlier));
        for entry in &view.entries {
            prop_assert_eq!(entry.subject, entry.number);
            prop_assert_eq!(&entry.reason, &format!("reason {}", entry.number));
        }
    }

    #[test]
    fn any_bytes_cut_anywhere_never_harm_the_reader(
        patches in proptest::collection::vec((0usize..1664, any::<u8>()), 0..32),
        cut in 0usize..=1664,
        noise in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let (words, _) = ring(4);
        AuditRing::adopt(&words).unwrap().write(&record(1, "why"));
        let mut bytes = words.bytes();
        for (at, value) in patches {
            bytes[at] = value;
        }
        bytes.truncate(cut);
        for bytes in [&bytes, &noise] {
            let fetched = fetch_audit(bytes.len() as u64, |offset, into| copied(bytes, offset, into));
            if let Ok(view) = fetched {
                prop_assert!(view.entries.len() + view.unknown <= MAX_AUDIT_RECORDS);
            }
        }
    }
}

#[test]
fn a_header_is_as_long_as_two_lines_and_every_word_of_it_is_known() {
    let (words, _) = ring(1);
    let header = AuditRing::adopt(&words).unwrap().header();
    assert_eq!(header.as_bytes().len(), 128);
    assert_eq!((header.capacity, header.record_bytes, header.written, header.reserved), (1, 384, 0, [0; 9]));
}
