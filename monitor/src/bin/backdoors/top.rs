//! `backdoors top`.

mod recorded;

use crate::replay::speed;
use crate::replay::when::When;
use backdoors_dashboards::action::{Action, Outcome};
use backdoors_dashboards::daemon::{Daemon, act};
use backdoors_dashboards::source::Source;
use backdoors_dashboards::{Options, run as show};
use backdoors_monitor_api::Endpoint;
use recorded::Recorded;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors top
  backdoors top --replay incident.rec --speed 4 --from -30s  # the last half minute, four times as fast")]
pub struct Arguments {
    /// Show a recording instead, as `backdoors record` wrote it.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// So many times as fast as it happened; 0 stands still.
    #[arg(long, value_name = "N", value_parser = speed_or_none, default_value = "1", requires = "replay")]
    speed: f64,
    /// Begin there: a time after the beginning (`90s`), before the end (`-30s`), or of the day in UTC.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "replay")]
    from: Option<When>,
}

fn speed_or_none(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { speed(text) }
}

pub fn run(daemon: &Endpoint, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source: Box<dyn Source> = match &arguments.replay {
        Some(file) => Box::new(Recorded::open(file, arguments.speed, arguments.from.as_ref())?),
        None => Box::new(Daemon::new(daemon.clone())),
    };
    let daemon = daemon.clone();
    let act = move |action: &Action, dry_run| -> Outcome { act(&daemon, action, dry_run) };
    show(Options { source, act: Arc::new(act) })?;
    Ok(ExitCode::SUCCESS)
}
