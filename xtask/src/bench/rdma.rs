//! `cargo xtask bench rdma`.

use anyhow::Result;

use crate::command::{cargo, succeed};

/// How to measure READs.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Passed on to the program that measures: `--rounds COUNT`, `--kernel newest|6.1`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Compares our READ with perftest's, over soft-RoCE in one virtual machine.
pub fn run(arguments: &Arguments) -> Result<()> {
    succeed(cargo().args([
        "build",
        "--release",
        "-p",
        "backdoors-rdma",
        "-p",
        "backdoors-tests",
        "--features",
        "backdoors-rdma/bench",
        "--bin",
        "backdoors-latency",
        "--bin",
        "backdoors-vm-guest",
        "--bin",
        "backdoors-bench-rdma",
    ]))?;
    let mut measure = cargo();
    measure.args(["run", "--release", "-q", "-p", "backdoors-tests", "--bin", "backdoors-bench-rdma", "--"]);
    succeed(measure.args(&arguments.rest))
}
