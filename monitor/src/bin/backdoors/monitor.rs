//! `backdoors monitor`.

use anyhow::Context;
use backdoors_monitor::config::Config;
use backdoors_monitor::daemon;
use std::path::PathBuf;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors monitor --config /etc/backdoors/monitor.toml
  backdoors monitor --config /etc/backdoors/monitor.toml --check  # say whether it would start")]
pub struct Arguments {
    /// Configuration file, TOML. A relative path in it starts at the file's folder.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
    /// Print JSON.
    #[arg(long, requires = "check")]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.check {
        return crate::config::check(&arguments.config, arguments.json);
    }
    let config = Config::load(&arguments.config)?;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match daemon::run(config, &arguments.config).context("the monitor does not run")? {}
}
