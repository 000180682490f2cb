//! Measures what the specification promises: `cargo xtask bench`.

mod fetch;
mod made_up_target;
mod monitor_cpu;
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
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Fetch(arguments) => fetch::run(&arguments),
        What::MonitorCpu(arguments) => monitor_cpu::run(&arguments),
    }
}
