//! The project's tasks: `cargo xtask setup | demo | test | ci | fuzz | bench | pictures | package`.

mod bench;
mod ci;
mod command;
mod demo;
mod fuzz;
mod package;
mod pictures;
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
    /// Show the main job: a fork bomb that a peer eradicates, and live sessions that outlive their node
    Demo(demo::Arguments),
    /// Run all tests
    Test(test::Arguments),
    /// Feed any bytes to the parsers of a target's memory
    Fuzz(fuzz::Arguments),
    /// Measure the promised numbers, release build
    Bench(bench::Arguments),
    /// Draw the pictures of the dashboard in the documents anew
    Pictures,
    /// Make Debian packages in target/packages, release build
    Package(package::Arguments),
    /// Run what continuous integration runs: format, lints, licences, documentation, tests
    Ci,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Pictures => pictures::run(),
        Task::Package(arguments) => package::run(&arguments),
        Task::Ci => ci::run(),
    }
}
