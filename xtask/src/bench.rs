//! `cargo xtask bench`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    command::{cargo, succeed},
    setup,
};

/// What to measure; everything if nothing is named.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(value_enum)]
    what: Vec<Bench>,
    /// Passed on to the programs that measure, for instance `repair -- hog --runs 3`
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    /// A READ of ours against perftest's, and a fetch of a sensor box, over soft-RoCE in one virtual machine
    Rdma,
    /// A fetch of a sensor box against one raw READ of as many bytes, over the emulated NIC
    Fetch,
    /// The monitor's share of a CPU
    MonitorCpu,
    /// What the kernel half adds to context switches and forks
    KernelCost,
    /// A repair against `pkill` on the target itself, and figures 3.13 and 3.14 of the thesis, into docs/evaluation
    Repair,
    /// Detection time against the deadline, and figures 3.7 and 3.8 of the thesis, into docs/evaluation
    Detection,
    /// One monitor thread with 1 to 1000 targets
    Scale,
    /// A scrape of a thousand targets, and the dashboard with them
    Watching,
    /// An export and an import of a session's snapshot against a copy of as many bytes, and recoveries
    Sessions,
}

/// Measures, and repeats the figures that have an aim in one table at the end.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    // The benches start programs of other packages, which cargo does not build for them by itself.
    let packages = [
        "backdoors-rdma",
        "backdoors-tests",
        "backdoors-monitor",
        "backdoors-target-agent",
        "backdoors-continuation-box",
    ];
    let packages = packages.into_iter().flat_map(|package| ["-p", package]);
    let features = ["--features", "backdoors-rdma/bench"];
    succeed(cargo().args(["build", "--release", "--bins"]).args(packages).args(features))?;
    let benches = if arguments.what.is_empty() { Bench::value_variants() } else { &arguments.what };
    let mut rows = Vec::new();
    for bench in benches {
        bench.measure(&arguments.rest, &mut rows)?;
    }
    println!("\n| what | measured | aim | ratio |\n| --- | --- | --- | --- |");
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}

impl Bench {
    /// Shows what the bench prints, and keeps the rows for the table among it.
    fn measure(self, rest: &[String], rows: &mut Vec<String>) -> Result<()> {
        let (program, subcommand) = match self {
            Bench::Rdma => ("backdoors-bench-rdma", None),
            Bench::Fetch => ("backdoors-bench", Some("fetch")),
            Bench::MonitorCpu => ("backdoors-bench", Some("monitor-cpu")),
            Bench::KernelCost => ("backdoors-bench", Some("kernel-cost")),
            Bench::Repair => ("backdoors-bench", Some("repair")),
            Bench::Detection => ("backdoors-bench", Some("detection")),
            Bench::Scale => ("backdoors-bench", Some("scale")),
            Bench::Watching => ("backdoors-bench", Some("watching")),
            Bench::Sessions => ("backdoors-bench", Some("sessions")),
        };
        let mut measure = cargo();
        measure.args(["run", "--release", "--quiet", "-p", "backdoors-tests", "--bin", program, "--"]);
        let mut child = measure.args(subcommand).args(rest).stdout(Stdio::piped()).spawn()?;
        for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
            let line = line?;
            println!("{line}");
            if line.starts_with("| ") {
                rows.push(line);
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("{program} {} failed: {status}", subcommand.unwrap_or_default());
        }
        Ok(())
    }
}
