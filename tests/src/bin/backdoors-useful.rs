//! A useful program that times itself: the same piece of work again and again, a line per round with the time it
//! began (nanoseconds since the epoch) and the time it took (microseconds).
//!
//! `backdoors-useful ROUND_MILLISECONDS`: how long a round takes when nothing disturbs it.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn work(steps: u64) -> u64 {
    let mut state = std::hint::black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    std::hint::black_box(state)
}

/// Steps that fit into `round`: the best of several tries, so that noise does not make the round short.
fn calibrate(round: Duration) -> u64 {
    const STEPS: u64 = 1_000_000;
    let fastest = (0..10)
        .map(|_| {
            let begun = Instant::now();
            work(STEPS);
            begun.elapsed()
        })
        .min()
        .unwrap_or(round);
    (STEPS as f64 * round.as_secs_f64() / fastest.as_secs_f64().max(1e-6)) as u64
}

fn main() -> std::io::Result<()> {
    let milliseconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(50);
    let steps = calibrate(Duration::from_millis(milliseconds));
    let mut out = std::io::stdout().lock();
    loop {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begun = Instant::now();
        work(steps);
        writeln!(out, "{} {}", at.as_nanos(), begun.elapsed().as_micros())?;
        out.flush()?;
    }
}
