//! `backdoors audit`.

use crate::ask::{ask, print, print_json};
use backdoors_monitor_api::{AuditAnswer, AuditRow, Endpoint, Query};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors audit web1
  backdoors audit web1 --last 20 --json")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Only the last so many records.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { target, last, json } = arguments;
    let answer: AuditAnswer = ask(daemon, &Query::Audit { target, last })?;
    if json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(answer: &AuditAnswer) -> String {
    let mut text: String = answer.records.iter().map(line).collect();
    text.push_str(&format!("{} of {} records", answer.records.len(), answer.written));
    if answer.unknown > 0 {
        text.push_str(&format!("; {} more are of another version", answer.unknown));
    }
    if answer.left_out > 0 {
        text.push_str(&format!("; {} refusals got no record", answer.left_out));
    }
    text.push('\n');
    text
}

fn line(row: &AuditRow) -> String {
    let AuditRow { time, slot, order, outcome, reason, vote, .. } = row;
    let vote = if *vote { "votes for " } else { "" };
    let why = if reason.is_empty() { String::new() } else { format!("  [{reason}]") };
    format!("{time}  slot {slot:<2}  {vote}{order}: {outcome}{why}\n")
}
