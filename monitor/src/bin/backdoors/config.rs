//! `backdoors config` and `backdoors reload`.

use crate::ask::{ask, print, print_json};
use crate::exit::REFUSED;
use backdoors_monitor::config::{Config, ConfigError, Problem, schema};
use backdoors_monitor_api::{Endpoint, Query, ReloadAnswer};
use serde::Serialize;
use std::path::{Path, PathBuf};
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
    #[command(after_help = "\
Examples:
  backdoors config check /etc/backdoors/monitor.toml
  backdoors config check monitor.toml --json")]
    Check {
        /// Configuration file, TOML.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the schema of a monitor's configuration, JSON Schema.
    #[command(after_help = "Examples:\n  backdoors config schema")]
    Schema,
}

/// Arguments of `backdoors reload`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors reload
  backdoors reload --json")]
pub struct ReloadArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Check { file, json } => check(file, *json),
        Command::Schema => print_json(&schema()).map(|()| ExitCode::SUCCESS),
    }
}

/// What is said of a configuration.
#[derive(Serialize)]
struct Checked<'a> {
    file: &'a Path,
    good: bool,
    targets: usize,
    healers: usize,
    problems: &'a [Problem],
}

/// Tells whether a configuration is good.
pub fn check(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (text, checked) = match Config::load(file) {
        Ok(config) => {
            let healers: usize = config.targets.iter().map(|target| target.healers.len()).sum();
            let targets = config.targets.len();
            let text = format!("{}: good, {targets} targets, {healers} healers\n", file.display());
            (text, Checked { file, good: true, targets, healers, problems: &[] })
        }
        Err(ConfigError::Bad(bad)) => {
            let checked = Checked { file, good: false, targets: 0, healers: 0, problems: &bad.problems };
            return tell(&format!("{bad}\n"), &checked, json);
        }
        Err(error) => return Err(error.into()),
    };
    tell(&text, &checked, json)
}

fn tell(text: &str, checked: &Checked<'_>, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        print_json(checked)?;
    } else {
        print(text)?;
    }
    Ok(if checked.good { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
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
