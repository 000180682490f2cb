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
    /// Watch the healing live in the dashboard, `backdoors top`, which ends with the key q
    #[arg(long, conflicts_with = "what")]
    top: bool,
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
    let what = match arguments.what {
        None if arguments.top => Some("top"),
        None => None,
        Some(What::Healing) => Some("healing"),
        Some(What::Sessions) => Some("sessions"),
    };
    let mut show = cargo();
    show.args(["run", "--quiet", "--package", "backdoors-tests", "--bin", "backdoors-demo", "--"]);
    succeed(show.args(what))
}
