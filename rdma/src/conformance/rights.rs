//! A key opens its memory for what it was given for, and to whom it was given.

use crate::access::RemoteRange;
use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, denied, equal, failed, holds, moved};
use crate::owner::Rights;

pub(super) fn read_only_key_does_not_write(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(64, Rights::ReadOnly, 2)?;
    denied("write", monitor.connection(0)?.write(moved(range, 0, 8), &[1; 8]))?;
    equal("the region", contents(&memory)?, vec![0; 64])?;
    monitor.connection(1)?.read(range, &mut [0; 64]).map_err(failed("read"))
}

pub(super) fn read_only_key_does_not_swap(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(64, Rights::ReadOnly, 2)?;
    let place = moved(range, 8, 8);
    denied("a swap that would succeed", monitor.connection(0)?.compare_and_swap(place, 0, 1))?;
    denied("a swap that would not", monitor.connection(1)?.compare_and_swap(place, 5, 1))?;
    equal("the region", contents(&memory)?, vec![0; 64])
}

pub(super) fn unknown_key(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_memory, mut monitor, range) = bench.simple(64, Rights::Writable, 3)?;
    let known = [range.key, monitor.directory.key];
    let mut tried = 0;
    for key in [0, u32::MAX, range.key ^ 0x0101_0100] {
        if !known.contains(&key) {
            let place = RemoteRange { key, ..range };
            denied(&format!("read with key {key:#x}"), monitor.connection(tried)?.read(place, &mut [0; 64]))?;
            tried += 1;
        }
    }
    Ok(())
}

pub(super) fn foreign_key(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_, shared) = bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    let (_, own) = bench.region(2, 1, 64, Rights::Writable, Some(0))?;
    let mut first = bench.admit("first", 0, 1)?;
    let mut second = bench.admit("second", 1, 3)?;
    let (its_shared, its_own) = (first.region(1)?.range, first.region(2)?.range);
    holds("each monitor has keys of its own", its_shared.key != second.region(1)?.range.key)?;
    let its_directory = first.directory;
    denied("write to its slot", second.connection(0)?.write(its_own, &[1; 64]))?;
    denied("read of a region of both", second.connection(1)?.read(its_shared, &mut [0; 64]))?;
    denied("read of its directory", second.connection(2)?.read(moved(its_directory, 0, 64), &mut [0; 64]))?;
    equal("its slot", contents(&own)?, vec![0; 64])?;
    first.first()?.write(its_own, &[1; 64]).map_err(failed("write with its own key"))?;
    equal("its slot", contents(&own)?, vec![1; 64])?;
    equal("the shared region", contents(&shared)?, vec![0; 64])
}

pub(super) fn directory_is_private(bench: &mut Bench<'_>) -> Result<(), Failure> {
    bench.region(1, 7, 64, Rights::ReadOnly, None)?;
    bench.region(2, 8, 128, Rights::Writable, Some(0))?;
    let mut monitors = [bench.admit("first", 0, 1)?, bench.admit("second", 1, 1)?];
    bench.region(2, 9, 192, Rights::Writable, Some(1))?;
    for (monitor, (generation, length)) in monitors.iter_mut().zip([(8, 128), (9, 192)]) {
        let directory = monitor.directory()?;
        equal("regions listed", directory.regions().len(), 2)?;
        let (shared, own) = (monitor.region(1)?, monitor.region(2)?);
        equal("shared", (shared.generation, shared.range.length, shared.rights), (7, 64, Rights::ReadOnly))?;
        equal("own", (own.generation, own.range.length, own.rights), (generation, length, Rights::Writable))?;
    }
    Ok(())
}

pub(super) fn directory_is_read_only(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let mut monitor = bench.admit("monitor", 0, 2)?;
    let place = moved(monitor.directory, 0, 8);
    denied("write", monitor.connection(1)?.write(place, &[0; 8]))?;
    equal("regions listed", monitor.directory()?.regions().len(), 0)
}
