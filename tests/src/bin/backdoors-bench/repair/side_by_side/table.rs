//! What came of the runs: a line for each in a file of data, and a table. Both are written anew after every run.

use super::answers::{CALM, SHARE, SHORT, SLOWER, SOON};
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The median answer before the hog.
    pub undisturbed: Duration,
    /// From the shortage of memory until the machine answers again; nothing if the run is lost.
    pub again: Option<Duration>,
    /// The longest time that an answer took after that.
    pub longest: Duration,
    /// Names of the innocent that are gone, one for each process.
    pub gone: Vec<String>,
    pub hog_ended: bool,
    /// Processes killed by the kernel for want of memory.
    pub kernel_kills: u64,
    /// How many kills or repairs the watcher tells of.
    pub deeds: usize,
    /// The first of them in its own words, or why nothing is known of the run.
    pub note: String,
}

const COLUMNS: &str = "run,scene,watcher,undisturbed_ms,answers_again_s,longest_answer_s,innocent_gone,hog_ended,\
                       kernel_kills,deeds,note\n";

/// A line of the data. No part of it has a comma.
fn line(run: Run, row: &Row) -> String {
    let seconds = |time: Duration| format!("{:.3}", time.as_secs_f64());
    format!(
        "{},{},{},{:.1},{},{},{},{},{},{},{}\n",
        run.number,
        run.scene.name(),
        run.contestant.name(),
        row.undisturbed.as_secs_f64() * 1e3,
        row.again.map_or(String::new(), seconds),
        seconds(row.longest),
        row.gone.join(" + "),
        if row.hog_ended { "yes" } else { "no" },
        row.kernel_kills,
        row.deeds,
        row.note.replace([',', '\n'], ";"),
    )
}

/// Undoes [`line()`].
fn read(line: &str) -> Option<(Run, Row)> {
    let parts: Vec<&str> = line.split(',').collect();
    let [number, scene, contestant, undisturbed, again, longest, gone, hog_ended, kernel_kills, deeds, note] =
        parts[..]
    else {
        return None;
    };
    let seconds = |text: &str| Duration::try_from_secs_f64(text.parse().ok()?).ok();
    let run = Run {
        number: number.parse().ok()?,
        scene: *Scene::ALL.iter().find(|one| one.name() == scene)?,
        contestant: *Contestant::ALL.iter().find(|one| one.name() == contestant)?,
    };
    let row = Row {
        undisturbed: seconds(undisturbed)? / 1000,
        again: if again.is_empty() { None } else { Some(seconds(again)?) },
        longest: seconds(longest)?,
        gone: gone.split(" + ").filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        hog_ended: hog_ended == "yes",
        kernel_kills: kernel_kills.parse().ok()?,
        deeds: deeds.parse().ok()?,
        note: note.to_owned(),
    };
    Some((run, row))
}

pub struct Table {
    text: PathBuf,
    data: PathBuf,
    header: String,
    rows: Vec<(Run, Row)>,
}

impl Table {
    /// An empty table, or with `go_on` what an earlier bench left.
    pub fn open(folder: &Path, deadline: Duration, go_on: bool) -> Result<Table> {
        let file = |kind| folder.join(format!("{NAME}.{kind}"));
        let data = file("csv");
        let mut rows = Vec::new();
        if go_on {
            let text =
                std::fs::read_to_string(&data).with_context(|| format!("cannot read {}", data.display()))?;
            for line in text.lines().skip(1) {
                rows.push(
                    read(line)
                        .with_context(|| format!("{} has a line that is no run: {line}", data.display()))?,
                );
            }
        }
        Ok(Table { text: file("txt"), data, header: header(deadline)?, rows })
    }

    /// Whether this run is there already.
    pub fn has(&self, run: Run) -> bool {
        self.rows.iter().any(|(made, _)| *made == run)
    }

    /// Adds a run, and writes everything there is.
    pub fn add(&mut self, run: Run, row: Row) -> Result<()> {
        print!("{}", line(run, &row));
        self.rows.push((run, row));
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let lines: String = self.rows.iter().map(|(run, row)| line(*run, row)).collect();
        write(&self.data, COLUMNS.to_owned() + &lines)?;
        write(&self.text, self.text())
    }

    pub fn text(&self) -> String {
        let mut text = self.header.clone();
        for scene in Scene::ALL {
            let of_scene: Vec<&(Run, Row)> = self.rows.iter().filter(|(run, _)| run.scene == scene).collect();
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
                let its = of_scene.iter().filter(|(run, _)| run.contestant == contestant);
                let rows: Vec<&Row> = its.map(|(_, row)| row).collect();
                if !rows.is_empty() {
                    text.push_str(&summary(contestant, &rows));
                }
            }
        }
        text
    }
}

fn summary(contestant: Contestant, rows: &[&Row]) -> String {
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
    let cached =
        CachedSystemd::find()?.context("systemd for guests is not cached: run `cargo xtask setup`")?;
    let version = |package: &str| cached.version(package).unwrap_or("?").to_owned();
    Ok(format!(
        "A memory hog against no watcher, earlyoom {}, systemd-oomd {} and Backdoors, in one virtual machine, in turn.

The machine: one processor, emulated, {MEMORY} MiB, no swap space or {MEMORY} MiB on a disk; Debian's systemd as its first process.
Programs are in its memory, from where nothing but swapping can drive them out: with a disk they would be read again and again.
The hog: a user's session with a controller that starts another child for each that is killed, {CHILDREN} children of {EACH} MiB.
The innocent: {} processes, a session of five of another user, a database of {DATABASE} MiB that touches all of it five times a second,
and a small service, both of a third user. Those that are gone when the run ends count, whoever ended them.
The machine answers in time if `true`, started every 100 ms by an ordinary program, has ended within {SLOWER} times its median time of
the four seconds before the hog, or within {} ms if that is more. It answers again when {} s begin in which it does so {:.0} of 100
times, those that it stood still for among them; the time counts from when less than {:.0} % of memory was available. A run in which
that does not happen within {} s of the hog's start, or after which the machine is gone, is lost.
A machine may answer although the hog lives: \"hog ended\" counts the runs at whose end nothing of it was left.

earlyoom and systemd-oomd: Debian's packages, units and settings. earlyoom: SIGTERM below 10 % of memory and of swap space, SIGKILL
below 5 %. systemd-oomd: swap space is watched for all control groups, limit 90 %; pressure for users' slices, limit 50 % for 20 s, which
Debian sets for everybody's own systemd, and these guests, who have none, for slices. No avoid or prefer lists.
Backdoors: default settings of memory-hog, mode act, no spare lists, soft-RoCE, a monitor in another virtual machine. The agent stays
loaded in all runs, its monitor's daemon runs only in its own. \"... by user\": the same with policies = [\"largest-user\"].
",
        version("earlyoom"),
        version("systemd-oomd"),
        Bystanders::COUNT,
        SOON.as_millis(),
        CALM.as_secs(),
        SHARE * 100.0,
        SHORT * 100.0,
        deadline.as_secs(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_as_it_was_written() {
        let run = Run { number: 3, scene: Scene::Swap, contestant: Contestant::Backdoors };
        let row = Row {
            undisturbed: Duration::from_micros(12_500),
            again: Some(Duration::from_millis(2345)),
            longest: Duration::from_millis(1234),
            gone: vec!["session".into(), "session".into()],
            hog_ended: true,
            kernel_kills: 4,
            deeds: 2,
            note: "killed this; and that".into(),
        };
        assert_eq!(read(line(run, &row).trim_end()), Some((run, row)));
        let lost = Row { note: "gone, \nand nobody knows why".into(), ..Row::default() };
        let (_, read) = read(line(run, &lost).trim_end()).unwrap();
        assert_eq!(
            (read.again, read.gone, read.note.as_str()),
            (None, vec![], "gone; ;and nobody knows why")
        );
    }
}
