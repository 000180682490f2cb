//! `backdoors config` and `backdoors reload`.

use crate::ask::{REFUSED, ask, print, print_json};
use backdoors_monitor::config::{Config, ConfigError};
use backdoors_monitor_api::{Endpoint, Query, ReloadAnswer};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `backdoors config`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Tell what is wrong with a monitor's configuration: a line for each problem, with file, line, column and remedy.
    Check {
        /// Configuration file, TOML.
        file: PathBuf,
    },
}

/// Arguments of `backdoors reload`.
#[derive(clap::Args)]
pub struct ReloadArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Command::Check { file } = &arguments.command;
    match Config::load(file) {
        Ok(config) => {
            let healers: usize = config.targets.iter().map(|target| target.healers.len()).sum();
            let targets = config.targets.len();
            print(&format!("{}: good, {targets} targets, {healers} healers\n", file.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ConfigError::Bad(bad)) => {
            print(&format!("{bad}\n"))?;
            Ok(ExitCode::from(REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

pub fn reload(daemon: &Endpoint, arguments: &ReloadArguments) -> anyhow::Result<ExitCode> {
    let answer: ReloadAnswer = ask(daemon, &Query::Reload {})?;
    if arguments.json {
        print_json(&answer)?;
    } else {
        let mut text = match answer.targets.as_slice() {
            [] => "no target is reconfigured\n".to_owned(),
            targets => format!("limits, rules, healers and users are renewed: {}\n", targets.join(", ")),
        };
        for what in &answer.restart {
            text.push_str(&format!("in force after a restart only: {what}\n"));
        }
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
