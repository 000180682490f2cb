//! `backdoors heal`.

use crate::ask::{NOT_DONE, REFUSED, UNREACHABLE, ask, print, print_json};
use crate::ps::{by_pid, list};
use crate::units::time;
use backdoors_monitor::api::{CommandAnswer, HealAnswer, HealOutcome, HealSubject, Query};
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
    Ok(exit_code(&answer))
}

/// The exit code that an answer calls for.
pub fn exit_code(answer: &HealAnswer) -> ExitCode {
    match answer.telling.outcome {
        HealOutcome::Done | HealOutcome::Voted => ExitCode::SUCCESS,
        HealOutcome::Refused => ExitCode::from(REFUSED),
        HealOutcome::Unreachable => ExitCode::from(UNREACHABLE),
        HealOutcome::GaveUp | HealOutcome::TimedOut | HealOutcome::Unknown => ExitCode::from(NOT_DONE),
    }
}

/// The answer for people.
pub fn show(answer: &HealAnswer) -> String {
    let mut text: String = answer.commands.iter().map(|command| show_command(answer, command)).collect();
    if answer.asked > 1 {
        text.push_str(&format!("{} of {} commands were begun\n", answer.commands.len(), answer.asked));
    }
    if answer.dry_run && answer.telling.outcome == HealOutcome::Done {
        text.push_str(&show_matching(answer));
    }
    text
}

fn show_command(answer: &HealAnswer, command: &CommandAnswer) -> String {
    let what = format!("{}: {} {}", answer.target, command.opcode, command.subject);
    let mut text = match (command.outcome, answer.dry_run) {
        (HealOutcome::Done, true) => format!("{what}: dry run, nobody was killed\n"),
        (HealOutcome::Done, false) => format!("{what}: done in {}\n", time(took(answer, command))),
        _ => format!("{what}: {}\n", command.reason.as_deref().unwrap_or("not done")),
    };
    if let Some(end) = &command.end {
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
    text
}

/// A command's own time, if the target told any.
fn took(answer: &HealAnswer, command: &CommandAnswer) -> u64 {
    command.end.as_ref().map_or(answer.took_ns, |end| end.took_ns)
}

fn show_matching(answer: &HealAnswer) -> String {
    let first: Vec<_> = by_pid(&answer.processes).into_iter().take(SHOWN).collect();
    if first.is_empty() {
        return "nothing in the process table matches\n".to_owned();
    }
    let mut text = format!("would be killed, of {} in the process table:\n", answer.matching);
    text.push_str(&list(&first, answer.clock_ns));
    if answer.matching > first.len() {
        text.push_str(&format!("and {} more\n", answer.matching - first.len()));
    }
    text
}
