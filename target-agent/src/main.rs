//! The program `backdoors-agent`.

use anyhow::Context;
use backdoors_manual::{Completions, Man};
use backdoors_target_agent::config::{self, Config};
use backdoors_target_agent::kernel::{self, Pins};
use backdoors_target_agent::{audit, check, helper, run};
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Lets monitors sense and heal this machine through its memory.
#[derive(Parser)]
#[command(name = "backdoors-agent", version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
    /// Least weight of what is logged: error, warn, info, debug or trace.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    log: tracing::Level,
}

#[derive(Subcommand)]
enum Action {
    /// Be a target until told to stop.
    #[command(after_help = "\
Examples:
  backdoors-agent run --config /etc/backdoors/agent.toml")]
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Remove the kernel half that a killed agent left.
    #[command(after_help = "\
Examples:
  backdoors-agent detach --config /etc/backdoors/agent.toml")]
    Detach {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Lift the fences that monitors set: this machine sends again from its service addresses.
    #[command(after_help = "\
Examples:
  backdoors-agent unfence --config /etc/backdoors/agent.toml")]
    Unfence {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say which fences hold. Exits with 2 if one does, or if that cannot be told.
    #[command(after_help = "\
Examples:
  backdoors-agent fences --config /etc/backdoors/agent.toml")]
    Fences {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show what this machine was asked to do, by whom and why, and what came of it.
    #[command(after_help = "\
Examples:
  backdoors-agent audit --config /etc/backdoors/agent.toml
  backdoors-agent audit --config /etc/backdoors/agent.toml --last 20 --json")]
    Audit {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only the last so many records.
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say what this machine can do.
    #[command(after_help = "\
Examples:
  backdoors-agent check
  backdoors-agent check --json")]
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the schema of the configuration file, JSON Schema.
    #[command(after_help = "\
Examples:
  backdoors-agent schema")]
    Schema,
    /// Print what a shell needs to complete this program's command lines.
    #[command(after_help = "\
Examples:
  backdoors-agent completions bash")]
    Completions(Completions),
    /// Write manual pages into a folder: one for the program, and one for each of its subcommands.
    #[command(hide = true)]
    Man(Man),
    /// Kill on behalf of the kernel half; started by the agent.
    #[command(hide = true)]
    Helper {
        /// Where the kernel half is.
        #[arg(long, value_name = "FOLDER")]
        pins: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(arguments.log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match arguments.action {
        Action::Run { config } => run::run(&config)?,
        Action::Detach { config } => kernel::remove(&Pins::new(&Config::load(&config)?.pins))?,
        Action::Unfence { config, json } => {
            let held = kernel::unfence(&Pins::new(&Config::load(&config)?.pins))?;
            let said = if json {
                serde_json::json!({ "lifted_slots": held.0 }).to_string()
            } else if held.0.is_empty() {
                "no fence held".into()
            } else {
                format!("lifted the fence of {held}")
            };
            writeln!(std::io::stdout(), "{said}").context("printing")?;
        }
        Action::Fences { config } => return tell_fences(&Pins::new(&Config::load(&config)?.pins)),
        Action::Audit { config, last, json } => {
            let report = audit::report(&Pins::new(&Config::load(&config)?.pins), last)?;
            let text = if json { serde_json::to_string_pretty(&report)? + "\n" } else { report.to_string() };
            std::io::stdout().write_all(text.as_bytes()).context("printing")?;
        }
        Action::Check { json } => {
            let abilities = check::abilities();
            let text = if json {
                serde_json::to_string_pretty(&abilities)? + "\n"
            } else {
                check::report(&abilities)
            };
            std::io::stdout().write_all(text.as_bytes()).context("printing")?;
        }
        Action::Schema => {
            let schema = serde_json::to_string_pretty(&config::schema())?;
            writeln!(std::io::stdout(), "{schema}").context("printing")?;
        }
        Action::Completions(completions) => completions.print::<Arguments>().context("printing")?,
        Action::Man(man) => man.write::<Arguments>().context("cannot write manual pages")?,
        Action::Helper { pins } => helper::run(&pins).context("helping the kernel half")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// For whoever is about to install another version or none.
fn tell_fences(pins: &Pins) -> anyhow::Result<ExitCode> {
    let (said, code) = match kernel::held(pins) {
        Ok(held) if held.0.is_empty() => ("no fence holds".into(), ExitCode::SUCCESS),
        Ok(held) => (format!("a fence holds: {held}"), ExitCode::from(2)),
        Err(error) => (format!("whether a fence holds cannot be told: {error}"), ExitCode::from(2)),
    };
    writeln!(std::io::stdout(), "{said}").context("printing")?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_examples_that_are_right() {
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let (name, begins) = (command.get_name(), format!("backdoors-agent {}", command.get_name()));
            assert!(help.starts_with("Examples:\n"), "`{name}` has no examples");
            for example in help.lines().skip(1) {
                assert!(example.trim().starts_with(&begins), "`{example}` is no example of `{name}`");
                if let Err(error) = Arguments::try_parse_from(example.split_whitespace()) {
                    panic!("`{example}` is wrong: {error}");
                }
            }
        }
    }
}
