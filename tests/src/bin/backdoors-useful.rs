//! A useful program that times itself: the same piece of work again and again, a line per round with the time it
//! began (nanoseconds since the epoch) and the time it took (microseconds).
//!
//! `backdoors-useful ROUND_MILLISECONDS [MEBIBYTES]`: how long a round takes when nothing disturbs it, and how much memory it
//! works on; every round touches all of it.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PAGE: usize = 4096;

fn work(steps: u64, memory: &mut [u8]) -> u64 {
    for byte in memory.iter_mut().step_by(PAGE) {
        *byte = byte.wrapping_add(1);
    }
    let mut state = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state)
}

/// Steps that fit into `round`: the best of several tries, so that noise does not make the round short.
fn calibrate(round: Duration, memory: &mut [u8]) -> u64 {
    const STEPS: u64 = 1_000_000;
    let fastest = (0..10)
        .map(|_| {
            let begun = Instant::now();
            work(STEPS, memory);
            begun.elapsed()
        })
        .min()
        .unwrap_or(round);
    (STEPS as f64 * round.as_secs_f64() / fastest.as_secs_f64().max(1e-6)) as u64
}

fn main() -> std::io::Result<()> {
    let number = |index| std::env::args().nth(index).and_then(|text| text.parse().ok());
    let mut memory = vec![1; number(2).unwrap_or(0) << 20];
    let milliseconds = number(1).unwrap_or(50);
    let steps = calibrate(Duration::from_millis(milliseconds as u64), &mut memory);
    let mut out = std::io::stdout().lock();
    loop {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = Instant::now();
        work(steps, &mut memory);
        writeln!(out, "{} {}", at.as_nanos(), begun.elapsed().as_micros())?;
        out.flush()?;
    }
}
