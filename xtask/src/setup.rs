//! `cargo xtask setup`: what a build and the tests need from outside cargo.

mod apt;
mod kernels;
mod packages;

use anyhow::Result;

/// What to set up.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Fetch the guest kernels again even when they are cached, in case newer ones have come out
    #[arg(long)]
    refresh: bool,
}

/// Installs and fetches what is missing; quick when nothing is.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install_missing()?;
    kernels::fetch_missing(arguments.refresh)
}
