//! The project's tasks: `cargo xtask setup | test | ci | fuzz`.

mod ci;
mod command;
mod fuzz;
mod setup;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the system packages and fetch the guest kernels that are missing
    Setup(setup::Arguments),
    /// Run all tests
    Test(test::Arguments),
    /// Feed any bytes to the parsers of a target's memory
    Fuzz(fuzz::Arguments),
    /// Run what continuous integration runs: format, lints, licences, documentation, tests
    Ci,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Ci => ci::run(),
    }
}
