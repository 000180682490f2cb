//! `backdoors targets`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::time;
use backdoors_monitor_api::{Endpoint, Query, TargetSummary};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors targets
  backdoors targets --json
  backdoors targets --remote 10.0.0.7:7804 --trust watch1.crt --identity keys/me  # the monitor of another machine")]
pub struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let targets: Vec<TargetSummary> = ask(daemon, &Query::Targets {})?;
    if arguments.json {
        print_json(&targets)?;
    } else {
        print(&show(&targets))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(targets: &[TargetSummary]) -> String {
    let columns = [
        ("TARGET", Align::Left),
        ("STATE", Align::Left),
        ("VERDICT", Align::Left),
        ("LEASE", Align::Left),
        ("AGE", Align::Right),
        ("PERIOD", Align::Right),
        ("LINKS", Align::Right),
        ("SAMPLES", Align::Right),
        ("FAILED", Align::Right),
        ("CAPABILITIES", Align::Left),
        ("EXCEPTIONAL", Align::Left),
    ];
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            vec![
                target.name.clone(),
                target.reach.name().to_owned(),
                target.verdict.clone(),
                match (target.holds_lease, target.lease_holder) {
                    (true, _) => "held".to_owned(),
                    (false, Some(slot)) => format!("slot {slot}"),
                    (false, None) => "-".to_owned(),
                },
                target.age_ns.map_or("-".to_owned(), time),
                time(target.period_ns),
                target.connections.to_string(),
                target.samples.to_string(),
                target.failures.to_string(),
                or_dash(target.capabilities.join(",")),
                or_dash(target.exceeded.join(",")),
            ]
        })
        .collect();
    let mut text = table(&columns, &rows);
    for target in targets {
        if let Some(problem) = &target.problem {
            text.push_str(&format!("{}: {problem}\n", target.name));
        }
    }
    text
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}
