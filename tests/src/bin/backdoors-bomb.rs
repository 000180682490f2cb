//! A fork bomb, as the thesis has it (section 3.9.5): every process of it starts further ones as long as it may, and works
//! without end meanwhile, so that what is killed grows again. Its size is the limit on the user's processes; without a small
//! one it refuses to start.
//!
//! `backdoors-bomb cpu` spins; `backdoors-bomb io` reads a pseudo-device and writes to another one.

use rustix::process::{Resource, getrlimit};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Most processes that it may be allowed.
const MOST: u64 = 1000;
/// How long it works between two attempts to start another process.
const SLICE: Duration = Duration::from_millis(20);
const BLOCK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let kind = std::env::args().nth(1);
    let limit = getrlimit(Resource::Nproc).current;
    if limit.is_none_or(|limit| limit > MOST) || rustix::process::geteuid().is_root() {
        return Err(io::Error::other(
            "limit the processes of a user other than root to 1000 at most first (ulimit -u)",
        ));
    }
    match kind.as_deref() {
        Some("cpu") => explode("cpu", spin),
        Some("io") => {
            let (mut from, mut to) =
                (File::open("/dev/zero")?, OpenOptions::new().write(true).open("/dev/null")?);
            let mut block = vec![0; BLOCK];
            explode("io", || {
                from.read_exact(&mut block)?;
                to.write_all(&block)
            })
        }
        _ => Err(io::Error::other("say: backdoors-bomb cpu, or backdoors-bomb io")),
    }
}

fn explode(kind: &str, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let own = std::env::current_exe()?;
    let mut children: Vec<Child> = Vec::new();
    loop {
        // Refused at the limit, and whenever memory is short.
        if let Ok(child) = Command::new(&own).arg(kind).spawn() {
            children.push(child);
        }
        // A zombie counts against the limit.
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let begun = Instant::now();
        while begun.elapsed() < SLICE {
            work()?;
        }
    }
}

fn spin() -> io::Result<()> {
    for step in 0..10_000_u64 {
        std::hint::black_box(step);
    }
    Ok(())
}
