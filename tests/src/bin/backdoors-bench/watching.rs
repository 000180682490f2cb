//! What it costs to look at many targets: a scrape of their metrics, and the dashboard in a terminal.

use crate::daemon::{program, schedstat, until};
use crate::scale::{fleet, raise_descriptor_limit};
use crate::statistics::{median, row};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
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

    let dashboard = Dashboard::start(folder.path(), &daemon.socket())?;
    dashboard.wait_for(|text| text.contains(&format!("{} targets:", arguments.targets)))?;
    let mut keys = Vec::new();
    let last = (0..arguments.targets).map(|number| format!("target{number}")).max().unwrap_or_default();
    for number in 0..arguments.runs {
        // To the last row and back.
        let (key, shows_last) = if number % 2 == 0 { ("End", true) } else { ("Home", false) };
        let begun = Instant::now();
        dashboard.press(key)?;
        dashboard.wait_for(|text| text.contains(&last) == shows_last)?;
        keys.push(begun.elapsed());
    }
    let longest = keys.iter().max().copied().unwrap_or_default();
    let key = median(&mut keys).context("no key")?;
    println!("a key: median {key:.1?}, longest {longest:.1?}, with the terminal's own time");
    tell(&format!("A key in the fleet view {of}"), key, KEY_AIM);

    let (begun, before) = (Instant::now(), dashboard.cpu_time()?);
    while begun.elapsed() < Duration::from_secs(arguments.seconds) {
        let next = Instant::now() + BETWEEN_KEYS;
        dashboard.press("Down")?;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let used = dashboard.cpu_time()? - before;
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

/// `backdoors top` in a terminal of its own; ends with this.
struct Dashboard {
    tmux: PathBuf,
}

impl Dashboard {
    fn start(folder: &Path, socket: &Path) -> Result<Dashboard> {
        let dashboard = Dashboard { tmux: folder.join("tmux") };
        let command = format!("{} top --socket {}", program("backdoors")?.display(), socket.display());
        dashboard.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", &command])?;
        Ok(dashboard)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("tmux").arg("-S").arg(&self.tmux).args(arguments).output()?;
        if !output.status.success() {
            bail!("tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, is_so: impl Fn(&str) -> bool) -> Result<()> {
        until("the dashboard does not change", || Ok(is_so(&self.text()?).then_some(())))
    }

    /// CPU time used so far, of all its threads.
    fn cpu_time(&self) -> Result<Duration> {
        let process = self.tmux(&["list-panes", "-F", "#{pane_pid}"])?;
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", process.trim()))? {
            total += schedstat(&task?.path().join("schedstat"))?;
        }
        Ok(Duration::from_nanos(total))
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.tmux(&["kill-server"]);
    }
}
