//! `backdoors record`.

use crate::ask::{print, print_json};
use crate::progress::Waiting;
use crate::units::{bytes, time};
use anyhow::{Context, bail};
use backdoors_monitor::clock::{Clock, SystemClock, nanoseconds};
use backdoors_monitor::config::{Config, parse_duration};
use backdoors_monitor::recorder::{Recording, What, extract, file_of};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors record web1
  backdoors record web1 --last 5m --out incident.rec
  backdoors record web1 --from /var/lib/backdoors/recorder/web1.recording --out -")]
pub struct Arguments {
    /// Name of the target.
    target: String,
    /// Only so much time before the end of the recording, such as 5m; all of it if absent.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    last: Option<Duration>,
    /// The file to write, which must not be there yet; `-` for standard output. [default: TARGET.recording]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Configuration file of the monitor, which names the recorder's folder. The monitor need not be running.
    #[arg(long, value_name = "FILE", default_value = "/etc/backdoors/monitor.toml")]
    config: PathBuf,
    /// The recorder's file itself, in place of a configuration file.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    from: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was written.
#[derive(Serialize)]
struct Written {
    target: String,
    file: PathBuf,
    bytes: usize,
    readings: u64,
    from_ns: u64,
    until_ns: u64,
    gaps: u64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let target = &arguments.target;
    let waiting = Waiting::begin(&format!("the recording of {target} is being read"), arguments.json);
    let source = match &arguments.from {
        Some(file) => file.clone(),
        None => source(&arguments.config, target)?,
    };
    let recording = Recording::read(&source).with_context(|| {
        format!("{}: has the monitor recorded this target? Ask as the user who runs it", source.display())
    })?;
    if let Some(header) = recording.header()
        && header.target != *target
    {
        let (file, found) = (source.display(), &header.target);
        bail!(
            "{file} is the recording of target `{found}`, not of `{target}`: name that target, or another file"
        );
    }
    let file = extract(&recording, target, arguments.last, SystemClock.wall());
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{target}.recording")));
    if out == Path::new("-") {
        drop(waiting);
        std::io::stdout().lock().write_all(&file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&out)
        .with_context(|| format!("{}: name a file that is not there yet with --out", out.display()))?;
    written.write_all(&file).with_context(|| format!("{}: is there room?", out.display()))?;
    let told = describe(target, &out, file)?;
    drop(waiting);
    if arguments.json {
        print_json(&told)?;
    } else {
        print(&told.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The recorder's file by a configuration.
fn source(config: &Path, target: &str) -> anyhow::Result<PathBuf> {
    let loaded = Config::load(config).context("give the recorder's file with --from, or --config")?;
    if !loaded.targets.iter().any(|other| other.name == target) {
        let names: Vec<&str> = loaded.targets.iter().map(|target| target.name.as_str()).collect();
        let file = config.display();
        bail!(
            "no target is called `{target}` in {file}; there are: {}; name another --config",
            names.join(", ")
        );
    }
    let folder = loaded.recorder.with_context(|| {
        format!("{} has no `recorder`: the monitor records nothing; name a folder there", config.display())
    })?;
    Ok(file_of(&folder, target))
}

fn describe(target: &str, out: &Path, file: Vec<u8>) -> anyhow::Result<Written> {
    let bytes = file.len();
    let recording = Recording::new(file)?;
    let (mut first, mut last, mut readings, mut gaps) = (None, Duration::ZERO, 0, 0);
    for moment in recording.play() {
        first.get_or_insert(moment.wall);
        last = last.max(moment.wall);
        readings += u64::from(matches!(moment.what, What::Reading { .. }));
        gaps += u64::from(matches!(moment.what, What::Gap(_)));
    }
    let (from_ns, until_ns) = (nanoseconds(first.unwrap_or(last)), nanoseconds(last));
    Ok(Written { target: target.to_owned(), file: out.to_owned(), bytes, readings, from_ns, until_ns, gaps })
}

impl Written {
    fn text(&self) -> String {
        let Written { target, file, readings, from_ns, until_ns, .. } = self;
        let span = time(until_ns.saturating_sub(*from_ns));
        let gaps = if self.gaps > 0 { format!(", {} gaps", self.gaps) } else { String::new() };
        let size = bytes(self.bytes as u64);
        format!("{target}: {readings} readings over {span}{gaps}, {size}, written to {}\n", file.display())
    }
}
