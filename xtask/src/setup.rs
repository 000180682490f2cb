//! `cargo xtask setup`: what a build and the tests need from outside cargo.

mod apt;
mod kernels;
mod packages;
mod systemd;

use anyhow::Result;

/// What to set up.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Fetch what guests boot again even when it is cached, in case newer kernels have come out
    #[arg(long)]
    refresh: bool,
}

/// Installs and fetches what is missing; quick when nothing is.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::install_missing()?;
    kernels::fetch_missing(arguments.refresh)?;
    systemd::fetch_missing(arguments.refresh)
}
