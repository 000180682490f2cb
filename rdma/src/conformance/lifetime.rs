//! Access ends with the region, the admission, or the owner.

use crate::access::AccessError;
use crate::conformance::Failure;
use crate::conformance::bench::{Bench, contents, denied, equal, failed, fails, holds};
use crate::owner::Rights;
use std::time::{Duration, Instant};

pub(super) fn retired_region(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (id, memory) = bench.region(1, 1, 64, Rights::Writable, None)?;
    let mut monitor = bench.admit("monitor", 0, 3)?;
    let range = monitor.region(1)?.range;
    monitor.connection(1)?.read(range, &mut [0; 64]).map_err(failed("read before"))?;
    bench.owner()?.retire(id).map_err(failed("retire"))?;
    denied("read", monitor.connection(1)?.read(range, &mut [0; 64]))?;
    denied("write", monitor.connection(2)?.write(range, &[1; 64]))?;
    equal("the memory", contents(&memory)?, vec![0; 64])?;
    equal("regions listed", monitor.directory()?.regions().len(), 0)
}

pub(super) fn region_made_anew(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (id, _old) = bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    let mut session = bench.session("monitor", 0, 3)?;
    let known = session.expect(1, 1).map_err(failed("the region at first"))?;
    session.read(known.range, &mut [0; 64]).map_err(failed("read before"))?;

    bench.owner()?.retire(id).map_err(failed("retire"))?;
    let (_, new) = bench.region(1, 2, 64, Rights::ReadOnly, None)?;
    new.write_bytes(0, &[7; 64]).map_err(failed("local memory"))?;
    denied("read with the old key", session.read(known.range, &mut [0; 64]))?;
    session.refresh_directory().map_err(failed("directory"))?;
    let gone = |error: &AccessError| matches!(error, AccessError::Gone { expected: 1, found: 2 });
    fails("the old generation", session.expect(1, 1), gone)?;
    let known = session.expect(1, 2).map_err(failed("the new generation"))?;
    let mut bytes = [0; 64];
    session.read(known.range, &mut bytes).map_err(failed("read of the new region"))?;
    equal("the new region", bytes, [7; 64])
}

pub(super) fn region_registered_later(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let mut session = bench.session("monitor", 0, 1)?;
    holds("there is no region at first", session.region(1).is_none())?;
    let (_, memory) = bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    memory.store(0, 42);
    session.refresh_directory().map_err(failed("directory"))?;
    let region = session.expect(1, 1).map_err(failed("the region"))?;
    let mut bytes = [0; 64];
    session.read(region.range, &mut bytes).map_err(failed("read"))?;
    equal("the region's first byte", bytes.first(), Some(&42))
}

fn no_access(error: &AccessError) -> bool {
    matches!(error, AccessError::Denied | AccessError::Unreachable { .. })
}

pub(super) fn dismissed_monitor(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let (memory, _, _) = bench.simple(64, Rights::Writable, 1)?;
    let mut dismissed = bench.admit_within("dismissed", 1, 2, Duration::from_secs(1))?;
    let mut other = bench.admit("other", 2, 1)?;
    let (its, others) = (dismissed.region(1)?.range, other.region(1)?.range);
    let monitors = |bench: &mut Bench<'_>| -> Result<Vec<String>, Failure> {
        let mut names = bench.owner()?.monitors().map_err(failed("monitors"))?;
        names.sort();
        Ok(names)
    };
    equal("who is admitted", monitors(bench)?, vec!["dismissed".into(), "monitor".into(), "other".into()])?;
    bench.owner()?.dismiss("dismissed").map_err(failed("dismiss"))?;
    equal("who is admitted", monitors(bench)?, vec!["monitor".into(), "other".into()])?;
    fails("write", dismissed.connection(0)?.write(its, &[1; 64]), no_access)?;
    fails("read", dismissed.connection(1)?.read(its, &mut [0; 64]), no_access)?;
    equal("the memory", contents(&memory)?, vec![0; 64])?;
    other.first()?.write(others, &[2; 64]).map_err(failed("another monitor's write"))?;
    holds("who is not admitted cannot be dismissed", bench.owner()?.dismiss("dismissed").is_err())
}

pub(super) fn admitted_again(bench: &mut Bench<'_>) -> Result<(), Failure> {
    bench.region(1, 1, 64, Rights::ReadOnly, None)?;
    let mut before = bench.admit_within("monitor", 0, 1, Duration::from_secs(1))?;
    let range = before.region(1)?.range;
    let mut after = bench.admit("monitor", 0, 1)?;
    fails("read over the old connection", before.first()?.read(range, &mut [0; 64]), no_access)?;
    let range = after.region(1)?.range;
    after.first()?.read(range, &mut [0; 64]).map_err(failed("read over the new connection"))
}

pub(super) fn lost_owner(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let deadline = Duration::from_secs(1);
    bench.region(1, 1, 64, Rights::Writable, None)?;
    let mut monitor = bench.admit_within("monitor", 0, 2, deadline)?;
    let range = monitor.region(1)?.range;
    bench.lose_owner();
    for index in 0..2 {
        let connection = monitor.connection(index)?;
        let start = Instant::now();
        let unreachable = |error: &AccessError| matches!(error, AccessError::Unreachable { .. });
        fails("read", connection.read(range, &mut [0; 64]), unreachable)?;
        let took = start.elapsed();
        holds(&format!("{took:?} is within the deadline and half of it"), took < deadline * 3 / 2)?;
        let poisoned = |error: &AccessError| matches!(error, AccessError::Poisoned);
        fails("the next read", connection.read(range, &mut [0; 64]), poisoned)?;
    }
    Ok(())
}
