//! The fence in memory: whose word counts, what is believed of it, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_sensor_box::fence::LIFTED;
use backdoors_sensor_box::fence::layout::{FenceTable, word_offset};
use backdoors_sensor_box::writer::{Fence, LayOutError};
use backdoors_sensor_box::{
    CommandKey, DecodeError, FenceView, LocalWords, NotFenced, SharedWords, fetch_fence,
};
use proptest::prelude::*;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SLOT: u32 = 3;
const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5))];

fn key(byte: u8) -> CommandKey {
    CommandKey::from_bytes([byte; 16])
}

fn made() -> LocalWords {
    let words = LocalWords::zeroed(FenceView::BYTES);
    let fence = Fence::lay_out(&words, 7, &ADDRESSES).unwrap();
    fence.set_check(SLOT as usize, Some(key(1)));
    fence.set_interfaces(2, 2, 5);
    words
}

fn view(words: &LocalWords) -> FenceView {
    FenceView::decode(&words.bytes()).unwrap()
}

#[test]
fn a_fence_holds_by_the_right_word_in_the_right_slot_and_by_no_other() {
    let words = made();
    let holds = || view(&words).holds(SLOT, &key(1));
    assert_eq!(view(&words).would_hold(SLOT, &key(1)), Ok(()));
    assert_eq!(holds(), Err(NotFenced::NotWritten { found: LIFTED }));
    let own = word_offset(SLOT) as usize / 8;
    words.store(own + 1, key(1).fence_word());
    assert_eq!(holds(), Err(NotFenced::NotWritten { found: LIFTED }));
    for wrong in [1, u64::MAX, key(2).fence_word(), key(1).fence_check()] {
        words.store(own, wrong);
        assert_eq!(holds(), Err(NotFenced::NotWritten { found: wrong }));
    }
    words.store(own, key(1).fence_word());
    assert_eq!(holds(), Ok(()));
    assert_eq!(view(&words).holds(SLOT, &key(2)), Err(NotFenced::NotCounted));
    assert_eq!(view(&words).holds(SLOT + 1, &key(1)), Err(NotFenced::NotCounted));
    assert_eq!(view(&words).holds(u32::MAX, &key(1)), Err(NotFenced::NotCounted));
    words.store(own, LIFTED);
    assert_eq!(holds(), Err(NotFenced::NotWritten { found: LIFTED }));
}

#[test]
fn a_fence_with_a_hole_or_around_nothing_does_not_hold() {
    let words = made();
    let fence = Fence::adopt(&words).unwrap();
    fence.set_word(SLOT as usize, key(1).fence_word());
    fence.set_interfaces(2, 3, 6);
    let uncovered = NotFenced::Uncovered { covered: 2, interfaces: 3 };
    assert_eq!(view(&words).holds(SLOT, &key(1)), Err(uncovered));
    fence.set_interfaces(3, 3, 7);
    assert_eq!(view(&words).holds(SLOT, &key(1)), Ok(()));
    assert!(view(&words).covers(ADDRESSES[0]) && view(&words).covers("::ffff:10.0.0.5".parse().unwrap()));
    assert!(view(&words).addresses == ADDRESSES && !view(&words).covers("10.0.0.6".parse().unwrap()));
    // Next to the number of slots.
    words.store(offset_of!(FenceTable, slots) / 8, 16);
    assert_eq!(view(&words).holds(SLOT, &key(1)), Err(NotFenced::NoAddress));
    fence.set_check(SLOT as usize, None);
    assert_eq!(view(&words).holds(SLOT, &key(1)), Err(NotFenced::NotCounted));
}

#[test]
fn words_and_checks_of_keys_have_nothing_in_common() {
    let mut seen = std::collections::BTreeSet::from([0]);
    for byte in 0..=255 {
        assert!(seen.insert(key(byte).fence_word()) && seen.insert(key(byte).fence_check()), "{byte}");
    }
    // The same words, for who checks another implementation against them.
    let key = CommandKey::from_bytes(std::array::from_fn(|index| index as u8));
    assert_eq!((key.fence_word(), key.fence_check()), (WORD, CHECK));
}

const WORD: u64 = 0xaf7b_85a6_41d1_2433;
const CHECK: u64 = 0x8881_6dd1_be6d_d91f;

#[test]
fn each_way_a_fence_can_be_wrong_has_an_error_of_its_own() {
    let patched = |offset: usize, patch: &[u8]| {
        let mut bytes = made().bytes();
        bytes[offset..offset + patch.len()].copy_from_slice(patch);
        FenceView::decode(&bytes)
    };
    assert!(patched(0, &[]).is_ok());
    assert!(matches!(FenceView::decode(&[0; 639]), Err(DecodeError::Truncated { have: 639, need: 640, .. })));
    assert!(matches!(patched(0, b"X"), Err(DecodeError::Magic { .. })));
    assert!(matches!(patched(8, &[9]), Err(DecodeError::Version { found: 9, .. })));
    let layout = |offset: usize, patch: &[u8]| match patched(offset, patch) {
        Err(DecodeError::Layout { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(layout(12, &[8, 0]), "table size");
    assert_eq!(layout(offset_of!(FenceTable, slots), &[15]), "number of slots");
    assert_eq!(layout(offset_of!(FenceTable, addresses), &[17]), "number of addresses");
    let covered = offset_of!(FenceTable, interfaces) + 4;
    assert_eq!(layout(covered, &[3]), "more interfaces covered than there are");
    // A newer target's table is longer, and is read as far as it is known.
    assert!(patched(12, &[0x88, 2]).is_ok());
}

#[test]
fn only_a_fence_that_was_laid_out_is_taken_up() {
    let words = LocalWords::zeroed(FenceView::BYTES);
    assert_eq!(Fence::adopt(&words).err(), Some(LayOutError::OtherLayout));
    assert_eq!(Fence::adopt(LocalWords::zeroed(8)).err(), Some(LayOutError::TooSmall));
    assert_eq!(Fence::lay_out(LocalWords::zeroed(8), 1, &ADDRESSES).err(), Some(LayOutError::TooSmall));
    assert_eq!(Fence::adopt(made()).unwrap().generation(), 7);
}

#[test]
fn a_fetch_is_one_read() {
    let bytes = made().bytes();
    let mut reads = 0;
    let view = fetch_fence(|offset, into| -> Result<(), ()> {
        reads += 1;
        into.copy_from_slice(&bytes[offset as usize..][..into.len()]);
        Ok(())
    });
    assert_eq!((view.unwrap().generation, reads), (7, 1));
}

proptest! {
    #[test]
    fn any_bytes_are_a_fence_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..700), slot: u32) {
        if let Ok(view) = FenceView::decode(&bytes) {
            prop_assert!(view.covered <= view.interfaces);
            let _ = view.holds(slot, &key(1));
        }
    }

    #[test]
    fn whatever_lies_in_a_fence_it_holds_for_nobody_whose_word_is_not_there(
        tail in prop::collection::vec(any::<u8>(), 256), slot in 0u32..20,
    ) {
        let mut bytes = made().bytes();
        bytes[64..320].copy_from_slice(&tail);
        if let Ok(view) = FenceView::decode(&bytes) {
            prop_assert!(view.holds(slot, &key(1)).is_err());
        }
    }
}
