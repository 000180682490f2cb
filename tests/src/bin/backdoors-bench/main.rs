//! Measures what the specification promises: `cargo xtask bench`.

mod fetch;
mod kernel_cost;
mod load;
mod monitor_cpu;
mod repair;
mod statistics;

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
    /// A repair by command against `pkill` on the target itself
    Repair(repair::Arguments),
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
        What::Load(arguments) => load::run(&arguments),
    }
}
