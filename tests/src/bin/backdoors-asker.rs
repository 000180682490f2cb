//! Asks its machine for a sign of life every 100 ms: how long it takes to start a program and to see it end. A line for each
//! question: when it was due (nanoseconds since 1970), the time from there to the answer (microseconds), and the memory that
//! was available (KiB). While an answer is out no other question is asked.

use std::fs;
use std::io::{self, Write};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PERIOD: Duration = Duration::from_millis(100);

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn available() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("this kernel does not tell how much memory is available"))
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut due = now();
    loop {
        std::thread::sleep(due.saturating_sub(now()));
        let available = available()?;
        Command::new("/bin/true").status()?;
        let answered = now();
        writeln!(out, "{} {} {available}", due.as_nanos(), answered.saturating_sub(due).as_micros())?;
        out.flush()?;
        due = (due + PERIOD).max(answered);
    }
}
