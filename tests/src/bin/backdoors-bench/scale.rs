//! One monitor thread and more and more targets: CPU time per sample, and the rate that is reached.

mod farm;

pub use farm::{Arguments as FarmArguments, run as run_farm};

use crate::daemon::Daemon;
use crate::statistics::row;
use anyhow::{Context, Result};
use backdoors_rdma::handshake::Identity;
use farm::Farm;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of targets
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    targets: Vec<usize>,
    /// Periods, milliseconds
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [10, 100])]
    periods: Vec<u64>,
    /// Sensors of each target
    #[arg(long, default_value_t = 100)]
    sensors: u32,
    /// Seconds for each of them
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// CPU per sample may grow so much from the base to the most targets.
const AIM: f64 = 1.2;
/// The number of targets the others are compared with.
const BASE: usize = 10;

struct Measured {
    targets: usize,
    period: u64,
    /// Samples a second, of all targets.
    rate: f64,
    /// Of the thread that samples, microseconds.
    per_sample: f64,
    /// Of one CPU.
    share: f64,
    /// Share of samples that failed.
    failed: f64,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    raise_descriptor_limit()?;
    let mut all = Vec::new();
    println!(
        "{:>8} {:>7} {:>12} {:>12} {:>10} {:>12} {:>8}",
        "targets", "period", "samples/s", "of wanted", "CPU", "us/sample", "failed"
    );
    for &period in &arguments.periods {
        for &targets in &arguments.targets {
            let measured = measure(arguments, targets, period)?;
            // Samples come at 80 to 100 % of the period, on average at 90 %.
            let wanted = targets as f64 * 1e3 / (0.9 * period as f64);
            println!(
                "{targets:>8} {:>7} {:>12.0} {:>10.0} % {:>8.1} % {:>12.2} {:>6.2} %",
                format!("{period} ms"),
                measured.rate,
                100.0 * measured.rate / wanted,
                100.0 * measured.share,
                measured.per_sample,
                100.0 * measured.failed
            );
            all.push(measured);
        }
    }
    for &period in &arguments.periods {
        let of =
            |targets| all.iter().find(|measured| measured.period == period && measured.targets == targets);
        let Some(base) = of(BASE) else { continue };
        for measured in all.iter().filter(|measured| measured.period == period && measured.targets > BASE) {
            let ratio = measured.per_sample / base.per_sample;
            let what = format!("CPU per sample, {} targets every {period} ms", measured.targets);
            let aim = format!("{AIM} of that with {BASE}, {:.2} us", base.per_sample);
            row(&what, &format!("{:.2} us", measured.per_sample), &aim, ratio);
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, targets: usize, period: u64) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let (_farm, daemon) = fleet(folder.path(), targets, arguments.sensors, period)?;
    // The handshakes' cost is not the sampling's.
    std::thread::sleep(Duration::from_secs(3));
    let (samples, failures) = counts(&daemon)?;
    let (begun, before) = (Instant::now(), daemon.running.cpu_time(Some("rounds"))?);
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let cpu = (daemon.running.cpu_time(Some("rounds"))? - before).as_secs_f64();
    let took = begun.elapsed().as_secs_f64();
    let (samples_after, failures_after) = counts(&daemon)?;
    let (samples, failures) = (samples_after - samples, failures_after - failures);
    Ok(Measured {
        targets,
        period,
        rate: samples as f64 / took,
        per_sample: cpu * 1e6 / samples.max(1) as f64,
        share: cpu / took,
        failed: failures as f64 / (samples + failures).max(1) as f64,
    })
}

/// A daemon in `folder` that reads so many targets, each every `period` milliseconds.
pub fn fleet(folder: &Path, targets: usize, sensors: u32, period: u64) -> Result<(Farm, Daemon)> {
    for name in ["target", "monitor"] {
        Identity::generate(name)?.save(folder)?;
    }
    let farm = Farm::start(folder, targets, sensors)?;
    let mut lines = String::new();
    for number in 0..targets {
        lines.push_str(&format!(
            "[[target]]\nname = \"target{number}\"\naddress = \"{}\"\ncertificate = \"target.crt\"\n\
             connections = 1\nperiod = \"{period}ms\"\nfastest = \"{period}ms\"\nlost_after = \"10s\"\n",
            farm.address_of(number)
        ));
    }
    let daemon = Daemon::start(folder, &lines, false)?;
    daemon.wait_for(targets)?;
    Ok((farm, daemon))
}

/// Good and failed samples of all targets so far.
fn counts(daemon: &Daemon) -> Result<(u64, u64)> {
    let targets = daemon.targets()?;
    let sum = |key: &str| targets.iter().filter_map(|target: &Value| target[key].as_u64()).sum();
    Ok((sum("samples"), sum("failures")))
}

/// A thousand targets are more connections than a process may have by default.
pub fn raise_descriptor_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
        .context("raising the limit of descriptors")
}
