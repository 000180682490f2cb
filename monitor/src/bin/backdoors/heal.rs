//! `backdoors heal`.

use crate::ask::{NOT_DONE, REFUSED, UNREACHABLE, ask, print, print_json};
use crate::ps::{by_pid, list};
use crate::units::time;
use backdoors_monitor::api::{HealAnswer, HealOutcome, HealSubject, Query};
use std::path::Path;
use std::process::ExitCode;

/// Processes that are shown to people; JSON has more.
const SHOWN: usize = 20;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the target.
    target: String,
    #[command(flatten)]
    subject: Subject,
    /// Let the target check and count, and kill nobody.
    #[arg(long)]
    dry_run: bool,
    /// Kill at most so many processes.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    most: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// Kill all processes of this user of the target: a number, or a name that the configuration gives.
    #[arg(long, value_name = "USER")]
    uid: Option<String>,
    /// Kill this process.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Kill this process and all its descendants.
    #[arg(long, value_name = "PID")]
    tree: Option<u32>,
}

pub fn run(socket: &Path, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let subject = match arguments.subject {
        Subject { uid: Some(user), .. } => HealSubject::User(user),
        Subject { pid: Some(pid), .. } => HealSubject::Process(pid),
        Subject { tree: Some(pid), .. } => HealSubject::Tree(pid),
        // The group is required.
        Subject { .. } => return Ok(crate::ask::USAGE.into()),
    };
    let query = Query::Heal {
        target: arguments.target,
        subject,
        dry_run: arguments.dry_run,
        most_victims: arguments.most,
    };
    let answer: HealAnswer = ask(socket, &query)?;
    if arguments.json {
        print_json(&answer)?;
    } else {
        print(&show(&answer))?;
    }
    Ok(match answer.outcome {
        HealOutcome::Done | HealOutcome::Voted => ExitCode::SUCCESS,
        HealOutcome::Refused => ExitCode::from(REFUSED),
        HealOutcome::Unreachable => ExitCode::from(UNREACHABLE),
        HealOutcome::GaveUp | HealOutcome::TimedOut | HealOutcome::Unknown => ExitCode::from(NOT_DONE),
    })
}

fn show(answer: &HealAnswer) -> String {
    let what = format!("{}: {} {}", answer.target, answer.opcode, answer.subject);
    let mut text = match (answer.outcome, answer.dry_run) {
        (HealOutcome::Done, true) => format!("{what}: dry run, nobody was killed\n"),
        (HealOutcome::Done, false) => format!("{what}: done in {}\n", time(answer.took_ns)),
        _ => format!("{what}: {}\n", answer.reason.as_deref().unwrap_or("not done")),
    };
    if let Some(end) = &answer.end {
        text.push_str(&format!(
            "command {}: {} matched, {} signalled, {} remaining, {} sweeps\n",
            end.sequence, end.matched, end.signalled, end.remaining, end.sweeps
        ));
        if let Some(first) = end.first_signal_after_ns {
            text.push_str(&format!("first signal {} after acceptance", time(first)));
            if let Some(last) = end.last_death_after_ns {
                text.push_str(&format!(", last death {} after acceptance", time(last)));
            }
            text.push('\n');
        }
    }
    if answer.dry_run && answer.outcome == HealOutcome::Done {
        let first: Vec<_> = by_pid(&answer.processes).into_iter().take(SHOWN).collect();
        if first.is_empty() {
            text.push_str("nothing in the process table matches\n");
        } else {
            text.push_str(&format!("would be killed, of {} in the process table:\n", answer.matching));
            let now = answer.clock_ns;
            text.push_str(&list(&first, now));
            if answer.matching > first.len() {
                text.push_str(&format!("and {} more\n", answer.matching - first.len()));
            }
        }
    }
    text
}
