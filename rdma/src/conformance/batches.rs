//! Batches, and what a failure does to a connection.

use crate::access::{AccessError, Operation};
use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, denied, equal, failed, fails, holds, moved};
use crate::owner::Rights;

fn poisoned(error: &AccessError) -> bool {
    matches!(error, AccessError::Poisoned)
}

pub(super) fn in_order(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(64, Rights::Writable, 1)?;
    let word = moved(range, 8, 8);
    let (mut before, mut between, mut after) = ([9; 8], [9; 8], [9; 8]);
    let (mut found_equal, mut found_other) = (9, 9);
    monitor
        .first()?
        .submit(&mut [
            Operation::Read { from: word, into: &mut before },
            Operation::Write { to: word, from: &1u64.to_le_bytes() },
            Operation::CompareAndSwap { at: word, expected: 1, new: 2, found: &mut found_equal },
            Operation::Read { from: word, into: &mut between },
            Operation::CompareAndSwap { at: word, expected: 1, new: 3, found: &mut found_other },
            Operation::Write { to: moved(range, 9, 3), from: &[7, 7, 7] },
            Operation::Read { from: word, into: &mut after },
            Operation::Write { to: moved(range, 63, 1), from: &[5] },
        ])
        .map_err(failed("batch"))?;
    equal("word before", before, [0; 8])?;
    equal("found by the swap that fits", found_equal, 1)?;
    equal("word between", between, 2u64.to_le_bytes())?;
    equal("found by the swap that does not", found_other, 2)?;
    equal("word after", after, [2, 7, 7, 7, 0, 0, 0, 0])?;
    equal("last byte", contents(&memory)?.last(), Some(&5))?;

    let operations = monitor.first()?.limits().operations;
    holds("a batch holds 64 operations at least", operations >= 64)?;
    let values: Vec<[u8; 1]> = (0..operations).map(|index| [index as u8]).collect();
    let mut many: Vec<Operation<'_>> =
        values.iter().map(|value| Operation::Write { to: moved(range, 0, 1), from: value }).collect();
    monitor.first()?.submit(&mut many).map_err(failed("a full batch"))?;
    equal("the last write is the one that stays", contents(&memory)?.first(), Some(&((operations - 1) as u8)))
}

pub(super) fn concurrent_swaps(bench: &mut Bench<'_>) -> Result<(), Failure> {
    const MONITORS: u32 = 2;
    const CONNECTIONS: usize = 2;
    const EACH: u64 = 200;
    let (_, memory) = bench.region(1, 1, 64, Rights::Writable, None)?;
    let mut lines = Vec::new();
    for slot in 0..MONITORS {
        let mut monitor = bench.admit(&format!("monitor {slot}"), slot, CONNECTIONS)?;
        let place = moved(monitor.region(1)?.range, 16, 8);
        lines.extend(monitor.connections.into_iter().map(|connection| (connection, place)));
    }
    let swappers = lines.len() as u64;
    std::thread::scope(|scope| {
        let threads: Vec<_> = lines
            .into_iter()
            .map(|(mut connection, place)| {
                scope.spawn(move || {
                    let mut known = 0;
                    for _ in 0..EACH {
                        loop {
                            let found = connection.compare_and_swap(place, known, known + 1)?;
                            let swapped = found == known;
                            known = if swapped { known + 1 } else { found };
                            if swapped {
                                break;
                            }
                        }
                    }
                    Ok::<(), AccessError>(())
                })
            })
            .collect();
        for thread in threads {
            let result = thread.join().map_err(|_| Failure("a swapper panicked".into()))?;
            result.map_err(failed("compare-and-swap"))?;
        }
        Ok::<(), Failure>(())
    })?;
    equal("the sum", memory.load(2), swappers * EACH)
}

pub(super) fn over_the_limits(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let length = 4 << 20;
    let (memory, mut monitor, range) = bench.simple(length, Rights::Writable, 1)?;
    let connection = monitor.first()?;
    let limits = connection.limits();
    holds("a batch holds 1 MiB at least", limits.bytes >= 1 << 20)?;
    let invalid = |error: &AccessError| matches!(error, AccessError::Invalid(_));

    let byte = [1];
    let write = |by| Operation::Write { to: moved(range, by, 1), from: &byte };
    let mut many: Vec<Operation<'_>> = (0..=limits.operations as i64).map(write).collect();
    fails("one operation too many", connection.submit(&mut many), invalid)?;
    if limits.bytes < length {
        let long = vec![1; limits.bytes + 1];
        let place = moved(range, 0, long.len() as u64);
        fails("one byte too many", connection.write(place, &long), invalid)?;
        let half = vec![1; limits.bytes / 2 + 1];
        let halves = moved(range, 0, half.len() as u64);
        let mut twice =
            [Operation::Write { to: halves, from: &half }, Operation::Write { to: halves, from: &half }];
        fails("too many bytes together", connection.submit(&mut twice), invalid)?;
    }
    fails("an empty batch", connection.submit(&mut []), invalid)?;
    fails("an empty read", connection.read(moved(range, 0, 0), &mut []), invalid)?;
    fails("a buffer shorter than the range", connection.write(moved(range, 0, 2), &byte), invalid)?;
    fails("a buffer longer than the range", connection.read(moved(range, 0, 2), &mut [0; 3]), invalid)?;
    fails("a swap of half a word", connection.compare_and_swap(moved(range, 0, 4), 0, 1), invalid)?;
    fails("a swap across words", connection.compare_and_swap(moved(range, 4, 8), 0, 1), invalid)?;
    holds("nothing was sent", contents(&memory)?.iter().all(|byte| *byte == 0))?;
    holds("the connection is not poisoned", !connection.is_poisoned())?;
    connection.write(moved(range, 0, 1), &byte).map_err(failed("a good write afterwards"))
}

pub(super) fn stops_at_failure(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(64, Rights::Writable, 1)?;
    let result = monitor.first()?.submit(&mut [
        Operation::Write { to: moved(range, 0, 8), from: &[1; 8] },
        Operation::Write { to: moved(range, 60, 8), from: &[2; 8] },
        Operation::Write { to: moved(range, 16, 8), from: &[3; 8] },
    ]);
    denied("a batch with a write past the end", result)?;
    let found = contents(&memory)?;
    equal("the write before it", &found[..8], &[1; 8])?;
    holds("neither it nor the write behind it happened", found[8..].iter().all(|byte| *byte == 0))
}

pub(super) fn own_connection_alone(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_memory, mut monitor, range) = bench.simple(64, Rights::ReadOnly, 2)?;
    let mut other = bench.admit("other", 1, 1)?;
    let its = other.region(1)?.range;
    denied("a write to what may only be read", monitor.connection(0)?.write(range, &[1; 64]))?;
    holds("it is poisoned", monitor.connection(0)?.is_poisoned())?;
    fails("a good read over it", monitor.connection(0)?.read(range, &mut [0; 64]), poisoned)?;
    holds("the other one is not", !monitor.connection(1)?.is_poisoned())?;
    monitor.connection(1)?.read(range, &mut [0; 64]).map_err(failed("read over the other one"))?;
    other.first()?.read(its, &mut [0; 64]).map_err(failed("another monitor's read"))
}

pub(super) fn session_uses_up(bench: &mut Bench<'_>) -> Result<(), Failure> {
    bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    let mut session = bench.session("monitor", 0, 3)?;
    let range = session.expect(1, 1).map_err(failed("the region"))?.range;
    for left in [3, 2, 1] {
        session.read(range, &mut [0; 64]).map_err(failed("read"))?;
        equal("connections left", session.healthy(), left)?;
        let bad = moved(range, 64, 8);
        denied("a read past the end", session.read(bad, &mut [0; 8]))?;
    }
    fails("a read with no connection left", session.read(range, &mut [0; 64]), poisoned)
}
