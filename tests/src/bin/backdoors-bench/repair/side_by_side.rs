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
use lab::Lab;
use std::path::PathBuf;
use std::time::Duration;
use table::{Row, Table};

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each contestant in each scene; the order rotates from run to run
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Seconds from the hog's start until a run is lost
    #[arg(long, default_value_t = 60)]
    deadline: u64,
    /// What the machine has; both if nothing is named
    #[arg(long = "scene", value_enum, value_delimiter = ',')]
    scenes: Vec<Scene>,
    /// Who takes part; everybody if nobody is named
    #[arg(long = "contestant", value_enum, value_delimiter = ',')]
    contestants: Vec<Contestant>,
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
    fn name(self) -> &'static str {
        match self {
            Scene::NoSwap => "no swap",
            Scene::Swap => "swap",
        }
    }
}

/// One run that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    number: usize,
    scene: Scene,
    contestant: Contestant,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let deadline = Duration::from_secs(arguments.deadline);
    let runs = plan(arguments);
    let mut table = Table::new(&arguments.out, deadline)?;
    let mut done = 0;
    // Every turn of this loop is a boot: the first one, and one after each run that left nothing usable behind.
    while done < runs.len() {
        let wire = Wire::new()?;
        let [target, monitor]: [Vm; 2] = lab::boot(&wire)?;
        let mut lab = Lab::install(&target, &monitor)?;
        for run in &runs[done..] {
            let made = lab.make(*run, deadline).with_context(|| format!("{run:?}"));
            done += 1;
            match made {
                Ok((row, usable)) => {
                    table.add(row)?;
                    if !usable {
                        break;
                    }
                }
                Err(error) => {
                    // A guest that does not answer the lab any more is what losing a run means.
                    table.add(Row::lost(*run, format!("{error:#}")))?;
                    break;
                }
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
    let scenes = named(&arguments.scenes, &[Scene::NoSwap, Scene::Swap]);
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
