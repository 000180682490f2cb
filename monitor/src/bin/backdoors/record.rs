//! `backdoors record`.

use crate::ask::print;
use crate::units::{bytes, time};
use anyhow::{Context, bail};
use backdoors_monitor::clock::{Clock, SystemClock, nanoseconds};
use backdoors_monitor::config::{Config, parse_duration};
use backdoors_monitor::recorder::{Recording, What, extract, file_of};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Its arguments.
#[derive(clap::Args)]
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
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let target = &arguments.target;
    let source = match &arguments.from {
        Some(file) => file.clone(),
        None => source(&arguments.config, target)?,
    };
    let recording = Recording::read(&source).with_context(|| source.display().to_string())?;
    if let Some(header) = recording.header()
        && header.target != *target
    {
        bail!("{} is the recording of target `{}`, not of `{target}`", source.display(), header.target);
    }
    let file = extract(&recording, target, arguments.last, SystemClock.wall());
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("{target}.recording")));
    if out == Path::new("-") {
        std::io::stdout().lock().write_all(&file)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&out)
        .with_context(|| out.display().to_string())?;
    written.write_all(&file).with_context(|| out.display().to_string())?;
    print(&format!("{target}: {}, written to {}\n", describe(file)?, out.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// The recorder's file by a configuration.
fn source(config: &Path, target: &str) -> anyhow::Result<PathBuf> {
    let loaded = Config::load(config).context("give the recorder's file with --from, or --config")?;
    if !loaded.targets.iter().any(|other| other.name == target) {
        let names: Vec<&str> = loaded.targets.iter().map(|target| target.name.as_str()).collect();
        bail!("no target is called `{target}`; there are: {}", names.join(", "));
    }
    let folder = loaded.recorder.with_context(|| {
        format!("{} has no `recorder`: the monitor records nothing; name a folder there", config.display())
    })?;
    Ok(file_of(&folder, target))
}

fn describe(file: Vec<u8>) -> anyhow::Result<String> {
    let size = file.len() as u64;
    let recording = Recording::new(file)?;
    let (mut first, mut last, mut readings, mut gaps) = (None, Duration::ZERO, 0_u64, 0_u64);
    for moment in recording.play() {
        first.get_or_insert(moment.wall);
        last = last.max(moment.wall);
        readings += u64::from(matches!(moment.what, What::Reading { .. }));
        gaps += u64::from(matches!(moment.what, What::Gap(_)));
    }
    let span = time(nanoseconds(last.saturating_sub(first.unwrap_or(last))));
    let gaps = if gaps > 0 { format!(", {gaps} gaps") } else { String::new() };
    Ok(format!("{readings} readings over {span}{gaps}, {}", bytes(size)))
}
