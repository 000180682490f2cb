//! `cargo xtask bench`.

mod rdma;

use anyhow::Result;
use clap::Subcommand;

use crate::setup;

/// What to measure; everything if nothing is named.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    bench: Option<Bench>,
}

#[derive(Subcommand)]
enum Bench {
    /// A READ of ours against perftest's, over soft-RoCE in one virtual machine
    Rdma(rdma::Arguments),
}

/// Measures.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    match &arguments.bench {
        Some(Bench::Rdma(arguments)) => rdma::run(arguments),
        None => rdma::run(&rdma::Arguments::default()),
    }
}
