//! Drives rows through a lab.

use super::Lab;
use super::observe::{Accusation, accusations, timeline};
use super::rows::{Expected, Row, Undo, Witnesses};
use super::scene::Scene;
use super::table::Table;
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longest time until a fault is laid at some layer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what is said is listened to, after the right thing was.
const LISTENING: Duration = Duration::from_secs(1);
/// Each look costs the monitors' machines processor time.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Rounds of each row, with load and without: more when the whole test suite is asked for.
fn rounds() -> usize {
    if is_full() { 20 } else { 1 }
}

/// Length of the control, with load and without.
fn control() -> Duration {
    if is_full() { Duration::from_secs(600) } else { Duration::from_secs(10) }
}

fn is_full() -> bool {
    std::env::var_os("BACKDOORS_FULL").is_some()
}

/// Tries every row with load on the target and without. A lab serves until something in it cannot be undone.
///
/// # Errors
/// If a lab does not come up, or a fault cannot be brought about. What monitors say wrongly is in the table.
pub fn run<L: Lab>(rows: &[Row<L::Machine>]) -> Result<Table> {
    let mut table = Table::default();
    let mut left: VecDeque<(&Row<L::Machine>, bool)> = [false, true]
        .into_iter()
        .flat_map(|load| rows.iter().flat_map(move |row| std::iter::repeat_n((row, load), rounds())))
        .collect();
    while !left.is_empty() {
        let lab = L::boot()?;
        let mut scene = Scene::set(&lab)?;
        while let Some((row, load)) = left.pop_front() {
            scene.prepare(row, load)?;
            let outcome = try_once(&mut scene, row)?;
            println!("{}, load {load}: {outcome:?}", row.name);
            let line = table.line(L::NAME, row.name, load);
            let right = match outcome {
                Ok(took) => {
                    line.right.push(took);
                    true
                }
                Err(wrong) => {
                    line.wrong.push(wrong);
                    false
                }
            };
            if !right || matches!(row.undo, Undo::FreshLab) {
                break;
            }
        }
    }
    Ok(table)
}

/// One round: how long it took until all witnesses had it right, or what was wrong.
fn try_once<M: Machine>(scene: &mut Scene<'_, M>, row: &Row<M>) -> Result<Result<Duration, String>> {
    let before = Before { known: scene.known()?, clocks: scene.clocks()? };
    scene.step(row.inject).with_context(|| format!("bringing about: {}", row.name))?;
    let took = match before.detection(scene, &row.expected)? {
        Ok(took) => took,
        Err(wrong) => return Ok(Err(wrong)),
    };
    std::thread::sleep(LISTENING);
    if let Some(wrong) = before.wrong(scene, &row.expected)? {
        return Ok(Err(wrong));
    }
    if let Undo::By(undo) = row.undo {
        scene.step(undo).with_context(|| format!("undoing: {}", row.name))?;
        if let Err(error) = scene.wait_until_healthy() {
            return Ok(Err(format!("after it was undone: {error:#}\n{}", before.timelines(scene))));
        }
        if let Some(wrong) = before.wrong(scene, &row.expected)? {
            return Ok(Err(wrong));
        }
    }
    Ok(Ok(took))
}

/// How everything was before a fault, by monitor.
struct Before {
    /// Lengths of journals.
    known: Vec<usize>,
    /// What clocks showed.
    clocks: Vec<u64>,
}

impl Before {
    /// How long it took until the last witness accused somebody, or which one did not.
    fn detection<M: Machine>(
        &self,
        scene: &Scene<'_, M>,
        expected: &Expected,
    ) -> Result<Result<Duration, String>> {
        let begun = Instant::now();
        let mut took = Duration::ZERO;
        for (number, watcher) in scene.deployment.watchers.iter().enumerate() {
            if !expected.heard_from(number) {
                continue;
            }
            let first = loop {
                if let Some(first) = accusations(watcher, self.known[number])?.into_iter().next() {
                    break first;
                }
                if begun.elapsed() > PATIENCE {
                    let timelines = self.timelines(scene);
                    return Ok(Err(format!(
                        "{} accuses nobody within {PATIENCE:?}\n{timelines}",
                        watcher.name
                    )));
                }
                std::thread::sleep(BETWEEN_LOOKS);
            };
            took = took.max(Duration::from_nanos(first.at.saturating_sub(self.clocks[number])));
        }
        Ok(Ok(took))
    }

    /// What anybody has said since that is not right.
    fn wrong<M: Machine>(&self, scene: &Scene<'_, M>, expected: &Expected) -> Result<Option<String>> {
        for (number, watcher) in scene.deployment.watchers.iter().enumerate() {
            let all = accusations(watcher, self.known[number])?;
            let right = |accusation: &&Accusation| expected.heard_from(number) && expected.is(accusation);
            if let Some(wrong) = all.iter().find(|accusation| !right(accusation)) {
                return Ok(Some(format!("{} accuses {wrong}\n{}", watcher.name, self.timelines(scene))));
            }
        }
        Ok(None)
    }

    /// What everybody has noted since.
    fn timelines<M: Machine>(&self, scene: &Scene<'_, M>) -> String {
        let since = self.known.iter().zip(&self.clocks);
        let all = scene.deployment.watchers.iter().zip(since);
        all.map(|(watcher, (&known, &clock))| timeline(watcher, known, clock)).collect()
    }
}

/// The control: nothing is done to the target, and nobody may be accused.
///
/// # Errors
/// If a lab does not come up, or if somebody is accused.
pub fn watch_nothing<L: Lab>() -> Result<()> {
    let lab = L::boot()?;
    let mut scene = Scene::set(&lab)?;
    for load in [false, true] {
        if load {
            scene.load()?;
        }
        nobody_is_accused(&scene)?;
    }
    Ok(())
}

/// Loses so many percent of what the target sends, one rate after the other, and nobody may be accused: neither a path
/// that loses nor anything behind it is dead. Returns what the monitors measured of it, a line for each rate.
///
/// # Errors
/// As [`watch_nothing`].
pub fn watch_lossy_path<L: Lab>(percentages: &[u8]) -> Result<String> {
    let lab = L::boot()?;
    let scene = Scene::set(&lab)?;
    let mut measured = String::new();
    for percent in percentages {
        scene
            .deployment
            .target
            .shell(&format!("tc qdisc replace dev eth0 root netem limit 10000 loss {percent}%"))?;
        nobody_is_accused(&scene)?;
        measured.push_str(&format!("{percent} % of what the target sends is lost for {:?}:", control()));
        for watcher in &scene.deployment.watchers {
            let path = &watcher.json("targets")?[0];
            measured.push_str(&format!(
                " {} misses {:.1} % of its chances, a round trip takes {:.1} ms;",
                watcher.name,
                path["loss"].as_f64().unwrap_or(f64::NAN) * 100.0,
                path["round_trip_ns"].as_f64().unwrap_or(f64::NAN) / 1e6,
            ));
        }
        measured.push('\n');
    }
    Ok(measured)
}

fn nobody_is_accused<M: Machine>(scene: &Scene<'_, M>) -> Result<()> {
    let known = scene.known()?;
    std::thread::sleep(control());
    scene.wait_until_healthy()?;
    for (watcher, known) in scene.deployment.watchers.iter().zip(known) {
        let all: Vec<Accusation> = accusations(watcher, known)?;
        if let Some(first) = all.first() {
            let others = all.len() - 1;
            bail!(
                "{} accuses {first}, and {others} more\n{}",
                watcher.name,
                timeline(watcher, known, first.at)
            );
        }
    }
    Ok(())
}

impl Expected {
    fn heard_from(&self, number: usize) -> bool {
        matches!(self.witnesses, Witnesses::All) || number == 0
    }

    fn is(&self, accusation: &Accusation) -> bool {
        accusation.layer == self.layer
            && accusation.subject.as_deref() == self.subject
            && self.evidence.is_none_or(|part| accusation.evidence.iter().any(|all| all.contains(part)))
    }
}
