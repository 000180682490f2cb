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

/// After so many labs in a row that did not come up no other one is tried.
const LABS: u32 = 2;

/// Rounds of each row, with load and without: more when the whole test suite is asked for. A control is one, and long.
fn rounds<M>(row: &Row<M>) -> usize {
    if is_full() && row.expected.is_some() { 20 } else { 1 }
}

/// Length of a control.
fn control() -> Duration {
    if is_full() { Duration::from_secs(600) } else { Duration::from_secs(10) }
}

fn is_full() -> bool {
    std::env::var_os("BACKDOORS_FULL").is_some()
}

/// What is still to be tried: a row, and whether with load on the target.
type Left<'rows, M> = VecDeque<(&'rows Row<M>, bool)>;

/// Tries every row, each time with load on the target or without as `loads` says. A lab serves until something goes
/// wrong in it. What could not be tried has gone wrong, too, and keeps no other row from being tried.
pub fn run<L: Lab>(rows: &[Row<L::Machine>], loads: &[bool]) -> Table {
    let mut table = Table::default();
    let mut left: Left<'_, L::Machine> = loads
        .iter()
        .flat_map(|load| rows.iter().flat_map(move |row| std::iter::repeat_n((row, *load), rounds(row))))
        .collect();
    let mut failed = 0;
    while !left.is_empty() {
        let Err(error) = run_in_one_lab::<L>(&mut left, &mut table) else {
            failed = 0;
            continue;
        };
        failed += 1;
        let untried = if failed < LABS { 1 } else { left.len() };
        for (row, load) in left.drain(..untried) {
            let wrong = format!("not tried, as its lab did not come up: {error:#}");
            table.line(L::NAME, row.name, load).wrong.push(wrong);
        }
    }
    table
}

/// Tries one after the other, until nothing is left or something went wrong.
///
/// # Errors
/// If the lab does not come up.
fn run_in_one_lab<L: Lab>(left: &mut Left<'_, L::Machine>, table: &mut Table) -> Result<()> {
    let lab = L::boot()?;
    let mut scene = Scene::set(&lab)?;
    while let Some((row, load)) = left.pop_front() {
        let outcome = try_once(&mut scene, row, load, left.is_empty());
        let line = table.line(L::NAME, row.name, load);
        match outcome {
            Ok(took) => {
                println!("{}, load {load}: right after {took:?}", row.name);
                line.right.push(took);
            }
            Err(error) => {
                println!("{}, load {load}: wrong: {error:#}", row.name);
                line.wrong.push(format!("{error:#}"));
                break;
            }
        }
    }
    Ok(())
}

/// One round: how long it took until all witnesses had it right, or, of a control, how long nobody was accused.
///
/// # Errors
/// If somebody had it wrong, or it could not be tried.
fn try_once<M: Machine>(scene: &mut Scene<'_, M>, row: &Row<M>, load: bool, last: bool) -> Result<Duration> {
    scene.prepare(row, load)?;
    let before = Before { known: scene.known()?, clocks: scene.clocks()? };
    scene.step(row.inject).context("bringing it about")?;
    let took = match &row.expected {
        Some(expected) => {
            let took = before.detection(scene, expected)?;
            std::thread::sleep(LISTENING);
            before.nothing_wrong(scene, Some(expected))?;
            took
        }
        None => {
            std::thread::sleep(control());
            scene.wait_until_healthy()?;
            before.nothing_wrong(scene, None)?;
            control()
        }
    };
    match row.undo {
        Undo::By(undo) => {
            scene.step(undo).context("undoing it")?;
            scene.wait_until_healthy().with_context(|| {
                format!("after it was undone; what was noted since before:\n{}", before.timelines(scene))
            })?;
            before.nothing_wrong(scene, row.expected.as_ref())?;
        }
        Undo::AnewBy(undo) if !last => {
            scene.step(undo).with_context(|| {
                format!("undoing it; what was noted since before:\n{}", before.timelines(scene))
            })?;
        }
        Undo::AnewBy(_) => {}
    }
    Ok(took)
}

/// How everything was before a fault, by monitor.
struct Before {
    /// Lengths of journals.
    known: Vec<usize>,
    /// What clocks showed.
    clocks: Vec<u64>,
}

impl Before {
    /// How long it took until the last witness accused somebody.
    ///
    /// # Errors
    /// If one of them does not.
    fn detection<M: Machine>(&self, scene: &Scene<'_, M>, expected: &Expected) -> Result<Duration> {
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
                    bail!("{} accuses nobody within {PATIENCE:?}\n{timelines}", watcher.name);
                }
                std::thread::sleep(BETWEEN_LOOKS);
            };
            took = took.max(Duration::from_nanos(first.at.saturating_sub(self.clocks[number])));
        }
        Ok(took)
    }

    /// Holds all that anybody has said since against what is expected: if nothing is, nobody may be accused.
    ///
    /// # Errors
    /// If something of it is not right.
    fn nothing_wrong<M: Machine>(&self, scene: &Scene<'_, M>, expected: Option<&Expected>) -> Result<()> {
        for (number, watcher) in scene.deployment.watchers.iter().enumerate() {
            let right = |accusation: &Accusation| {
                expected.is_some_and(|expected| expected.heard_from(number) && expected.is(accusation))
            };
            let all = accusations(watcher, self.known[number])?;
            if let Some(wrong) = all.iter().find(|accusation| !right(accusation)) {
                bail!("{} accuses {wrong}\n{}", watcher.name, self.timelines(scene));
            }
        }
        Ok(())
    }

    /// What everybody has noted since.
    fn timelines<M: Machine>(&self, scene: &Scene<'_, M>) -> String {
        let since = self.known.iter().zip(&self.clocks);
        let all = scene.deployment.watchers.iter().zip(since);
        all.map(|(watcher, (&known, &clock))| timeline(watcher, known, clock)).collect()
    }
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
