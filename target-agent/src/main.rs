//! The program `backdoors-agent`.

use anyhow::Context;
use backdoors_target_agent::config::Config;
use backdoors_target_agent::kernel::{self, Pins};
use backdoors_target_agent::{audit, check, helper, run};
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

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
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Remove the kernel half that a killed agent left.
    Detach {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Lift the fences that monitors set: this machine sends again from its service addresses.
    Unfence {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Show what this machine was asked to do, by whom and why, and what came of it.
    Audit {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only the last so many records.
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
    /// Say what this machine can do.
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Kill on behalf of the kernel half; started by the agent.
    #[command(hide = true)]
    Helper {
        /// Where the kernel half is.
        #[arg(long, value_name = "FOLDER")]
        pins: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_max_level(arguments.log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match arguments.action {
        Action::Run { config } => run::run(&config)?,
        Action::Detach { config } => kernel::remove(&Pins::new(&Config::load(&config)?.pins))?,
        Action::Unfence { config } => {
            let held = kernel::unfence(&Pins::new(&Config::load(&config)?.pins))?;
            let said = if held.0.is_empty() {
                "no fence held".into()
            } else {
                format!("lifted the fence of {held}")
            };
            writeln!(std::io::stdout(), "{said}").context("printing")?;
        }
        Action::Audit { config, last } => {
            let report = audit::report(&Pins::new(&Config::load(&config)?.pins), last)?;
            std::io::stdout().write_all(report.as_bytes()).context("printing")?;
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
        Action::Helper { pins } => helper::run(&pins).context("helping the kernel half")?,
    }
    Ok(())
}
