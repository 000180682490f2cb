//! `backdoors verdicts`.

use crate::ask::{ask, print, print_json};
use crate::table::{Align, table};
use crate::units::time;
use backdoors_monitor_api::{Endpoint, Query, VerdictRow, VerdictsAnswer};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors verdicts
  backdoors verdicts web1 --json")]
pub struct Arguments {
    /// Name of the target; all if absent.
    target: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let answers: Vec<VerdictsAnswer> = ask(daemon, &Query::Verdicts { target: arguments.target.clone() })?;
    if arguments.json {
        print_json(&answers)?;
    } else {
        let texts: Vec<String> = answers.iter().map(show).collect();
        print(&texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &VerdictsAnswer) -> String {
    let mut text = format!("{}: {}\n", answer.target, answer.overall);
    let lateness = &answer.lateness;
    if lateness.multiplier > 1.0 {
        text.push_str(&format!(
            "this monitor is late (at most {} of late): deadlines count {} times{}\n",
            time(lateness.worst_ns),
            lateness.multiplier,
            if lateness.overloaded { ", and nobody is accused" } else { "" }
        ));
    }
    text.push_str(&verdict_table(&answer.layers));
    text
}

/// Verdicts, a line each.
pub fn verdict_table(verdicts: &[VerdictRow]) -> String {
    let columns = [
        ("LAYER", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Right),
        ("SURE", Align::Right),
        ("EVIDENCE", Align::Left),
    ];
    let rows: Vec<Vec<String>> = verdicts.iter().map(row).collect();
    table(&columns, &rows)
}

fn row(verdict: &VerdictRow) -> Vec<String> {
    let layer = match &verdict.subject {
        Some(name) => format!("{} {name}", verdict.layer),
        None => verdict.layer.to_string(),
    };
    vec![
        layer,
        verdict.state.to_string(),
        time(verdict.since_ms.saturating_mul(1_000_000)),
        format!("{:.0} %", verdict.confidence * 100.0),
        verdict.evidence.join("; "),
    ]
}
