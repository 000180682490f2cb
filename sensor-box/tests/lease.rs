//! Lease words, tokens and candidacies say what they were made to say, whatever bytes they come from.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::writer::LayOutError;
use backdoors_sensor_box::{
    Candidacy, Command, CommandKey, DecodeError, LeaseView, LeaseWord, LeaseWords, LocalWords, Opcode, Seal,
    SharedWords,
};
use proptest::prelude::*;

#[test]
fn a_lease_word_has_its_term_on_top_its_holder_below_and_its_renewals_at_the_bottom() {
    let word = LeaseWord::from_word(0x0000_0007_0400_0005);
    assert_eq!((word.term(), word.holder(), word.renewals()), (7, Some(3), 5));
    assert_eq!(word.token().unwrap().word(), 0x0000_0007_0400_0000);
    assert_eq!(word.renewed().word(), 0x0000_0007_0400_0006);
    assert_eq!(word.taken_by(0).word(), 0x0000_0008_0100_0000);
    assert_eq!(word.released().word(), 0x0000_0007_0000_0000);
    assert_eq!(word.released().taken_by(15).word(), 0x0000_0008_1000_0000);
    assert_eq!(word.token().unwrap().to_string(), "term 7 of slot 3");
}

#[test]
fn nobody_is_allowed_anything_by_a_lease_that_nobody_holds() {
    for word in [0, LeaseWord::from_word(u64::MAX).released().word()] {
        let free = LeaseWord::from_word(word);
        assert_eq!((free.holder(), free.token()), (None, None));
        assert!((0..COMMAND_SLOTS).all(|slot| !free.allows(slot, 0) && !free.allows(slot, word)));
    }
}

#[test]
fn a_command_carries_its_token_where_the_kernel_half_looks_for_it() {
    let token = LeaseWord::default().taken_by(2).token().unwrap();
    let command = Command::new(Opcode::Nothing, 0);
    let seal = Seal { key: CommandKey::from_bytes([1; 16]), slot: 2, generation: 1 };
    let encoded = command.encode(9, token, &seal, "");
    assert_eq!(encoded.body[40..48], token.word().to_le_bytes());
    assert_eq!(encoded.sequence, 9u64.to_le_bytes());
}

#[test]
fn a_target_reads_the_lease_from_the_first_word_of_a_table_that_is_large_enough() {
    let words = LocalWords::zeroed(LeaseView::BYTES);
    words.store(0, 0x0000_0007_0400_0005);
    assert_eq!(LeaseWords::new(&words).unwrap().word().term(), 7);
    let small = LocalWords::zeroed(LeaseView::BYTES - 8);
    assert_eq!(LeaseWords::new(&small).map(drop), Err(LayOutError::TooSmall));
}

#[test]
fn a_table_that_is_cut_short_is_an_error() {
    let bytes = [0xff; LeaseView::BYTES];
    for have in 0..LeaseView::BYTES {
        let expected = DecodeError::Truncated { what: "lease table", have, need: LeaseView::BYTES };
        assert_eq!(LeaseView::decode(&bytes[..have]), Err(expected));
    }
    assert!(LeaseView::decode(&bytes).is_ok());
}

proptest! {
    #[test]
    fn any_word_is_a_lease_whose_changes_do_what_they_say(raw: u64, slot in 0u32..16) {
        let word = LeaseWord::from_word(raw);
        prop_assert_eq!(word.word(), raw);
        prop_assert_eq!(word.renewed().token(), word.token());
        prop_assert_ne!(word.renewed(), word);
        prop_assert_eq!(word.released().holder(), None);
        prop_assert_eq!(word.released().term(), word.term());
        let taken = word.taken_by(slot);
        prop_assert_eq!((taken.holder(), taken.renewals()), (Some(slot), 0));
        prop_assert_eq!(taken.term(), word.term().wrapping_add(1));
        prop_assert_ne!(taken.token(), word.token());
    }

    #[test]
    fn a_token_is_good_for_its_term_and_its_slot_alone(raw: u64, slot in 0usize..16, renewals in 0usize..5) {
        let mut lease = LeaseWord::from_word(raw).taken_by(slot as u32);
        let token = lease.token().unwrap().word();
        for _ in 0..renewals {
            lease = lease.renewed();
        }
        for other in 0..COMMAND_SLOTS {
            prop_assert_eq!(lease.allows(other, token), other == slot);
            prop_assert!(!lease.taken_by(other as u32).allows(slot, token));
        }
        prop_assert!(!lease.released().allows(slot, token));
        prop_assert!(!lease.allows(slot, token | 1));
    }

    #[test]
    fn a_candidacy_is_read_as_it_was_written_and_every_beat_changes_it(
        preference: u8, fitness: u8, beats in 1u64..1 << 48,
    ) {
        let candidacy = Candidacy { preference, fitness, beats };
        prop_assert_eq!(Candidacy::from_word(candidacy.word()), candidacy);
        let next = Candidacy { beats: candidacy.next_beat(), ..candidacy };
        prop_assert_ne!(next.word(), candidacy.word());
        prop_assert!(next.beats != 0 && next.beats < 1 << 48);
    }

    #[test]
    fn any_bytes_of_a_tables_length_are_one_and_a_newer_tables_rest_is_ignored(
        bytes in proptest::collection::vec(any::<u8>(), LeaseView::BYTES..2 * LeaseView::BYTES),
    ) {
        let view = LeaseView::decode(&bytes).unwrap();
        let word = |offset: u64| {
            let offset = usize::try_from(offset).unwrap();
            u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
        };
        prop_assert_eq!(view.lease.word(), word(LeaseView::LEASE_OFFSET));
        for slot in 0..COMMAND_SLOTS {
            let written = word(LeaseView::candidacy_offset(slot as u32));
            prop_assert_eq!(view.candidacies[slot].map_or(0, Candidacy::word), written);
        }
    }
}
