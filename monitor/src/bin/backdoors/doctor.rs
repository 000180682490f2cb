//! `backdoors doctor`: what this machine can do, and what to install or change so that it can do more.

mod agent;
mod facts;
mod kernel;
mod limits;
mod network;
mod rdma;
mod report;

use crate::ask::{print, print_json};
use crate::exit::REFUSED;
use crate::progress::Waiting;
use facts::Facts;
pub use report::Report;
use report::Role;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors doctor
  backdoors doctor --role standby  # exits with 2 if it cannot be one
  backdoors doctor --json")]
pub struct Arguments {
    /// Only what this role needs. It is what the exit code goes by, too.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What this machine can do as anything.
pub fn examine() -> Report {
    Report::of(&Facts::gather(), None)
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let waiting = Waiting::begin("this machine is being looked at", arguments.json);
    let report = Report::of(&Facts::gather(), arguments.role);
    drop(waiting);
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report.text())?;
    }
    Ok(if report.can_any() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}
