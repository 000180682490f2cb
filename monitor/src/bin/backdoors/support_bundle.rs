//! `backdoors support-bundle`: one file with what whoever helps has to know.

mod bundle;
mod daemon;
mod secrets;
mod setup;
mod system;

use crate::ask::{print, print_json};
use crate::doctor::{self, Report};
use crate::progress::Waiting;
use crate::units::bytes;
use anyhow::Context;
use backdoors_monitor::clock::{Clock, SystemClock, rfc3339};
use backdoors_monitor_api::Endpoint;
use bundle::{Bundle, Contents};
use setup::Setup;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors support-bundle
  backdoors support-bundle --out incident.tar.gz --config /etc/backdoors/monitor.toml")]
pub struct Arguments {
    /// The file to write, which must not be there yet. [default: backdoors-support-HOST-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Configuration file of the monitor. It, and the daemon, may be missing or broken.
    #[arg(long, value_name = "FILE", default_value = "/etc/backdoors/monitor.toml")]
    config: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(daemon: anyhow::Result<Endpoint>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let name = name();
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    let setup = Setup::read(&arguments.config);
    let bundle = Bundle::create(&out, &name, setup.secrets()).with_context(|| {
        format!("{} cannot be written: name a file that is not there yet with --out", out.display())
    })?;
    let contents = fill(bundle, daemon, &setup, arguments.json).inspect_err(|_| {
        // Half a bundle helps nobody, and would be in the way of the next.
        drop(std::fs::remove_file(&out));
    })?;
    if arguments.json {
        print_json(&contents)?;
    } else {
        print(&told(&contents, &out))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn fill(
    mut bundle: Bundle,
    daemon: anyhow::Result<Endpoint>,
    setup: &Setup,
    json: bool,
) -> anyhow::Result<Contents> {
    let waiting = Waiting::begin("collecting: what this machine can do", json);
    let version = format!("backdoors {}\n", env!("CARGO_PKG_VERSION"));
    bundle.put("version.txt", Ok(version))?;
    let report = doctor::examine();
    bundle.put("doctor.txt", Ok(report.text()))?;
    bundle.put("doctor.json", pretty(&report))?;
    waiting.say("collecting: configuration and journal");
    setup.put_into(&mut bundle)?;
    match daemon {
        Ok(daemon) => daemon::put_into(&mut bundle, setup.daemon(daemon), &waiting)?,
        Err(why) => bundle.put("daemon", Err(format!("{why:#}")))?,
    }
    waiting.say("collecting: logs of the system");
    system::put_into(&mut bundle)?;
    bundle.finish()
}

fn pretty(report: &Report) -> Result<String, String> {
    serde_json::to_string_pretty(report).map_err(|error| error.to_string())
}

/// After the host and the time, so that bundles of several machines and days lie side by side.
fn name() -> String {
    let plain = |mark: char| mark.is_ascii_alphanumeric() || matches!(mark, '-' | '_' | '.');
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(|mark| plain(*mark)).collect();
    let time = rfc3339(SystemClock.wall());
    let time: String = time.chars().take_while(|mark| *mark != '.').filter(|mark| *mark != ':').collect();
    format!("backdoors-support-{host}-{time}")
}

fn told(contents: &Contents, out: &Path) -> String {
    let size = std::fs::metadata(out).map_or(0, |about| about.len());
    let mut text = format!("{}: {} files, {}\n", out.display(), contents.files.len(), bytes(size));
    for lacking in &contents.lacking {
        text.push_str(&format!("not had: {}: {}\n", lacking.name, lacking.why));
    }
    text.push_str("Keys are not in it. Read it before you give it away: its MANIFEST lists all files\n");
    text
}
