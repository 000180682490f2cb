//! `cargo xtask package`.

use crate::command::{cargo, succeed, workspace};
use anyhow::{Context, Result};
use backdoors_packages::{Package, Release};
use std::path::PathBuf;

/// What to make.
#[derive(clap::Args)]
pub struct Arguments {
    /// The version that the packages say to be
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
}

/// Builds programs and libraries and makes packages of them, in `target/packages`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let target = target_directory()?;
    let release = ["build", "--release", "--locked"];
    succeed(cargo().args(release).args(["-p", "backdoors-rdma", "--bin", "backdoors-nic"]))?;
    succeed(cargo().args(release).args(["-p", "backdoors-target-agent", "--bin", "backdoors-agent"]))?;
    succeed(cargo().args(release).args(["-p", "backdoors-monitor", "--bin", "backdoors"]))?;
    // Each by itself: along with the agent they would carry what only the agent needs.
    succeed(cargo().args(release).args(["-p", "backdoors-application-sensors", "--lib"]))?;
    succeed(cargo().args(release).args(["-p", "backdoors-sessions", "--lib"]))?;
    let built = target.join("release");
    let release = Release { workspace: workspace(), built: &built, version: &arguments.version };
    for package in Package::ALL {
        let file = package.write(&release, &target.join("packages"))?;
        println!("{}", file.display());
    }
    Ok(())
}

/// Where cargo builds.
fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding the target directory")?;
    // This program is target/PROFILE/xtask.
    own.ancestors().nth(2).map(PathBuf::from).context("this program is in no target directory")
}
