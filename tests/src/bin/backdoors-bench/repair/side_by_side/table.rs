//! What came of the runs: a line for each in a file of data, and a table. Both are written anew after every run.

use super::answers::{CALM, SHORT, SLOWER};
use super::bystanders::{Bystanders, DATABASE};
use super::contestant::Contestant;
use super::hog::{CHILDREN, EACH};
use super::lab::MEMORY;
use super::{Run, Scene};
use crate::statistics::median_of;
use anyhow::{Context, Result};
use backdoors_guest_kernels::CachedSystemd;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "repair-side-by-side";

/// One run.
pub struct Row {
    pub run: Run,
    /// The median answer before the hog.
    pub undisturbed: Duration,
    /// From the shortage of memory until the machine answers again; nothing if the run is lost.
    pub again: Option<Duration>,
    /// The longest time that an answer took after that.
    pub longest: Duration,
    /// Names of the innocent that are gone.
    pub gone: Vec<&'static str>,
    pub hog_ended: bool,
    /// Processes killed by the kernel for want of memory.
    pub kernel_kills: u64,
    /// Kills or repairs, in the contestant's own words.
    pub deeds: Vec<String>,
    /// Why nothing is known of it.
    pub note: String,
}

impl Row {
    /// A run after which the guest does not answer the lab.
    pub fn lost(run: Run, note: String) -> Row {
        Row {
            run,
            undisturbed: Duration::ZERO,
            again: None,
            longest: Duration::ZERO,
            gone: Vec::new(),
            hog_ended: false,
            kernel_kills: 0,
            deeds: Vec::new(),
            note,
        }
    }

    fn line(&self) -> String {
        let Row { run, undisturbed, again, longest, gone, hog_ended, kernel_kills, deeds, note } = self;
        let quoted = |text: String| format!("\"{}\"", text.replace('"', "'").replace('\n', " "));
        format!(
            "{},{},{},{:.1},{},{:.2},{},{},{},{},{},{},{}\n",
            run.number,
            run.scene.name(),
            run.contestant.name(),
            undisturbed.as_secs_f64() * 1e3,
            again.map_or(String::new(), |again| format!("{:.2}", again.as_secs_f64())),
            longest.as_secs_f64(),
            gone.len(),
            quoted(gone.join("; ")),
            if *hog_ended { "yes" } else { "no" },
            kernel_kills,
            deeds.len(),
            quoted(deeds.join("; ")),
            quoted(note.clone()),
        )
    }
}

const COLUMNS: &str = "run,scene,watcher,undisturbed_ms,answers_again_s,longest_answer_s,victims,victims_of,hog_ended,kernel_kills,deeds,deeds_text,note\n";

pub struct Table {
    text: PathBuf,
    data: PathBuf,
    header: String,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(folder: &Path, deadline: Duration) -> Result<Table> {
        let file = |kind| folder.join(format!("{NAME}.{kind}"));
        Ok(Table { text: file("txt"), data: file("csv"), header: header(deadline)?, rows: Vec::new() })
    }

    /// Adds a run, and writes everything there is.
    pub fn add(&mut self, row: Row) -> Result<()> {
        print!("{}", row.line());
        self.rows.push(row);
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write(&self.data, COLUMNS.to_owned() + &self.rows.iter().map(Row::line).collect::<String>())?;
        write(&self.text, self.text())
    }

    pub fn text(&self) -> String {
        let mut text = self.header.clone();
        for scene in [Scene::NoSwap, Scene::Swap] {
            let of_scene: Vec<&Row> = self.rows.iter().filter(|row| row.run.scene == scene).collect();
            if of_scene.is_empty() {
                continue;
            }
            text.push_str(&format!(
                "\n{:<13} {:>5} {:>5} | {:>24} | {:>14} | {:>15} {:>9} | {:>12} {:>9}\n",
                scene.name(),
                "runs",
                "lost",
                "s until it answers again",
                "longest answer",
                "innocent killed",
                "in runs",
                "kernel kills",
                "hog ended"
            ));
            for contestant in Contestant::ALL {
                let rows: Vec<&Row> =
                    of_scene.iter().copied().filter(|row| row.run.contestant == contestant).collect();
                if !rows.is_empty() {
                    text.push_str(&line(contestant, &rows));
                }
            }
        }
        text
    }
}

fn line(contestant: Contestant, rows: &[&Row]) -> String {
    let mut times: Vec<f64> = rows.iter().filter_map(|row| Some(row.again?.as_secs_f64())).collect();
    let median = median_of(&mut times);
    let most = times.iter().copied().fold(0.0, f64::max);
    let time = median.map_or("-".to_owned(), |median| format!("median {median:.1}, most {most:.1}"));
    let longest = rows.iter().map(|row| row.longest).max().unwrap_or_default();
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    let kernel: u64 = rows.iter().map(|row| row.kernel_kills).sum();
    format!(
        "{:<13} {:>5} {:>5} | {time:>24} | {:>12.1} s | {:>15} {:>9} | {kernel:>12} {:>9}\n",
        contestant.name(),
        rows.len(),
        count(|row| row.again.is_none()),
        longest.as_secs_f64(),
        rows.iter().map(|row| row.gone.len()).sum::<usize>(),
        count(|row| !row.gone.is_empty()),
        count(|row| row.hog_ended),
    )
}

/// What was measured, how, and with which settings.
fn header(deadline: Duration) -> Result<String> {
    let cached = CachedSystemd::find()?.context("systemd for guests is not cached: run `cargo xtask setup`")?;
    let version = |package: &str| cached.version(package).unwrap_or("?").to_owned();
    Ok(format!(
        "A memory hog against no watcher, earlyoom {}, systemd-oomd {} and Backdoors, in one virtual machine, in turn.

The machine: one processor, emulated, {MEMORY} MiB, no swap space or {MEMORY} MiB on a disk; Debian's systemd as its first process.
Programs are in its memory, from where nothing but swapping can drive them out: with a disk they would be read again and again.
The hog: a user's session with a controller that starts another child for each that is killed, {CHILDREN} children of {EACH} MiB.
The innocent: {} processes, a session of five of another user, a database of {DATABASE} MiB that touches all of it five times a second,
and a small service, both of a third user. Those that are gone when the run ends count, whoever ended them.
The machine answers if `true`, started every 100 ms by an ordinary program, has ended within {SLOWER} times its median time of the four
seconds before the hog. It answers again when such a row of {} s begins; the time counts from when less than {:.0} % of memory was
available. A run in which that does not happen within {} s of the hog's start, or after which the machine is gone, is lost.
Which of these a run is says nothing of the hog: \"hog ended\" counts the runs at whose end nothing of it was left.

earlyoom and systemd-oomd: Debian's packages, units and settings. earlyoom: SIGTERM below 10 % of memory and of swap space, SIGKILL
below 5 %. systemd-oomd: swap space is watched for all control groups, limit 90 %; pressure for users' slices, limit 50 % for 20 s, which
Debian sets for everybody's own systemd, and these guests, who have none, for slices. No avoid or prefer lists.
Backdoors: default settings of memory-hog, mode act, no spare lists, soft-RoCE, a monitor in another virtual machine. The agent stays
loaded in all runs, its monitor's daemon runs only in its own.
",
        version("earlyoom"),
        version("systemd-oomd"),
        Bystanders::COUNT,
        CALM.as_secs(),
        SHORT * 100.0,
        deadline.as_secs(),
    ))
}
