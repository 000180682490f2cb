//! Live sessions: their snapshots, and their recovery.

mod extraction;
mod overhead;
mod recovery;
mod snapshots;
mod stalls;

use anyhow::Result;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure; everything if nothing is named
    #[arg(value_enum)]
    what: Vec<What>,
    /// Times that copy, export and import take turns
    #[arg(long, default_value_t = 500)]
    rounds: usize,
    /// Recoveries of as many sessions each
    #[arg(long, default_value_t = 3)]
    recoveries: usize,
    /// Measurements of as many clients each
    #[arg(long, default_value_t = 20)]
    measurements: usize,
    /// Where pictures go
    #[arg(long, default_value = "docs/evaluation")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// An export and an import of a snapshot against a copy
    Snapshots,
    /// One session pulled out of memory against a raw READ of as many bytes
    Extraction,
    /// Recovery of 200 and of 1000 sessions, and figures 3.11 and 3.12 of the thesis
    Recovery,
    /// How long clients are without their server, against their own retransmission timeouts
    Stalls,
    /// A file server alone and protected, and figures 3.9 and 3.10
    Overhead,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let is_wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    if is_wanted(What::Snapshots) {
        snapshots::run(arguments.rounds)?;
    }
    if is_wanted(What::Extraction) {
        extraction::run(arguments.rounds)?;
    }
    if is_wanted(What::Recovery) {
        recovery::run(arguments.recoveries, &arguments.out)?;
    }
    if is_wanted(What::Stalls) {
        stalls::run(arguments.recoveries)?;
    }
    if is_wanted(What::Overhead) {
        overhead::run(arguments.measurements, &arguments.out)?;
    }
    Ok(())
}
