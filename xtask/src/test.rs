//! `cargo xtask test`.

use anyhow::Result;

use crate::{
    command::{cargo, find, succeed},
    setup,
};

/// Which tests to run.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Also run what takes long, such as the large sweeps of the fault scenarios
    #[arg(long)]
    full: bool,
    /// Passed on to the test runner: names to select
    #[arg(last = true)]
    filter: Vec<String>,
}

/// Runs the tests of the whole workspace.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    // Scenarios run programs of other packages, which cargo does not build for a test by itself. Together with the tests:
    // alone they would be built against libraries with fewer features, and all of these once more for the tests.
    succeed(cargo().args(["build", "--workspace", "--bins", "--tests"]))?;

    let mut tests = cargo();
    if find("cargo-nextest").is_some() {
        tests.args(["nextest", "run", "--workspace", "--no-tests=pass"]);
        if arguments.full {
            tests.args(["--profile", "full"]);
        }
        tests.args(&arguments.filter);
    } else {
        // Documentation has its own turn below.
        tests.args(["test", "--workspace", "--tests", "--no-fail-fast", "--"]).args(&arguments.filter);
    }
    if arguments.full {
        tests.env("BACKDOORS_FULL", "1");
    }
    if std::env::var_os("CI").is_some() {
        // Of a long log often only a part is kept: a sentence that says what failed is worth more of it than where that was.
        tests.env("RUST_BACKTRACE", "0");
    }
    succeed(&mut tests)?;
    if arguments.filter.is_empty() {
        succeed(cargo().args(["test", "--workspace", "--doc"]))?;
    }
    eprintln!("all tests passed");
    Ok(())
}
