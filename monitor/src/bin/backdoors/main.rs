//! `backdoors`: the monitor and its command line.

mod ask;
mod audit;
mod boxes;
mod config;
mod daemon;
mod doctor;
mod events;
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
use clap::{Parser, Subcommand};
use daemon::Daemon;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Exit codes:
  0   done
  1   it failed: no monitor is running, no such target, bad configuration, ...
  2   the target or the guard refused the command, or another monitor acts on it; a configuration that was checked is bad
  3   the target cannot be reached
  4   the target gave up, did not end in time, or nobody knows
  64  the command line is wrong";

/// Looks after machines through their RDMA NICs, and heals them without the help of their CPUs.
#[derive(Parser)]
#[command(name = "backdoors", version, after_help = AFTER_HELP)]
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
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Also help and version come this way. If they cannot be printed there is nobody to tell.
            drop(message.print());
            return if message.use_stderr() { ask::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backdoors: {error:#}");
            ask::exit_code(&error)
        }
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

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
