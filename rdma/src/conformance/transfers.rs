//! Bytes arrive as they are, where they should, and words whole.

use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, failed, holds, moved, pattern};
use crate::owner::Rights;
use std::sync::atomic::{AtomicBool, Ordering};

const LENGTHS: [usize; 17] =
    [1, 2, 3, 7, 8, 9, 63, 64, 65, 1023, 1024, 1025, 4096, 4097, 65_535, 65_536, 1 << 20];
const OFFSETS: [usize; 5] = [0, 1, 7, 8, 4093];

pub(super) fn lengths_and_places(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let whole = (1 << 20) + 8192;
    let (memory, mut monitor, range) = bench.simple(whole, Rights::Writable, 1)?;
    let connection = monitor.first()?;
    let mut expected = pattern(whole, 1);
    memory.write_bytes(0, &expected).map_err(failed("local memory"))?;
    for length in LENGTHS {
        for offset in OFFSETS {
            let what = format!("{length} bytes at {offset}");
            let place = moved(range, offset as i64, length as u64);
            let end = offset + length;
            let mut read = vec![0; length];
            connection.read(place, &mut read).map_err(failed(&what))?;
            holds(&format!("a read of {what} is exact"), read.as_slice() == &expected[offset..end])?;
            let written = pattern(length, (length * 31 + offset) as u64);
            connection.write(place, &written).map_err(failed(&what))?;
            expected[offset..end].copy_from_slice(&written);
            holds(&format!("a write of {what} is exact"), contents(&memory)? == expected)?;
        }
    }
    Ok(())
}

pub(super) fn whole_words(bench: &mut Bench<'_>) -> Result<(), Failure> {
    const WORDS: usize = 32;
    let (memory, mut monitor, range) = bench.simple(WORDS * 8, Rights::Writable, 1)?;
    let connection = monitor.first()?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0u64;
            while !over.load(Ordering::Relaxed) {
                value = !value;
                (0..WORDS).for_each(|word| memory.store(word, value));
            }
        });
        let result = (|| {
            for _ in 0..500 {
                let mut bytes = [0; WORDS * 8];
                connection.read(range, &mut bytes).map_err(failed("read"))?;
                let torn = bytes.chunks_exact(8).any(|word| word != [0; 8] && word != [0xff; 8]);
                holds("every word is one that was stored", !torn)?;
            }
            Ok(())
        })();
        over.store(true, Ordering::Relaxed);
        result
    })
}
