//! A key opens its bytes and no others.

use crate::access::RemoteRange;
use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, denied, equal, failed, moved};
use crate::owner::Rights;

/// Not a multiple of a page, nor of eight, so that the end of the region is not that of its pages.
const LENGTH: usize = 1001;

pub(super) fn first_and_last_byte(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, mut monitor, range) = bench.simple(LENGTH, Rights::Writable, 1)?;
    memory.write_bytes(0, &[1]).map_err(failed("local memory"))?;
    memory.write_bytes(LENGTH - 1, &[2]).map_err(failed("local memory"))?;
    let connection = monitor.first()?;
    let mut byte = [0];
    connection.read(moved(range, 0, 1), &mut byte).map_err(failed("read of the first byte"))?;
    equal("first byte", byte, [1])?;
    connection
        .read(moved(range, LENGTH as i64 - 1, 1), &mut byte)
        .map_err(failed("read of the last byte"))?;
    equal("last byte", byte, [2])?;
    connection.write(moved(range, 0, 1), &[3]).map_err(failed("write of the first byte"))?;
    connection.write(moved(range, LENGTH as i64 - 1, 1), &[4]).map_err(failed("write of the last byte"))?;
    let mut expected = vec![0; LENGTH];
    (expected[0], expected[LENGTH - 1]) = (3, 4);
    equal("the region", contents(&memory)?, expected)
}

pub(super) fn bytes_outside(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let end = LENGTH as i64;
    let outside = [
        (-1, 1),
        (-1, 2),
        (-8, 8),
        (end, 1),
        (end - 1, 2),
        (end - 7, 8),
        (0, LENGTH as u64 + 1),
        (end + 4096, 8),
    ];
    let (memory, mut monitor, range) = bench.simple(LENGTH, Rights::Writable, 2 * outside.len())?;
    for (index, (by, length)) in outside.into_iter().enumerate() {
        let mut buffer = vec![0xaa; length as usize];
        let what = format!("{length} bytes at {by}");
        let place = moved(range, by, length);
        let write = monitor.connection(2 * index)?.write(place, &buffer);
        denied(&format!("write of {what}"), write)?;
        let read = monitor.connection(2 * index + 1)?.read(place, &mut buffer);
        denied(&format!("read of {what}"), read)?;
    }
    equal("the region", contents(&memory)?, vec![0; LENGTH])
}

pub(super) fn wrapping_addresses(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (_memory, mut monitor, range) = bench.simple(LENGTH, Rights::Writable, 6)?;
    let places = [u64::MAX, u64::MAX - 3, u64::MAX - 7, 0, 1 << 63, range.address.wrapping_sub(1 << 63)];
    for (index, address) in places.into_iter().enumerate() {
        let place = RemoteRange { address, length: 8, key: range.key };
        let read = monitor.connection(index)?.read(place, &mut [0; 8]);
        denied(&format!("read at {address:#x}"), read)?;
    }
    Ok(())
}
