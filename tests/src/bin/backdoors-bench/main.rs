//! Measures what the specification promises: `cargo xtask bench`.

mod daemon;
mod detection;
mod fetch;
mod kernel_cost;
mod load;
mod monitor_cpu;
mod picture;
mod programs;
mod repair;
mod scale;
mod sessions;
mod statistics;
mod stream;
mod watching;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A fetch of a sensor box against one raw READ of as many bytes
    Fetch(fetch::Arguments),
    /// The monitor's share of a CPU at several periods
    MonitorCpu(monitor_cpu::Arguments),
    /// What the kernel half adds to context switches and forks
    KernelCost(kernel_cost::Arguments),
    /// A repair by command against `pkill` on the target itself, and a useful program beside hostile ones
    Repair(repair::Arguments),
    /// Detection times, false positives and counters under load, with pictures
    Detection(detection::Arguments),
    /// An export and an import of a session's snapshot against a copy
    Sessions(sessions::Arguments),
    /// One monitor thread and up to a thousand targets
    Scale(scale::Arguments),
    /// A scrape of a thousand targets, and the dashboard with them
    Watching(watching::Arguments),
    /// Many made-up targets for `scale` and `watching`
    #[command(hide = true)]
    Farm(scale::FarmArguments),
    /// A streaming server or its clients, for `detection`
    #[command(hide = true)]
    Stream(stream::Arguments),
    /// Work for `kernel-cost` to disturb
    #[command(hide = true)]
    Load(load::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Fetch(arguments) => fetch::run(&arguments),
        What::MonitorCpu(arguments) => monitor_cpu::run(&arguments),
        What::KernelCost(arguments) => kernel_cost::run(&arguments),
        What::Repair(arguments) => repair::run(&arguments),
        What::Detection(arguments) => detection::run(&arguments),
        What::Sessions(arguments) => sessions::run(&arguments),
        What::Scale(arguments) => scale::run(&arguments),
        What::Watching(arguments) => watching::run(&arguments),
        What::Farm(arguments) => scale::run_farm(&arguments),
        What::Stream(arguments) => stream::run(&arguments),
        What::Load(arguments) => load::run(&arguments),
    }
}
