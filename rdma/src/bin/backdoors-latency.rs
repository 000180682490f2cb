//! Measures how long a READ takes over an RDMA device that is its own peer, as perftest's `ib_read_lat` does.

use anyhow::{Context, bail, ensure};
use backdoors_rdma::directory::Directory;
use backdoors_rdma::owner::{MemoryOwner, RegionRequest, Rights};
use backdoors_rdma::verbs::{Device, VerbsDialer, VerbsOwner};
use backdoors_rdma::{Dialer, SharedMemory};
use clap::Parser;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time for one READ.
const DEADLINE: Duration = Duration::from_secs(5);
const KIND: u32 = 1;

/// Prints bytes, READs, and their 50th and 99th percentile in microseconds.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The RDMA device, as `rdma link` shows it; the first one if none is given.
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Length of a READ.
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// How many READs.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    iterations: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.size > 0 && arguments.iterations > 0, "nothing to measure");
    let device = Arc::new(Device::open(arguments.device.as_deref())?);
    let mut owner = VerbsOwner::new(Arc::clone(&device));
    let (_memory, fd) = SharedMemory::create("latency", arguments.size)?;
    let length = arguments.size as u64;
    owner.register(
        RegionRequest { kind: KIND, generation: 1, offset: 0, length, rights: Rights::ReadOnly, slot: None },
        fd,
    )?;
    let mut dialer = VerbsDialer::new(device, DEADLINE)?;
    let endpoints = dialer.prepare(1)?;
    let admission = owner.admit("latency", 0, &endpoints)?;
    let mut connections = dialer.connect(&admission.endpoints)?;
    let Some(connection) = connections.first_mut() else { bail!("no connection") };
    let directory = Directory::fetch(connection.as_mut(), admission.directory)?;
    let range = directory.region(KIND).context("the directory does not list the region")?.range;

    let mut buffer = vec![0; arguments.size];
    let mut times = Vec::with_capacity(arguments.iterations);
    // From one READ to the next, as perftest does.
    let mut last = Instant::now();
    for _ in 0..arguments.iterations {
        connection.read(range, &mut buffer)?;
        let now = Instant::now();
        times.push(now - last);
        last = now;
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{} {} {:.2} {:.2}", arguments.size, times.len(), at(50), at(99));
    Ok(())
}
