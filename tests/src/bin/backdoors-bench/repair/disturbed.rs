//! A useful program's time beside hostile ones, with repair and without, in virtual machines.

use super::{Arguments, figures};
use crate::statistics::{median_of, row};
use anyhow::{Context, Result};
use backdoors_tests::deployment::Plan;
use backdoors_tests::healing::disturbance::{Guests, Help, Hostile, Outcome, Run, Scene, Setting};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// How often a run that cannot begin is tried.
const TRIES: usize = 3;
/// The useful work's time after a repair, as a multiple of its undisturbed time.
const AIM: f64 = 1.2;

/// A figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Hog,
    Bomb,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Part::Hog => "repair-hog",
            Part::Bomb => "repair-bomb",
        }
    }

    pub fn programs(self) -> [Hostile; 2] {
        match self {
            Part::Hog => [Hostile::Hog, Hostile::StressNg],
            Part::Bomb => [Hostile::CpuBomb, Hostile::IoBomb],
        }
    }

    fn sizes(self) -> &'static [u32] {
        match self {
            Part::Hog => &[5, 10, 20, 30],
            Part::Bomb => &[50, 100, 200, 400],
        }
    }

    /// With swap space and without, where it matters.
    pub fn swaps(self) -> &'static [bool] {
        match self {
            Part::Hog => &[false, true],
            Part::Bomb => &[false],
        }
    }

    fn plan(self) -> Plan {
        match self {
            Part::Hog => Scene::plan("memory-hog", ""),
            Part::Bomb => Scene::plan("forkbomb", "[limits]\n\"user.processes\" = 40\n"),
        }
    }

    /// All runs: first those with repair, because they leave the machine as it was.
    fn runs(self, arguments: &Arguments) -> VecDeque<Run> {
        let sizes = if arguments.sizes.is_empty() { self.sizes() } else { &arguments.sizes };
        let mut runs = VecDeque::new();
        for (help, count) in [(Help::Backdoors, arguments.runs), (Help::Nobody, arguments.runs_without)] {
            for _ in 0..count {
                for swap in self.swaps() {
                    for hostile in self.programs() {
                        runs.extend(sizes.iter().map(|size| Run { hostile, size: *size, swap: *swap, help }));
                    }
                }
            }
        }
        runs
    }
}

pub fn run(arguments: &Arguments, part: Part) -> Result<()> {
    if !arguments.draw {
        let setting = Setting {
            work: arguments.work,
            deadline: Duration::from_secs(arguments.deadline),
            swap_mib: if part == Part::Hog { arguments.swap } else { 0 },
        };
        let mut table = Table::new(arguments, part)?;
        measure(setting, part, part.runs(arguments), &mut table)?;
        table.rows(part);
    }
    figures::draw(&arguments.out, part)
}

/// Makes all runs, on new guests whenever some are lost.
fn measure(setting: Setting, part: Part, mut left: VecDeque<Run>, table: &mut Table) -> Result<()> {
    let mut tries = 0;
    while !left.is_empty() {
        let before = left.len();
        if let Err(error) = measure_on_guests(setting, part, &mut left, table) {
            tries = if left.len() < before { 1 } else { tries + 1 };
            if tries == TRIES {
                return Err(error);
            }
            println!("    other guests are booted: {error:#}");
        }
    }
    Ok(())
}

/// Boots guests, and makes runs until none is left or the guests are lost.
fn measure_on_guests(
    setting: Setting,
    part: Part,
    left: &mut VecDeque<Run>,
    table: &mut Table,
) -> Result<()> {
    let guests = Guests::boot(setting)?;
    let mut scene = Scene::install(&guests, setting, part.plan())?;
    while let Some(run) = left.front().copied() {
        let failed = || format!("a run of {} with {} could not begin", run.hostile, run.size);
        let outcome = scene.run(run).with_context(failed)?;
        left.pop_front();
        table.add(run, &outcome)?;
        if let Some(reason) = outcome.lost {
            println!("    other guests are booted: {reason}");
            return Ok(());
        }
    }
    Ok(())
}

/// The data, on the disk with every run.
struct Table {
    file: File,
    runs: Vec<(Run, Outcome)>,
    swap_mib: u32,
    notes: bool,
}

impl Table {
    fn new(arguments: &Arguments, part: Part) -> Result<Table> {
        let path = arguments.out.join(format!("{}.csv", part.name()));
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        writeln!(
            file,
            "program,size,swap MiB,help,undisturbed s,disturbed s,done,rounds,gone s,answers s,after s,kernel's kills,what happened"
        )?;
        Ok(Table { file, runs: Vec::new(), swap_mib: arguments.swap, notes: arguments.notes })
    }

    fn add(&mut self, run: Run, outcome: &Outcome) -> Result<()> {
        let seconds = |value: Option<f64>| value.map_or(String::new(), |seconds| format!("{seconds:.2}"));
        let measured = outcome.measured;
        let line = [
            run.hostile.to_string(),
            run.size.to_string(),
            if run.swap { self.swap_mib } else { 0 }.to_string(),
            run.help.to_string(),
            seconds(Some(measured.undisturbed)),
            seconds(Some(measured.disturbed)),
            if measured.is_done { "yes" } else { "no" }.to_owned(),
            measured.rounds.to_string(),
            seconds(measured.gone),
            seconds(measured.answers),
            seconds(measured.after),
            outcome.kernel_kills.to_string(),
            outcome.happened.replace([',', '\n'], ";"),
        ];
        let line = line.join(",");
        println!("    {line}");
        // Where help did not end the hostile program, the reason is wanted.
        if self.notes || run.help == Help::Backdoors && outcome.measured.gone.is_none() {
            outcome.notes.iter().for_each(|note| println!("        {note}"));
        }
        writeln!(self.file, "{line}")?;
        self.runs.push((run, outcome.clone()));
        Ok(())
    }

    /// The rows for the table of all benches.
    fn rows(&self, part: Part) {
        for program in part.programs() {
            let of_program = self.runs.iter().filter(|(run, _)| run.hostile == program);
            let repaired: Vec<_> = of_program.filter(|(run, _)| run.help == Help::Backdoors).collect();
            let slower =
                |(_, outcome): &&(Run, Outcome)| Some(outcome.measured.after? / outcome.measured.undisturbed);
            let mut after: Vec<f64> = repaired.iter().filter_map(slower).collect();
            let (all, seen) = (repaired.len(), after.len());
            let longest = after.iter().copied().fold(0.0, f64::max);
            if let Some(median) = median_of(&mut after) {
                row(
                    &format!("useful work after the repair of `{program}`, {seen} of {all} runs"),
                    &format!("{median:.2} of the undisturbed time (longest {longest:.2})"),
                    &format!("{AIM:.2}"),
                    median / AIM,
                );
            }
        }
    }
}
