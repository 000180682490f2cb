//! `cargo xtask demo`.

use anyhow::Result;

use crate::{
    command::{cargo, succeed},
    setup,
};

/// Shows the main job on two hosts of this machine.
pub fn run() -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    // The demonstration starts programs of other packages, which cargo does not build for it by itself.
    succeed(cargo().args(["build", "--workspace", "--bins"]))?;
    succeed(cargo().args(["run", "--quiet", "--package", "backdoors-tests", "--bin", "backdoors-demo"]))
}
