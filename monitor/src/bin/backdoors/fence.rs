//! `backdoors fence`.

use crate::ask::{ask, print, print_json};
use backdoors_monitor_api::{Endpoint, FenceAnswer, FenceDeed, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors fence web1 --dry-run  # whether it would hold
  backdoors fence web1            # from now on it sends nothing from its service addresses
  backdoors fence web1 --lift")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Lift it, as far as this monitor set it.
    #[arg(long)]
    lift: bool,
    /// Only tell how it is, and whether it would hold.
    #[arg(long, conflicts_with = "lift")]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { target, lift, dry_run, json } = arguments;
    let deed = match (lift, dry_run) {
        (true, _) => FenceDeed::Lift,
        (_, true) => FenceDeed::Look,
        _ => FenceDeed::Set,
    };
    let answer: FenceAnswer = ask(daemon, &Query::Fence { target, deed })?;
    if json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &FenceAnswer) -> String {
    let FenceAnswer { target, by_this, by_another, addresses, withheld, would_not_hold } = answer;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let addresses = addresses.join(", ");
    let mut text = match (by_this, by_another) {
        (true, false) => format!("{target} is fenced: it sends nothing from {addresses}\n"),
        (true, true) => {
            format!("{target} is fenced, also by another monitor: it sends nothing from {addresses}\n")
        }
        (false, true) => {
            format!("{target} is fenced by another monitor: it sends nothing from {addresses}\n")
        }
        (false, false) => format!("{target} is not fenced\n"),
    };
    match would_not_hold {
        Some(reason) => text.push_str(&format!("a fence of this monitor would not hold: {reason}\n")),
        None if !answer.is_fenced() => text.push_str(&format!("a fence would hold, for {addresses}\n")),
        None => {}
    }
    text.push_str(&format!("{withheld} packets were withheld so far\n"));
    text
}
