//! `cargo xtask fuzz`.

use anyhow::Result;

use crate::command::{cargo, succeed};

/// What the sanitizer and libFuzzer need of the compiler. The switch below lets the stable one take it.
const FLAGS: &str = "-Zsanitizer=address -Cpasses=sancov-module -Cdebug-assertions \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// How long to fuzz.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds for each of the fuzz targets
    #[arg(default_value_t = 60)]
    seconds: u32,
}

/// Feeds any bytes to the parsers of a target's memory.
pub fn run(arguments: &Arguments) -> Result<()> {
    let manifest = "sensor-box/fuzz/Cargo.toml";
    for program in ["decode", "applications"] {
        succeed(
            cargo()
                .args(["run", "--release", "--manifest-path", manifest, "--target", TARGET])
                .args(["--bin", program, "--"])
                .arg(format!("-max_total_time={}", arguments.seconds))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTFLAGS", FLAGS),
        )?;
    }
    Ok(())
}
