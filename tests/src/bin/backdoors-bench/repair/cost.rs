//! A repair, from the WRITE of its command to the last culprit's death, against `pkill` on the target itself, by the
//! same yardstick: the sensor that counts the user's processes, read remotely until it is 0.

use super::culprits::Culprits;
use super::watcher::{Repair, Watcher};
use crate::statistics::{median_of, row};
use anyhow::{Context, Result};
use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::plan;
use backdoors_tests::host::{Host, HostLimits, Network};
use std::net::Ipv4Addr;

/// Both in turn, so that neither's leftovers are the other's.
const REPAIRED: u32 = 61_001;
const PKILLED: u32 = 61_002;
/// How many, and whether they spin. What the thesis measured (table 3.3), milliseconds: not its variants' exact
/// setting, but its order of magnitude.
const POPULATIONS: [(u32, bool, f64); 5] = [
    (100, false, 140.0),
    (500, false, 263.0),
    (1000, false, 350.0),
    (1500, false, 426.0),
    (100, true, 140.0),
];
/// What a repair may cost, milliseconds: so much, and so much more for each process.
const AIM: (f64, f64) = (40.0, 0.1);

/// So many rounds of both; who goes first alternates.
pub fn run(rounds_each: usize) -> Result<()> {
    let limits = HostLimits { processes: 2500, ..HostLimits::default() };
    let network = Network::new()?;
    let target = Host::boot(&network, "target", Ipv4Addr::new(10, 88, 0, 1), limits)?;
    let monitor = Host::boot(&network, "monitor", Ipv4Addr::new(10, 88, 0, 2), limits)?;
    let mut plan = plan("emulated", "");
    plan.agent = "scope = \"pid-namespace\"\n".to_owned();
    let _deployment = Deployment::install(&target, &monitor, plan)?;
    let mut watcher = Watcher::connect(&target, &monitor)?;
    println!("milliseconds until the last process of a user is gone, medians of {rounds_each} rounds");
    println!(
        "{:>15} {:>8} {:>8} {:>8} | {:>6} {:>10} {:>8} {:>11} {:>6} {:>6} | {:>7}",
        "processes",
        "repair",
        "pkill",
        "ratio",
        "fetch",
        "diagnosis",
        "command",
        "last death",
        "in all",
        "aim",
        "thesis"
    );
    let mut tables = Vec::new();
    for (count, spinning, thesis) in POPULATIONS {
        let mut rounds = Rounds::default();
        for round in 0..rounds_each {
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    let culprits = Culprits::start(&target, &mut watcher, REPAIRED, count, spinning)?;
                    rounds.repairs.push(watcher.repair(REPAIRED)?);
                    culprits.reaped()?;
                } else {
                    let culprits = Culprits::start(&target, &mut watcher, PKILLED, count, spinning)?;
                    rounds.pkills.push(watcher.pkill(&target, PKILLED)?);
                    culprits.reaped()?;
                }
            }
        }
        rounds.print(count, spinning, thesis)?;
        tables.push((count, spinning, rounds));
    }
    for (count, spinning, rounds) in &tables {
        rounds.row(*count, *spinning)?;
    }
    Ok(())
}

#[derive(Default)]
struct Rounds {
    repairs: Vec<Repair>,
    pkills: Vec<f64>,
}

impl Rounds {
    fn row(&self, count: u32, spinning: bool) -> Result<()> {
        let repair = median_of(&mut self.repairs.iter().map(|repair| repair.gone).collect::<Vec<_>>());
        let pkill = median_of(&mut self.pkills.clone());
        let (repair, pkill) = (repair.context("no rounds")?, pkill.context("no rounds")?);
        let state = if spinning { "spinning" } else { "sleeping" };
        let aim = AIM.0 + AIM.1 * f64::from(count);
        let all = median_of(&mut self.repairs.iter().map(Repair::in_all).collect::<Vec<_>>());
        let all = all.context("no rounds")?;
        row(
            &format!("fetch, diagnosis, command and last of {count} {state} deaths"),
            &format!("{all:.1} ms"),
            &format!("{aim:.0} ms"),
            all / aim,
        );
        row(
            &format!("WRITE to last of {count} {state} culprits dead"),
            &format!("{repair:.1} ms"),
            &format!("local pkill, {pkill:.1} ms"),
            repair / pkill,
        );
        Ok(())
    }

    fn print(&self, count: u32, spinning: bool, thesis: f64) -> Result<()> {
        let of = |part: fn(&Repair) -> f64| {
            median_of(&mut self.repairs.iter().map(part).collect::<Vec<_>>()).context("no rounds")
        };
        let repair = of(|repair| repair.gone)?;
        let pkill = median_of(&mut self.pkills.clone()).context("no rounds")?;
        println!(
            "{:>15} {repair:>8.1} {pkill:>8.1} {:>8.2} | {:>6.2} {:>10.2} {:>8.2} {:>11.1} {:>6.1} {:>6.1} | {thesis:>7}",
            format!("{count} {}", if spinning { "spinning" } else { "sleeping" }),
            repair / pkill,
            of(|repair| repair.fetch)?,
            of(|repair| repair.diagnosis)?,
            of(|repair| repair.accepted)?,
            of(|repair| repair.killing)?,
            of(Repair::in_all)?,
            AIM.0 + AIM.1 * f64::from(count),
        );
        Ok(())
    }
}
