//! `backdoors recover`.

use crate::ask::{ask, print, print_json};
use crate::exit::NOT_DONE;
use crate::units::time;
use backdoors_monitor_api::recovery::{Fate, Outcome};
use backdoors_monitor_api::{Endpoint, Query, Report};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors recover web1 --dry-run  # which sessions could go on here
  backdoors recover web1")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Only tell which sessions could go on here, and why others could not.
    #[arg(long)]
    dry_run: bool,
    /// Go on though the target cannot be fenced. Only if it is known to be dead, or cut off by other means: otherwise two
    /// machines may answer as the same service.
    #[arg(long, conflicts_with = "dry_run")]
    without_fence: bool,
    /// Go on though another monitor has fenced the target, and may have taken its services over. Only if it is known that it told
    /// nobody of their addresses: otherwise two machines may answer as the same service.
    #[arg(long, conflicts_with = "dry_run")]
    after_another: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { target, dry_run, without_fence, after_another, json } = arguments;
    let report: Report = ask(daemon, &Query::Recover { target, dry_run, without_fence, after_another })?;
    if json {
        print_json(&report)?;
    } else {
        print(&show(&report))?;
    }
    let is_done = report.outcome == Outcome::Done && report.lost() == 0;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(NOT_DONE) })
}

/// Lost sessions first seen are all told: nobody else tells them.
fn show(report: &Report) -> String {
    let mut text = String::new();
    for mark in &report.marks {
        let after = u64::try_from(mark.after.as_nanos()).unwrap_or(u64::MAX);
        text.push_str(&format!("{:<14} {:>10}\n", mark.phase, time(after)));
    }
    for session in &report.sessions {
        if let Fate::Lost(reason) = &session.fate {
            text.push_str(&format!("lost: {} -> {}: {reason}\n", session.remote, session.local));
        }
    }
    for reason in &report.unreadable {
        text.push_str(&format!("lost: a session whose record cannot be read: {reason}\n"));
    }
    for note in &report.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text.push_str(&match (&report.outcome, report.dry_run) {
        (Outcome::Failed(reason), _) => format!("nothing was taken over: {reason}\n"),
        (Outcome::Done, true) => {
            format!("{} of {} sessions could go on here\n", report.all() - report.lost(), report.all())
        }
        (Outcome::Done, false) => report.going_on() + "\n",
    });
    text
}
