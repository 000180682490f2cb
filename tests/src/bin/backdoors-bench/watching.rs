//! What it costs to look at many targets: a scrape of their metrics, and the dashboard in a terminal.

use crate::daemon::{program, schedstat};
use crate::scale::{fleet, raise_descriptor_limit};
use crate::statistics::{median, row};
use anyhow::{Context, Result, bail};
use backdoors_tests::terminal::Terminal;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    /// Number of targets
    #[arg(long, default_value_t = 1000)]
    targets: usize,
    /// Sensors of each target
    #[arg(long, default_value_t = 100)]
    sensors: u32,
    /// How often each is read, milliseconds
    #[arg(long, default_value_t = 1000)]
    period: u64,
    /// Scrapes, and keys
    #[arg(long, default_value_t = 21)]
    runs: usize,
    /// Seconds for the dashboard
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// A scrape may take so long.
const SCRAPE_AIM: Duration = Duration::from_millis(200);
/// A key's answer may take so long.
const KEY_AIM: Duration = Duration::from_millis(100);
/// The dashboard may take so much of a core, percent, while it is drawn ten times a second.
const CPU_AIM: f64 = 10.0;
/// How long the dashboard may take to come up, or to answer at all.
const UP: Duration = Duration::from_secs(30);
/// Ten keys a second have it drawn ten times a second.
const BETWEEN_KEYS: Duration = Duration::from_millis(100);

pub fn run(arguments: &Arguments) -> Result<()> {
    raise_descriptor_limit()?;
    let folder = tempfile::tempdir()?;
    let (_farm, daemon) = fleet(folder.path(), arguments.targets, arguments.sensors, arguments.period)?;
    let of = format!("of {} targets with {} sensors", arguments.targets, arguments.sensors);

    let mut scrapes = Vec::new();
    let mut bytes = 0;
    for _ in 0..arguments.runs {
        let begun = Instant::now();
        bytes = scrape(&daemon.socket())?;
        scrapes.push(begun.elapsed());
    }
    let longest = scrapes.iter().max().copied().unwrap_or_default();
    let scrape = median(&mut scrapes).context("no scrape")?;
    println!("a scrape {of}: {bytes} bytes, median {scrape:.1?}, longest {longest:.1?}");
    tell(&format!("A scrape {of}"), scrape, SCRAPE_AIM);

    let command =
        format!("exec {} top --socket {}", program("backdoors")?.display(), daemon.socket().display());
    let dashboard = Terminal::start(&command, 120, 40)?;
    dashboard.wait_until(UP, |text| text.contains(&format!("{} targets:", arguments.targets)))?;
    let mut keys = Vec::new();
    let mut names: Vec<String> = (0..arguments.targets).map(|number| format!("target{number}")).collect();
    names.sort();
    let (first, last) = (names.first().context("no target")?, names.last().context("no target")?);
    for number in 0..arguments.runs {
        // To the last row and back.
        let (key, name) = if number % 2 == 0 { ("End", last) } else { ("Home", first) };
        let is_told = |line: &str| line.starts_with(&format!("{name} ")) && line.contains(": every ");
        let begun = Instant::now();
        dashboard.press(key)?;
        dashboard.wait_until(UP, |text| text.lines().any(is_told))?;
        keys.push(begun.elapsed());
    }
    let longest = keys.iter().max().copied().unwrap_or_default();
    let key = median(&mut keys).context("no key")?;
    println!("a key: median {key:.1?}, longest {longest:.1?}, with the terminal's own time");
    tell(&format!("A key in the fleet view {of}"), key, KEY_AIM);

    let process = dashboard.process()?;
    let (begun, before) = (Instant::now(), cpu_time(process)?);
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        let next = Instant::now() + BETWEEN_KEYS;
        dashboard.press("Down")?;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let used = cpu_time(process)? - before;
    let share = 100.0 * used.as_secs_f64() / begun.elapsed().as_secs_f64();
    row(
        &format!("CPU of the fleet view {of}, drawn ten times a second"),
        &format!("{share:.1} %"),
        &format!("{CPU_AIM} %"),
        share / CPU_AIM,
    );
    Ok(())
}

fn tell(what: &str, measured: Duration, aim: Duration) {
    let ratio = measured.as_secs_f64() / aim.as_secs_f64();
    row(what, &format!("{measured:.1?}"), &format!("{aim:?}"), ratio);
}

/// Reads all metrics; returns how many bytes they were.
fn scrape(socket: &Path) -> Result<usize> {
    let mut stream = UnixStream::connect(socket)?;
    let accept = "application/openmetrics-text;version=1.0.0";
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: m\r\nAccept: {accept}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.ends_with("# EOF\n") {
        bail!("the metrics were cut short: {}", answer.lines().next().unwrap_or_default());
    }
    Ok(answer.len())
}

/// CPU time that a process used so far, of all its threads.
fn cpu_time(process: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        total += schedstat(&task?.path().join("schedstat"))?;
    }
    Ok(Duration::from_nanos(total))
}
