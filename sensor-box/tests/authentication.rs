//! The code on commands: the one that was published, over all that matters.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_sensor_box::layout::CommandSlot;
use backdoors_sensor_box::{Command, CommandKey, LeaseWord, Opcode, Seal};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;
use zerocopy::{FromBytes, IntoBytes};

const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

#[test]
fn the_hash_is_the_published_one() {
    // The first of the reference's vectors for 128 bits, those around one word, and the last: input 0, 1, 2 and so on.
    let published: [(u8, [u8; 16]); 5] = [
        (0, *b"\xa3\x81\x7f\x04\xba\x25\xa8\xe6\x6d\xf6\x72\x14\xc7\x55\x02\x93"),
        (1, *b"\xda\x87\xc1\xd8\x6b\x99\xaf\x44\x34\x76\x59\x11\x9b\x22\xfc\x45"),
        (7, *b"\xa1\xf1\xeb\xbe\xd8\xdb\xc1\x53\xc0\xb8\x4a\xa6\x1f\xf0\x82\x39"),
        (8, *b"\x3b\x62\xa9\xba\x62\x58\xf5\x61\x0f\x83\xe2\x64\xf3\x14\x97\xb4"),
        (63, *b"\x51\x50\xd1\x77\x2f\x50\x83\x4a\x50\x3e\x06\x9a\x97\x3f\xbd\x7c"),
    ];
    for (length, expected) in published {
        let mut hasher = SipHasher24::new_with_key(&KEY);
        hasher.write(&(0..length).collect::<Vec<u8>>());
        assert_eq!(hasher.finish128().as_bytes(), expected, "{length}");
    }
}

fn seal() -> Seal {
    Seal { key: CommandKey::from_bytes(KEY), slot: 3, generation: 0x1122_3344_5566_7788 }
}

fn command() -> CommandSlot {
    let command = Command {
        opcode: Opcode::KillUser,
        subject: 1001,
        start: 5,
        most_victims: 9,
        argument: 15,
        dry_run: true,
    };
    let token = LeaseWord::default().taken_by(3).token().unwrap();
    let encoded = command.encode(7, token, &seal(), "too many forks");
    CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap()
}

#[test]
fn the_code_is_that_of_all_words_of_a_command_and_of_its_place() {
    let mut hasher = SipHasher24::new_with_key(&KEY);
    let words = <[[u8; 8]; 32]>::read_from_bytes(command().as_bytes()).unwrap();
    let [what, subject, start, most, argument, token, _, _, reason @ .., sequence] = &words;
    let (slot, generation) = (3u64.to_le_bytes(), seal().generation.to_le_bytes());
    hasher.write(&[*what, *subject, *start, *most, *argument, *token, *sequence, slot, generation].concat());
    hasher.write(reason.as_flattened());
    let code = hasher.finish128();
    assert_eq!(command().mac, [code.h1, code.h2]);
    // The same code, for who checks another implementation against it.
    assert_eq!(command().mac, [CODE.0, CODE.1]);
}

const CODE: (u64, u64) = (0x2902_ef8e_36e2_0cbc, 0x0679_4c22_49a6_4304);

#[test]
fn no_bit_of_a_command_can_be_changed() {
    assert!(seal().is_on(&command()));
    for bit in 0..2048 {
        let mut bytes = <[u8; 256]>::try_from(command().as_bytes()).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!seal().is_on(&CommandSlot::read_from_bytes(&bytes).unwrap()), "bit {bit}");
    }
}

#[test]
fn a_command_is_worth_nothing_in_another_slot_under_another_key_or_in_memory_made_anew() {
    let mut other = KEY;
    other[15] ^= 0x80;
    for seal in [
        Seal { slot: 2, ..seal() },
        Seal { generation: seal().generation + 1, ..seal() },
        Seal { key: CommandKey::from_bytes(other), ..seal() },
        Seal { key: CommandKey::from_bytes([0; 16]), ..seal() },
    ] {
        assert!(!seal.is_on(&command()), "{seal:?}");
    }
}

#[test]
fn a_reason_that_is_too_long_ends_with_a_whole_letter() {
    let reason = format!("x{}", "\u{e9}".repeat(200));
    let token = LeaseWord::default().taken_by(3).token().unwrap();
    let encoded = Command::NOTHING.encode(1, token, &seal(), &reason);
    let slot = CommandSlot::read_from_bytes(&[&encoded.body[..], &encoded.sequence].concat()).unwrap();
    assert_eq!(std::str::from_utf8(&slot.reason).unwrap().trim_end_matches('\0'), &reason[..183]);
}

#[test]
fn a_key_is_not_printed() {
    assert!(!format!("{:?}", seal()).contains("12, 13"), "{:?}", seal());
}
