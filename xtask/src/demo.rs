//! `cargo xtask demo`.

use anyhow::Result;

use crate::{
    command::{cargo, succeed},
    setup,
};

/// What to show; everything if nothing is named.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(value_enum)]
    what: Option<What>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// A fork bomb on one host, eradicated by another through its memory
    Healing,
    /// Live sessions of a node that dies, and that go on at another
    Sessions,
}

/// Shows it on hosts of this machine.
pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run(&setup::Arguments::default())?;
    // The demonstration starts programs of other packages, which cargo does not build for it by itself.
    succeed(cargo().args(["build", "--workspace", "--bins", "--lib"]))?;
    let what = arguments.what.map(|what| match what {
        What::Healing => "healing",
        What::Sessions => "sessions",
    });
    let mut show = cargo();
    show.args(["run", "--quiet", "--package", "backdoors-tests", "--bin", "backdoors-demo", "--"]);
    succeed(show.args(what))
}
