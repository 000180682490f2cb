//! `backdoors replay`.

pub mod lines;
pub mod scene;
mod screen;
mod summary;
pub mod when;

use crate::progress::Waiting;
use anyhow::{Context, bail};
use backdoors_monitor::clock::nanoseconds;
use backdoors_monitor::config::parse_duration;
use backdoors_monitor::recorder::{Moment, Recording, Rerun, What};
use scene::Scene;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use when::When;

/// Its arguments.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  backdoors replay incident.rec
  backdoors replay incident.rec --from 90s --step
  backdoors replay incident.rec --summary --limit kernel.timer=100ms  # what would have been said with this limit
  backdoors replay incident.rec --json")]
pub struct Arguments {
    /// What `backdoors record` wrote, or a recorder's file itself.
    file: PathBuf,
    /// So many times as fast as it happened. [default: 1 on a terminal, otherwise as fast as possible]
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// Wait for the Enter key at everything but readings.
    #[arg(long, conflicts_with_all = ["speed", "summary", "json"])]
    step: bool,
    /// Only tell what is in it, what was said, and where detector and judge say otherwise now.
    #[arg(long)]
    summary: bool,
    /// Print the summary, as JSON.
    #[arg(long)]
    json: bool,
    /// Begin there: a time after the beginning (`90s`), before the end (`-30s`), or of the day in UTC, as shown.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<When>,
    /// End there.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<When>,
    /// Run the detector and the judge with another limit, as in kernel.timer=100ms or user.processes/1000=50. May be
    /// given several times.
    #[arg(long = "limit", value_name = "SENSOR=LIMIT", value_parser = limit)]
    limits: Vec<(String, u64)>,
}

pub fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.001..=1e6).contains(speed));
    speed.ok_or_else(|| "a number from 0.001 to 1000000".to_owned())
}

fn limit(text: &str) -> Result<(String, u64), String> {
    let (sensor, value) = text.split_once('=').ok_or("write SENSOR=LIMIT, as in kernel.timer=100ms")?;
    let limit = match value.parse() {
        Ok(number) => number,
        Err(_) => parse_duration(value).map(nanoseconds)?,
    };
    Ok((sensor.to_owned(), limit))
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let file = || format!("{}: name what `backdoors record` wrote", arguments.file.display());
    let recording = Recording::read(&arguments.file).with_context(file)?;
    let overrides: BTreeMap<String, u64> = arguments.limits.iter().cloned().collect();
    let mut scene = Scene::new(&recording, Rerun::new(overrides)?);
    let span = when::span(&recording);
    let Some((first, last)) = span else { bail!("{}: nothing was recorded", arguments.file.display()) };
    let from = arguments.from.as_ref().map_or(first, |when| when.in_span(first, last));
    let until = arguments.until.as_ref().map_or(last, |when| when.in_span(first, last));
    if from > until {
        bail!("nothing to show: --from lies behind --until; exchange them");
    }
    let terminal = std::io::stdout().is_terminal();
    let in_short = arguments.summary || arguments.json;
    let mut show: Box<dyn Show> = match (in_short, terminal) {
        (true, _) => Box::new(summary::Summary::new(arguments.json)),
        (false, true) => Box::new(screen::Screen::default()),
        (false, false) => Box::new(lines::Lines::default()),
    };
    let speed = arguments.speed.or((terminal && !in_short).then_some(1.0));
    show.begin(&recording, &scene)?;
    // Whoever is shown moments sees that it goes on.
    let waiting = in_short.then(|| Waiting::begin("detector and judge run again", arguments.json));
    let (begun, mut enter) = (Instant::now(), std::io::stdin().lock().lines());
    let mut playback = recording.play();
    while let Some(moment) = playback.next() {
        if moment.wall > until {
            break;
        }
        scene.take_in(&moment, &playback);
        if moment.wall < from {
            continue;
        }
        if let Some(speed) = speed.filter(|_| !arguments.step) {
            let due = Duration::from_secs_f64(moment.wall.saturating_sub(from).as_secs_f64() / speed);
            show.pause(&scene, &mut || due.saturating_sub(begun.elapsed()))?;
        }
        show.moment(&moment, &scene)?;
        if arguments.step && is_notable(&moment) {
            show.draw(&scene)?;
            match enter.next() {
                Some(line) => drop(line?),
                None => break,
            }
        }
    }
    drop(waiting);
    show.end(scene)?;
    Ok(ExitCode::SUCCESS)
}

fn is_notable(moment: &Moment) -> bool {
    let every_sample = matches!(
        moment.what,
        What::Reading { .. } | What::Applications { .. } | What::Terms(_) | What::Settings(_)
    );
    !every_sample && !moment.standing
}

/// A way to show a recording.
trait Show {
    /// Before the first moment.
    fn begin(&mut self, recording: &Recording, scene: &Scene) -> anyhow::Result<()>;
    /// Waits until `remaining` says that no time is left.
    fn pause(&mut self, scene: &Scene, remaining: &mut dyn FnMut() -> Duration) -> anyhow::Result<()>;
    /// A moment that the scene has just taken in.
    fn moment(&mut self, moment: &Moment, scene: &Scene) -> anyhow::Result<()>;
    /// The scene as it is.
    fn draw(&mut self, scene: &Scene) -> anyhow::Result<()>;
    /// Behind the last moment.
    fn end(&mut self, scene: Scene) -> anyhow::Result<()>;
}
