//! Live sessions: their snapshots, and their recovery.

mod recovery;
mod snapshots;

use anyhow::Result;

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
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// An export and an import of a snapshot against a copy
    Snapshots,
    /// Recovery of 200 and of 1000 sessions
    Recovery,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let is_wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    if is_wanted(What::Snapshots) {
        snapshots::run(arguments.rounds)?;
    }
    if is_wanted(What::Recovery) {
        recovery::run(arguments.recoveries)?;
    }
    Ok(())
}
