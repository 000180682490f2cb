//! `cargo xtask bench rdma`: our READ against perftest's `ib_read_lat`, over soft-RoCE in one guest.

use std::time::Duration;

use anyhow::{Context, Result};
use backdoors_tests::vm::{Kernel, Vm, VmConfig, Wire};
use clap::{Parser, ValueEnum};

/// Sizes of READs, in bytes, and how many to measure in a round.
const SIZES: [(u32, u32); 4] = [(8, 2000), (64, 2000), (4096, 1000), (65536, 300)];
const SERVER_UP: Duration = Duration::from_secs(20);
const SERVER_END: Duration = Duration::from_secs(20);

/// Measures both, in turns, in one boot.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The guest's kernel.
    #[arg(long, value_enum, default_value = "newest")]
    kernel: GuestKernel,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GuestKernel {
    /// The newest that Debian backports.
    Newest,
    /// The 6.1 of Debian 12.
    #[value(name = "6.1")]
    Stable61,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kernel = match arguments.kernel {
        GuestKernel::Newest => Kernel::Newest,
        GuestKernel::Stable61 => Kernel::Stable61,
    };
    let wire = Wire::new()?;
    let vm = Vm::boot(VmConfig {
        kernel,
        cpus: 2,
        network: Some(&wire),
        programs: vec!["backdoors-latency".into(), "backdoors-bench".into()],
        ..VmConfig::default()
    })?;
    println!("READ over soft-RoCE's loopback, kernel {}, p50 of {} rounds", vm.release(), arguments.rounds);
    println!("{:>7} {:>10} {:>14} {:>7}", "bytes", "ours, µs", "ib_read_lat, µs", "ratio");
    let mut rows = Vec::new();
    for (size, count) in SIZES {
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..arguments.rounds {
            // Neither always goes first.
            let (mine, other) = if round % 2 == 0 {
                let mine = our_read(&vm, size, count)?;
                (mine, perftest_read(&vm, size, count)?)
            } else {
                let other = perftest_read(&vm, size, count)?;
                (our_read(&vm, size, count)?, other)
            };
            ours.push(mine);
            theirs.push(other);
            ratios.push(mine / other);
        }
        let ratio = median(&mut ratios.clone());
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        rows.push(format!(
            "| READ of {size} bytes, soft-RoCE | {ours:.1} us | 1.10 of ib_read_lat, {theirs:.1} us | {ratio:.2} |"
        ));
        println!(
            "{size:>7} {:>10.2} {:>14.2} {:>7.3}   rounds: {}",
            ours,
            theirs,
            ratio,
            ratios.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(" ")
        );
    }
    for row in rows {
        println!("{row}");
    }
    print!("{}", vm.shell("backdoors-bench fetch --provider verbs --rounds 1000")?);
    Ok(())
}

/// Median time of a READ in microseconds.
fn our_read(vm: &Vm, size: u32, count: u32) -> Result<f64> {
    let report = vm.shell(format!("backdoors-latency --size {size} --iterations {count}"))?;
    let p50 = report.split_whitespace().nth(2).and_then(|word| word.parse().ok());
    p50.with_context(|| format!("no figure in: {report}"))
}

/// What perftest calls typical, its median, in microseconds.
fn perftest_read(vm: &Vm, size: u32, count: u32) -> Result<f64> {
    let perftest = format!(
        "gid=$(cd /sys/class/infiniband/rxe0/ports/1/gids && \
         grep -l '^0000:0000:0000:0000:0000:ffff:' * 2>/dev/null | head -1)
         exec ib_read_lat -d rxe0 -x $gid -F -s {size} -n {count}"
    );
    let server = vm.spawn(perftest.as_str())?;
    vm.wait_until(SERVER_UP, "ss -ltn | grep -q :18515")?;
    let report = vm.shell(format!("{perftest} 127.0.0.1"))?;
    server.wait(SERVER_END)?;
    // Columns: bytes, iterations, t_min, t_max, t_typical, …
    let row = report.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row.into_iter().find(|row| row.first() == Some(&size.to_string().as_str()) && row.len() > 5);
    let typical = row.and_then(|row| row[4].parse().ok());
    typical.with_context(|| format!("no figure in: {report}"))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
