//! `cargo xtask ci`.

use anyhow::Result;

use crate::{
    command::{cargo, find, succeed},
    setup, test,
};

/// Runs every check; the first that fails ends it.
pub fn run() -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    succeed(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    if find("cargo-deny").is_some() {
        succeed(cargo().args(["deny", "--all-features", "check", "bans", "licenses", "sources"]))?;
    } else {
        eprintln!(
            "NOT CHECKED: licences and sources of the dependencies, because cargo-deny is not installed"
        );
    }
    succeed(cargo().env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--no-deps", "--workspace"]))?;
    // The README's test command.
    test::run(&test::Arguments::default())?;
    if find("cargo-deny").is_none() {
        eprintln!(
            "passed, but for the licences and sources of the dependencies, which nobody checked (see above)"
        );
    }
    Ok(())
}
