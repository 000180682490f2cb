//! No watcher, `earlyoom`, `systemd-oomd` and Backdoors against the same memory hog, in the same virtual machine.

mod answers;
mod bystanders;
mod contestant;
mod hog;
mod lab;
mod table;

use anyhow::{Context, Result};
use backdoors_tests::vm::{Vm, Wire};
use contestant::Contestant;
use lab::{Failure, Lab};
use std::path::PathBuf;
use std::time::Duration;
use table::{Row, Table};

/// How often a run that does not begin is tried.
const TRIES: usize = 3;

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each contestant in each scene; the order rotates from run to run
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Seconds from the hog's start until a run is lost
    #[arg(long, default_value_t = 45)]
    deadline: u64,
    /// What the machine has; both if nothing is named
    #[arg(long = "scene", value_enum, value_delimiter = ',')]
    scenes: Vec<Scene>,
    /// Who takes part; everybody if nobody is named
    #[arg(long = "contestant", value_enum, value_delimiter = ',')]
    contestants: Vec<Contestant>,
    /// Make only the runs that are not among the data there yet
    #[arg(long)]
    go_on: bool,
    /// Where each run's answers and logs go, to find out why a number is as it is
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// Where the table and its data go
    #[arg(long, value_name = "FOLDER", default_value = "docs/evaluation")]
    out: PathBuf,
}

/// What the machine has besides its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scene {
    /// No swap space
    NoSwap,
    /// As much swap space as memory
    Swap,
}

impl Scene {
    const ALL: [Scene; 2] = [Scene::NoSwap, Scene::Swap];

    fn name(self) -> &'static str {
        match self {
            Scene::NoSwap => "no swap",
            Scene::Swap => "swap",
        }
    }
}

/// One run that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    number: usize,
    scene: Scene,
    contestant: Contestant,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let deadline = Duration::from_secs(arguments.deadline);
    let mut table = Table::open(&arguments.out, deadline, arguments.go_on)?;
    let runs: Vec<Run> = plan(arguments).into_iter().filter(|run| !table.has(*run)).collect();
    let (mut done, mut tries) = (0, 0);
    // Every turn of this loop is a boot: the first one, and one after each run that left nothing usable behind.
    while done < runs.len() {
        let wire = Wire::new()?;
        let [target, monitor]: [Vm; 2] = lab::boot(&wire)?;
        let mut lab = Lab::install(&target, &monitor, arguments.keep.as_deref())?;
        for run in &runs[done..] {
            let (row, usable) = match lab.make(*run, deadline) {
                Ok(made) => made,
                Err(Failure::Lost(error)) => (Row { note: format!("{error:#}"), ..Row::default() }, false),
                Err(Failure::NotBegun(error)) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(error.context(format!("{run:?} did not begin in {TRIES} tries")));
                    }
                    eprintln!("{run:?} did not begin, the guests start anew: {error:#}");
                    break;
                }
            };
            table.add(*run, row)?;
            (done, tries) = (done + 1, 0);
            if !usable {
                break;
            }
        }
    }
    print!("{}", table.text());
    Ok(())
}

/// All runs in their order: whoever was first is last the next time.
fn plan(arguments: &Arguments) -> Vec<Run> {
    fn named<T: Copy>(given: &[T], all: &[T]) -> Vec<T> {
        if given.is_empty() { all.to_vec() } else { given.to_vec() }
    }
    let scenes = named(&arguments.scenes, &Scene::ALL);
    let contestants = named(&arguments.contestants, &Contestant::ALL);
    let mut runs = Vec::new();
    for number in 0..arguments.runs {
        for scene in &scenes {
            for turn in 0..contestants.len() {
                let contestant = contestants[(number + turn) % contestants.len()];
                runs.push(Run { number: number + 1, scene: *scene, contestant });
            }
        }
    }
    runs
}
