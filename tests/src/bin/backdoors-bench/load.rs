//! Work that consists of little else than what the kernel half hooks: context switches, or lives of processes.

use anyhow::{Context, Result, bail};
use backdoors_tests::host::Host;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    kind: Kind,
    /// Switches, or processes
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Two processes hand a byte to and fro through pipes
    Switches,
    /// A shell forks processes that end at once, and waits for each
    Forks,
    /// Sends every byte back
    Echo,
}

impl Kind {
    /// Runs it in a host, and returns how many nanoseconds one switch or one process took.
    pub fn run_in(self, host: &Host, count: u32) -> Result<f64> {
        let kind = match self {
            Kind::Switches => "switches",
            Kind::Forks => "forks",
            Kind::Echo => "echo",
        };
        let program = std::env::current_exe()?;
        let output = host.command(program).args(["load", kind, &count.to_string()]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("{kind}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.kind == Kind::Echo {
        return echo();
    }
    // On one CPU every hand-over is a switch, and no process wanders.
    let mut one = CpuSet::new();
    one.set(0);
    sched_setaffinity(None, &one).context("staying on one CPU")?;
    let begun = Instant::now();
    match arguments.kind {
        Kind::Switches => ping_pong(arguments.count / 2)?,
        _ => forks(arguments.count)?,
    }
    println!("{:.1}", begun.elapsed().as_secs_f64() * 1e9 / f64::from(arguments.count));
    Ok(())
}

fn ping_pong(round_trips: u32) -> Result<()> {
    let mut partner = Command::new(std::env::current_exe()?)
        .args(["load", "echo", "0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (Some(mut there), Some(mut back)) = (partner.stdin.take(), partner.stdout.take()) else {
        bail!("no pipes");
    };
    let mut byte = [0];
    for _ in 0..round_trips {
        there.write_all(&byte)?;
        back.read_exact(&mut byte)?;
    }
    drop(there);
    partner.wait()?;
    Ok(())
}

fn echo() -> Result<()> {
    // Without the buffers of the standard library's streams.
    let (input, output) = (std::io::stdin(), std::io::stdout());
    let mut byte = [0];
    while rustix::io::read(&input, &mut byte)? == 1 {
        rustix::io::write(&output, &byte)?;
    }
    Ok(())
}

fn forks(count: u32) -> Result<()> {
    let script = format!("i=0; while [ $i -lt {count} ]; do (:); i=$((i+1)); done");
    let status = Command::new("sh").args(["-c", &script]).status()?;
    if !status.success() {
        bail!("the shell failed: {status}");
    }
    Ok(())
}
