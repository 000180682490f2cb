//! What the kernel half adds to a context switch and to the life of a process: by the kernel's own statistics of BPF
//! programs, and end to end, with and without it in turn.

use crate::load::Kind;
use crate::programs::{PINS, Statistics, of_links, statistics};
use crate::statistics::{median_of, row};
use anyhow::{Context, Result, bail};
use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::plan;
use backdoors_tests::host::{Host, HostLimits, Network};
use backdoors_tests::machine::Machine;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    /// Rounds with the kernel half, and as many without
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Context switches in a round
    #[arg(long, default_value_t = 200_000)]
    switches: u32,
    /// Processes in a round
    #[arg(long, default_value_t = 2000)]
    forks: u32,
    /// What the kernel half watches: `pid-namespace` or `machine`
    #[arg(long, default_value = "pid-namespace")]
    scope: String,
}

const END: Duration = Duration::from_secs(10);
/// What a prototype of each program took, nanoseconds.
const AIMS: [(&str, f64); 3] = [("on_switch", 119.0), ("on_fork", 366.0), ("on_exit", 180.0)];

pub fn run(arguments: &Arguments) -> Result<()> {
    let network = Network::new()?;
    let target = Host::boot(&network, "target", Ipv4Addr::new(10, 88, 0, 1), HostLimits::default())?;
    let monitor = Host::boot(&network, "monitor", Ipv4Addr::new(10, 88, 0, 2), HostLimits::default())?;
    let mut plan = plan("emulated", "");
    plan.agent = format!("scope = \"{}\"\n", arguments.scope);
    let mut deployment = Deployment::install(&target, &monitor, plan)?;
    println!("kernel half's cost, scope {}", arguments.scope);
    let exact = exact(&target, arguments)?;
    end_to_end(&mut deployment, arguments)?;
    for (what, mean, aim) in exact {
        row(&what, &format!("{mean:.0} ns"), &format!("{aim} ns"), mean / aim);
    }
    Ok(())
}

/// Programs that have an aim, with what they took and the aim.
fn exact(target: &Host, arguments: &Arguments) -> Result<Vec<(String, f64, f64)>> {
    let mut found = Vec::new();
    let _statistics = Statistics::enable()?;
    let programs = of_links(target)?;
    for (load, kind, count) in
        [("switches", Kind::Switches, arguments.switches), ("forks", Kind::Forks, arguments.forks)]
    {
        let mut means = BTreeMap::<String, Vec<f64>>::new();
        let mut runs = BTreeMap::<String, u64>::new();
        for _ in 0..arguments.rounds {
            let before = statistics(&programs);
            kind.run_in(target, count)?;
            for (name, (time, count)) in statistics(&programs) {
                let (time_before, count_before) = before.get(&name).copied().unwrap_or_default();
                let (time, count) = (time - time_before, count - count_before);
                if count > 0 {
                    means.entry(name.clone()).or_default().push(time as f64 / count as f64);
                    *runs.entry(name).or_default() += count;
                }
            }
        }
        println!("BPF statistics during {load}, median of {} rounds:", arguments.rounds);
        for (name, mut means) in means {
            let mean = median_of(&mut means).context("no rounds")?;
            let aim = AIMS.iter().find(|(program, _)| *program == name);
            // Few runs tell little: a switch is judged among switches, the rest among forks.
            if let Some((_, aim)) = aim
                && (kind == Kind::Switches) == (name == "on_switch")
            {
                found.push((format!("kernel half, {name}"), mean, *aim));
            }
            println!("  {name:<14} {mean:>7.0} ns a run, {:>9} runs", runs[&name]);
        }
    }
    Ok(found)
}

fn end_to_end(deployment: &mut Deployment<'_, Host>, arguments: &Arguments) -> Result<()> {
    let loads = [
        ("switch", Kind::Switches, arguments.switches),
        ("fork, exit and wait", Kind::Forks, arguments.forks),
    ];
    let mut with = [Vec::new(), Vec::new()];
    let mut without = [Vec::new(), Vec::new()];
    for _ in 0..arguments.rounds {
        for (index, (_, kind, count)) in loads.iter().enumerate() {
            with[index].push(kind.run_in(deployment.target, *count)?);
        }
        stop_agent(deployment)?;
        for (index, (_, kind, count)) in loads.iter().enumerate() {
            without[index].push(kind.run_in(deployment.target, *count)?);
        }
        deployment.start_agent()?;
    }
    println!("end to end, with and without in turn, medians of {} rounds each:", arguments.rounds);
    for (index, (what, ..)) in loads.iter().enumerate() {
        let mut ratios: Vec<f64> =
            with[index].iter().zip(&without[index]).map(|(with, without)| with / without).collect();
        let with = median_of(&mut with[index]).context("no rounds")? / 1e3;
        let without = median_of(&mut without[index]).context("no rounds")? / 1e3;
        println!(
            "  a {what}: {with:.2} us with, {without:.2} us without; median ratio of neighbours {:.3}",
            median_of(&mut ratios).context("no rounds")?
        );
    }
    Ok(())
}

/// Stops the agent, which takes its kernel half along.
fn stop_agent(deployment: &Deployment<'_, Host>) -> Result<()> {
    let target = deployment.target;
    target.signal("TERM", deployment.agent)?;
    target.wait_for("the agent's end", END, || {
        let alive = target.shell(&format!("kill -0 {} 2>/dev/null", deployment.agent)).is_ok();
        Ok((!alive).then_some(()))
    })?;
    if target.path(PINS).exists() {
        bail!("the agent ended and left its kernel half");
    }
    Ok(())
}
