//! `backdoors`: the monitor and its command line.

mod ask;
mod audit;
mod boxes;
mod config;
mod daemon;
mod doctor;
mod events;
mod exit;
mod fence;
mod heal;
mod healers;
mod keys;
mod monitor;
mod offers;
mod peers;
mod programs;
mod progress;
mod proposals;
mod ps;
mod record;
mod recover;
mod replay;
mod sensors;
mod support_bundle;
mod table;
mod targets;
mod top;
mod verdicts;

use backdoors_dashboards::units;
use backdoors_manual::{Completions, Man};
use clap::{Parser, Subcommand};
use daemon::Daemon;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  backdoors doctor                                         # what this machine can do
  backdoors monitor --config /etc/backdoors/monitor.toml
  backdoors top                                            # all targets, on a terminal
  backdoors heal web1 --uid 1001 --dry-run
  backdoors targets --json

";

/// Looks after machines through their RDMA NICs, and heals them without the help of their CPUs.
#[derive(Parser)]
#[command(name = "backdoors", version, after_help = EXAMPLES.to_owned() + &exit::help())]
struct Arguments {
    #[command(flatten)]
    daemon: Daemon,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the monitor: connect to the targets, sample, detect, heal, keep the journal.
    Monitor(monitor::Arguments),
    /// Show all targets, and each from near, as they are, and act on them.
    Top(top::Arguments),
    /// List the targets.
    Targets(targets::Arguments),
    /// Show the sensors of a target, as last sampled.
    Sensors(sensors::Arguments),
    /// Show what is said of the layers of targets: path, host, kernel, user space, applications.
    Verdicts(verdicts::Arguments),
    /// List the other monitors, and whether they give a second view.
    Peers(peers::Arguments),
    /// Show the processes of a target, read now.
    Ps(ps::Arguments),
    /// What a target offers to be set or called: variables, and hooks of applications.
    Offers(offers::Arguments),
    /// Show what a target was asked to do and what came of it, by the record in its own memory, read now.
    Audit(audit::Arguments),
    /// Kill processes of a target, or signal, stop or slow them, through its kernel half.
    Heal(heal::Arguments),
    /// List the live sessions of a target's services, and what would become of them now.
    Boxes(boxes::Arguments),
    /// Have the live sessions of a target's services go on here: fence it, rebuild them, take over its addresses.
    Recover(recover::Arguments),
    /// Have a target send nothing from its service addresses any more, or again.
    Fence(fence::Arguments),
    /// List what healers propose.
    Proposals(proposals::Arguments),
    /// Carry a proposal out, if those it would strike are still there.
    Approve(proposals::Approval),
    /// Close a proposal, and have it not made again for a while.
    Reject(proposals::Rejection),
    /// List the healers: what calls them, what they may do, and their settings in force.
    Healers(healers::Arguments),
    /// Show the journal.
    Events(events::Arguments),
    /// Save what the flight recorder has of a target, also when the monitor is dead.
    Record(record::Arguments),
    /// Show a recording as if it were live, and run detector and judge on it again.
    Replay(replay::Arguments),
    /// Check a configuration.
    Config(config::Arguments),
    /// Have the running monitor read its configuration again.
    Reload(config::ReloadArguments),
    /// Make keys.
    Keys(keys::Arguments),
    /// Tell what this machine can do as target, monitor and standby, and what to install or change.
    Doctor(doctor::Arguments),
    /// Put into one file what whoever helps has to know: versions, findings, configuration, the daemon's answers, logs. No keys.
    SupportBundle(support_bundle::Arguments),
    /// Print what a shell needs to complete this program's command lines.
    #[command(after_help = "Examples:\n  backdoors completions bash")]
    Completions(Completions),
    /// Write manual pages into a folder: one for the program, and one for each of its subcommands.
    #[command(hide = true, after_help = "Examples:\n  backdoors man /tmp/pages")]
    Man(Man),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::with_usage(&error),
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => exit::with(&error),
    }
}

fn run(Arguments { daemon, command }: Arguments) -> anyhow::Result<ExitCode> {
    let daemon = || daemon.endpoint();
    match command {
        Command::Monitor(arguments) => monitor::run(&arguments),
        Command::Top(arguments) => top::run(&daemon()?, &arguments),
        Command::Targets(arguments) => targets::run(&daemon()?, &arguments),
        Command::Sensors(arguments) => sensors::run(&daemon()?, &arguments),
        Command::Verdicts(arguments) => verdicts::run(&daemon()?, &arguments),
        Command::Peers(arguments) => peers::run(&daemon()?, &arguments),
        Command::Ps(arguments) => ps::run(&daemon()?, &arguments),
        Command::Offers(arguments) => offers::run(&daemon()?, &arguments),
        Command::Audit(arguments) => audit::run(&daemon()?, arguments),
        Command::Heal(arguments) => heal::run(&daemon()?, arguments),
        Command::Boxes(arguments) => boxes::run(&daemon()?, &arguments),
        Command::Recover(arguments) => recover::run(&daemon()?, arguments),
        Command::Fence(arguments) => fence::run(&daemon()?, arguments),
        Command::Proposals(arguments) => proposals::run(&daemon()?, arguments),
        Command::Approve(arguments) => proposals::approve(&daemon()?, arguments),
        Command::Reject(arguments) => proposals::reject(&daemon()?, arguments),
        Command::Healers(arguments) => healers::run(&daemon()?, &arguments),
        Command::Events(arguments) => events::run(&daemon()?, arguments),
        Command::Record(arguments) => record::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Reload(arguments) => config::reload(&daemon()?, &arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::SupportBundle(arguments) => support_bundle::run(daemon(), &arguments),
        Command::Completions(arguments) => Ok(arguments.print::<Arguments>().map(|()| ExitCode::SUCCESS)?),
        Command::Man(arguments) => Ok(arguments.write::<Arguments>().map(|()| ExitCode::SUCCESS)?),
    }
}

/// Whoever read our output has read enough, as in `backdoors ps web1 | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Commands that draw on a terminal, or whose output has a form of its own.
    const WITHOUT_JSON: [&str; 4] =
        ["backdoors top", "backdoors config schema", "backdoors completions", "backdoors man"];

    /// Commands that have none below them, each with its full name.
    fn leaves(above: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
        let name = format!("{above}{}", command.get_name());
        let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        if below.is_empty() {
            return vec![(name, command.clone())];
        }
        below.into_iter().flat_map(|below| leaves(&format!("{name} "), below)).collect()
    }

    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, examples)) = help.split_once("Examples:\n") else { return Vec::new() };
        let lines = examples.lines().take_while(|line| line.starts_with("  "));
        lines.map(|line| line.split("  #").next().unwrap_or_default().trim().to_owned()).collect()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_are_right() {
        let mut all = leaves("", &Arguments::command());
        all.push(("backdoors".to_owned(), Arguments::command()));
        for (name, command) in all {
            let examples = examples(&command);
            assert!(!examples.is_empty(), "`{name}` has no examples");
            for example in examples {
                assert!(example.starts_with(&name), "`{example}` is no example of `{name}`");
                if let Err(error) = Arguments::try_parse_from(example.split_whitespace()) {
                    panic!("`{example}` is wrong: {error}");
                }
            }
        }
    }

    #[test]
    fn every_command_that_prints_something_prints_json_too() {
        for (name, command) in leaves("", &Arguments::command()) {
            let has = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            assert_eq!(has, !WITHOUT_JSON.contains(&&*name), "`{name} --json`");
        }
    }
}
