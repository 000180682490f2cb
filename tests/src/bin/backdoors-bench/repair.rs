//! What repairs cost, and what they are worth: a repair against `pkill`, the figures 3.13 and 3.14 of the thesis redone, and others
//! who watch over memory side by side.

mod cost;
mod culprits;
mod disturbed;
mod figures;
mod side_by_side;
mod watcher;

use anyhow::{Context, Result};
use disturbed::Part as Figure;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    apart: Option<Apart>,
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Rounds of both ways to kill, for `cost`
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Runs for each point of a figure with repair
    #[arg(long, default_value_t = 2)]
    runs: usize,
    /// Runs for each point of a figure without
    #[arg(long, value_name = "RUNS", default_value_t = 1)]
    runs_without: usize,
    /// Useful work that is disturbed, in rounds of a tenth of a second
    #[arg(long, value_name = "ROUNDS", default_value_t = 20)]
    work: u32,
    /// Seconds after which a disturbed machine is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    deadline: u64,
    /// Swap space in those runs that have any
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    swap: u32,
    /// Sizes of the hostile program, instead of the usual ones
    #[arg(long, value_name = "COUNT", value_delimiter = ',')]
    sizes: Vec<u32>,
    /// Where data and pictures of the figures go
    #[arg(long, value_name = "FOLDER", default_value = "docs/evaluation")]
    out: PathBuf,
    /// Print what the monitor noted in each run, not only in those that it did not end
    #[arg(long)]
    notes: bool,
    /// Measure nothing, but draw the pictures from the data there
    #[arg(long)]
    draw: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A repair against `pkill` on the target itself (table 3.3)
    Cost,
    /// A useful program beside memory hogs (figure 3.14)
    Hog,
    /// A useful program beside fork bombs (figure 3.13)
    Bomb,
}

/// Measured only if it is named, because it takes long.
#[derive(clap::Subcommand)]
enum Apart {
    /// No watcher, earlyoom, systemd-oomd and Backdoors against the same memory hog
    SideBySide(side_by_side::Arguments),
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Apart::SideBySide(arguments)) = &arguments.apart {
        return side_by_side::run(arguments);
    }
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    if wanted(Part::Cost) && !arguments.draw {
        cost::run(arguments.rounds)?;
    }
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    for (part, figure) in [(Part::Hog, Figure::Hog), (Part::Bomb, Figure::Bomb)] {
        if wanted(part) {
            disturbed::run(arguments, figure)?;
        }
    }
    Ok(())
}
