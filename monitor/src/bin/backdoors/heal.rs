//! `backdoors heal`.

use crate::ask::{ask, print, print_json};
use crate::exit::{NOT_DONE, REFUSED, UNREACHABLE};
use crate::ps::{by_pid, list};
use crate::units::time;
use backdoors_healers::duration;
use backdoors_monitor::config::LONGEST_GRACE;
use backdoors_monitor_api::{
    CommandAnswer, Deed as Kind, Endpoint, HealAnswer, HealDeed, HealOutcome, HealSubject, Query,
};
use std::process::ExitCode;
use std::time::Duration;

/// Processes that are shown to people; JSON has more.
const SHOWN: usize = 20;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors heal web1 --uid 1001 --dry-run               # who would be killed
  backdoors heal web1 --cgroup batch.service --grace 2s  # SIGTERM first
  backdoors heal web1 --pid 4711 --signal USR1
  backdoors heal web1 --cgroup batch.service --freeze
  backdoors heal web1 --uid 1001 --refuse-forks 10s
  backdoors heal web1 --set vm.min_free_kbytes 65536     # see `backdoors offers web1`
  backdoors heal web1 --call shop shed-load 40")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    #[command(flatten)]
    subject: Subject,
    #[command(flatten)]
    deed: Deed,
    /// Send those who are to be killed SIGTERM first, and kill who is left after that time, such as 2s.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration::parse,
        conflicts_with_all = ["Deed", "set", "call", "dry_run"],
    )]
    grace: Option<Duration>,
    /// Let the target check and count, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Strike at most so many processes.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    most: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Subject {
    /// All processes of this user of the target: a number, or a name that the configuration gives.
    #[arg(long, value_name = "USER")]
    uid: Option<String>,
    /// This process.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// This process and all its descendants.
    #[arg(long, value_name = "PID")]
    tree: Option<u32>,
    /// All processes of this control group: its id, or its name as `backdoors ps` shows it.
    #[arg(long, value_name = "GROUP")]
    cgroup: Option<String>,
    /// Write a variable that the target offers.
    #[arg(long, num_args = 2, value_names = ["NAME", "VALUE"], conflicts_with = "Deed")]
    set: Option<Vec<String>>,
    /// Call a hook of an application, with a word or 0.
    #[arg(long, num_args = 2..=3, value_names = ["APPLICATION", "HOOK", "WORD"], conflicts_with = "Deed")]
    call: Option<Vec<String>>,
}

/// What to do if it is not to kill.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Deed {
    /// Do not kill, but send this signal: HUP, INT, QUIT, ABRT, USR1, USR2, TERM, CONT or STOP.
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Do not kill, but stop (SIGSTOP).
    #[arg(long)]
    stop: bool,
    /// Have those who are stopped go on (SIGCONT).
    #[arg(long = "continue")]
    go_on: bool,
    /// Do not kill, but stop the control group, with all below it and whatever it will start.
    #[arg(long, conflicts_with_all = ["uid", "pid", "tree"])]
    freeze: bool,
    /// Have the frozen control group go on.
    #[arg(long, conflicts_with_all = ["uid", "pid", "tree"])]
    thaw: bool,
    /// Do not kill, but give the process this nice value, 0 to 19.
    #[arg(long, value_name = "N", conflicts_with_all = ["uid", "tree", "cgroup"])]
    nice: Option<u64>,
    /// Do not kill, but have forks of the user fail for that long, such as 10s; 0s: no longer.
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["pid", "tree", "cgroup"], value_parser = duration::parse)]
    refuse_forks: Option<Duration>,
}

impl Subject {
    /// Whom or what it is about, and what is handed to it if it is no process; or what is wrong.
    fn named(self) -> anyhow::Result<(HealSubject, Option<u64>)> {
        Ok(match self {
            Subject { uid: Some(user), .. } => (HealSubject::User(user), None),
            Subject { pid: Some(pid), .. } => (HealSubject::Process(pid), None),
            Subject { tree: Some(pid), .. } => (HealSubject::Tree(pid), None),
            Subject { cgroup: Some(group), .. } => (HealSubject::Cgroup(group), None),
            Subject { set: Some(words), .. } => match <[String; 2]>::try_from(words) {
                Ok([name, value]) => (HealSubject::Variable(name), Some(number(&value)?)),
                Err(_) => anyhow::bail!("`--set` takes a name and a value: `backdoors offers` lists them"),
            },
            Subject { call: Some(words), .. } => {
                let mut words = words.into_iter();
                let (Some(application), Some(hook)) = (words.next(), words.next()) else {
                    anyhow::bail!(
                        "`--call` takes an application, a hook, and perhaps a word: `backdoors offers` lists them"
                    );
                };
                let word = words.next().map_or(Ok(0), |word| number(&word))?;
                (HealSubject::Hook { application, hook }, Some(word))
            }
            Subject { .. } => anyhow::bail!(
                "name whom or what it is about: --uid, --pid, --tree, --cgroup, --set or --call"
            ),
        })
    }
}

/// A value or a word.
fn number(text: &str) -> anyhow::Result<u64> {
    text.parse().map_err(|_| anyhow::anyhow!("`{text}` is no number: write 0 to {}", u64::MAX))
}

impl Deed {
    fn named(self, handed: Option<u64>) -> HealDeed {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(handed) = handed {
            return HealDeed::Hand(handed);
        }
        match self {
            Deed { signal: Some(name), .. } => HealDeed::Signal(name),
            Deed { stop: true, .. } => HealDeed::Signal("STOP".to_owned()),
            Deed { go_on: true, .. } => HealDeed::Signal("CONT".to_owned()),
            Deed { freeze: true, .. } => HealDeed::Freeze,
            Deed { thaw: true, .. } => HealDeed::Thaw,
            Deed { nice: Some(nice), .. } => HealDeed::Nice(nice),
            Deed { refuse_forks: Some(time), .. } => HealDeed::RefuseForks(nanoseconds(time)),
            Deed { .. } => HealDeed::Kill,
        }
    }
}

pub fn run(daemon: &Endpoint, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let grace = arguments.grace.unwrap_or_default();
    if grace > LONGEST_GRACE {
        anyhow::bail!("`--grace` is {} at most; give less", duration::text(LONGEST_GRACE));
    }
    let (subject, handed) = arguments.subject.named()?;
    let query = Query::Heal {
        target: arguments.target,
        subject,
        deed: arguments.deed.named(handed),
        grace_ns: u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX),
        dry_run: arguments.dry_run,
        most_victims: arguments.most,
    };
    let answer: HealAnswer = ask(daemon, &query)?;
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
    text.push_str(&show_grace(answer));
    if let Some(reason) = &answer.withheld {
        text.push_str(&format!("the rest is withheld: {reason}\n"));
    }
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
        (HealOutcome::Done, true) if command.deed == Kind::Kill => {
            format!("{what}: dry run, nobody was killed\n")
        }
        (HealOutcome::Done, true) => format!("{what}: dry run, nothing was done\n"),
        (HealOutcome::Done, false) if command.reason.is_none() => {
            format!("{what}: done in {}\n", time(took(answer, command)))
        }
        _ => format!("{what}: {}\n", command.reason.as_deref().unwrap_or("not done")),
    };
    if let Some(end) = command.end.as_ref().filter(|_| command.deed != Kind::Other) {
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

fn show_grace(answer: &HealAnswer) -> String {
    let Some(grace) = answer.grace else { return String::new() };
    let left = match grace.left {
        Some(0) => "nobody was left to be killed".to_owned(),
        Some(left) => format!("{left} were left to be killed"),
        None => "nobody knows how many were left".to_owned(),
    };
    format!("{left} after {} of grace\n", time(grace.took_ns))
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
    let would = match answer.telling.deed {
        Kind::Kill => "would be killed",
        Kind::Signal => "would get the signal",
        Kind::Other => "are meant",
    };
    let mut text = format!("{would}, of {} in the process table:\n", answer.matching);
    text.push_str(&list(&first, answer.clock_ns));
    if answer.matching > first.len() {
        text.push_str(&format!("and {} more\n", answer.matching - first.len()));
    }
    text
}
