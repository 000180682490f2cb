//! How fast and how rightly failures are detected: detection time against the deadline, and the figures 3.7 and 3.8
//! of the thesis, redone. Data and pictures go into one folder.

mod counters;
mod false_positives;
mod time;
mod traces;

use anyhow::{Context, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Where data and pictures go
    #[arg(long, value_name = "FOLDER", default_value = "docs/evaluation")]
    out: PathBuf,
    /// Deadlines, milliseconds
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [10, 20, 50, 100, 200, 500, 1000])]
    deadlines: Vec<u64>,
    /// Failures for each deadline
    #[arg(long, default_value_t = 25)]
    rounds: usize,
    /// Targets that fail in each round, sampled apart from each other
    #[arg(long, default_value_t = 8)]
    targets: usize,
    /// Seconds for which counters are watched under each load
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Detection time against the deadline
    Time,
    /// False positives against the deadline (figure 3.7)
    FalsePositives,
    /// Interrupt counters under load (figure 3.8)
    Traces,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Time) {
        time::run(arguments)?;
    }
    if wanted(Part::FalsePositives) {
        false_positives::run(arguments)?;
    }
    if wanted(Part::Traces) {
        traces::run(arguments)?;
    }
    Ok(())
}
