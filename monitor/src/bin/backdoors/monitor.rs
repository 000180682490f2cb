//! `backdoors monitor`.

use anyhow::Context;
use backdoors_monitor::config::Config;
use backdoors_monitor::daemon;
use std::path::PathBuf;
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
pub struct Arguments {
    /// Configuration file, TOML. A relative path in it starts at the file's folder.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Only check the configuration.
    #[arg(long)]
    check: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        crate::ask::print(&format!(
            "{}: good, {} targets\n",
            arguments.config.display(),
            config.targets.len()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match daemon::run(config, &arguments.config).context("the monitor does not run")? {}
}
