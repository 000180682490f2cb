//! What an export and an import of a session's snapshot cost, against a copy of as many bytes, in turn.

use crate::statistics::{median_of, row};
use anyhow::{Context, Result};
use backdoors_continuation_box::snapshot::{BoxMemory, BoxView, Shape};
use std::hint::black_box;
use std::time::Instant;

/// Of a snapshot, bytes: those of the thesis's table 3.2, and what that took there, microseconds.
const SIZES: [(usize, f64, f64); 3] = [(1 << 10, 11.0, 8.0), (5 << 10, 20.0, 10.0), (10 << 10, 28.0, 24.0)];
const SHAPE: Shape = Shape { capacity: 1, snapshot_bytes: 16 << 10, ring_bytes: 0 };
/// Calls that are timed together: one is too short for the clock.
const CALLS: u32 = 1000;
/// What may be added to one and a half times the copy.
const SURPLUS: f64 = 100.0;

pub fn run(rounds: usize) -> Result<()> {
    let (boxes, _kept) = BoxMemory::create(SHAPE)?;
    let mut session = boxes.take(1).context("no box")?;
    println!("snapshot    copy  export  import  export, thesis  import, thesis    (ns)");
    for (size, export_then, import_then) in SIZES {
        let snapshot = vec![7; size];
        // Two buffers take turns in a box, too.
        let mut copies = [vec![0; size], vec![0; size]];
        let (mut copying, mut exporting, mut importing) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut turn = 0;
            copying.push(nanoseconds(|| {
                turn ^= 1;
                black_box(&mut copies)[turn].copy_from_slice(black_box(&snapshot));
                Ok(())
            })?);
            exporting.push(nanoseconds(|| Ok(session.export(black_box(&snapshot))?))?);
            let bytes = boxes.read(0).context("no such box")?;
            importing.push(nanoseconds(|| {
                let view = BoxView::decode(SHAPE, black_box(&bytes), None)?.context("the box is nobody's")?;
                black_box(view);
                Ok(())
            })?);
        }
        let median = |times: &mut [f64]| median_of(times).context("no rounds");
        let (copy, export, import) =
            (median(&mut copying)?, median(&mut exporting)?, median(&mut importing)?);
        let thousand = 1000.0;
        println!(
            "{size:8} {copy:7.0} {export:7.0} {import:7.0} {:15.0} {:15.0}",
            export_then * thousand,
            import_then * thousand
        );
        let aim = 1.5 * copy + SURPLUS;
        for (what, time) in [("export", export), ("import", import)] {
            row(
                &format!("{what} of a snapshot of {} KB", size >> 10),
                &format!("{time:.0} ns"),
                &format!("{aim:.0} ns, one and a half copies and {SURPLUS:.0} ns"),
                time / aim,
            );
        }
    }
    Ok(())
}

/// What a call takes, of many.
fn nanoseconds(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..CALLS {
        call()?;
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(CALLS))
}
