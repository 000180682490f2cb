//! How long sessions are without a server: from the order to recover them, which stands for the verdict, until each speaks again.

use crate::picture::publish;
use crate::statistics::row;
use anyhow::{Context, Result};
use backdoors_tests::sessions::rows::{Client, Fault, Outcome, Row};
use serde_json::Value;
use std::path::Path;

/// Sessions, and within what time all of them are to speak again, milliseconds: the first is the thesis's.
const AIMS: [(usize, f64); 2] = [(200, 25.0), (1000, 60.0)];

pub fn run(rounds: usize, folder: &Path) -> Result<()> {
    println!(
        "sessions  round  prepared  fenced  pulled  rebuilt  announced  best  mean  worst  served  stall    (ms)"
    );
    for (sessions, aim) in AIMS {
        let mut worsts = Vec::new();
        for round in 1..=rounds {
            let outcome = Row { fault: Fault::NodeStarved, client: Client::Downloads, sessions }.run()?;
            let times = times(&outcome.report)?;
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            let (best, worst) = times
                .iter()
                .fold((f64::MAX, 0.0_f64), |(best, worst), time| (best.min(*time), worst.max(*time)));
            let marks = ["prepared", "fenced", "pulled", "rebuilt", "announced"];
            let marks: Vec<String> = marks
                .iter()
                .map(|phase| Ok(format!("{:8.1}", mark(&outcome, phase)?)))
                .collect::<Result<_>>()?;
            let stall = outcome.stalls.iter().max().context("no clients")?.as_secs_f64() * 1e3;
            println!(
                "{sessions:8} {round:6} {} {best:6.1} {mean:6.1} {worst:6.1} {:6.1} {stall:6.0}",
                marks.join(" "),
                mark(&outcome, "begun")?
            );
            if sessions == AIMS[0].0 && round == rounds {
                draw(folder, &outcome, times)?;
            }
            worsts.push(worst);
        }
        let worst = crate::statistics::median_of(&mut worsts).context("no rounds")?;
        row(
            &format!("recovery of {sessions} sessions, to the last one that speaks"),
            &format!("{worst:.1} ms"),
            &format!("{aim:.0} ms"),
            worst / aim,
        );
    }
    Ok(())
}

/// The timeline of one recovery: how many sessions speak, over time, and when which phase ended.
fn draw(folder: &Path, outcome: &Outcome, mut times: Vec<f64>) -> Result<()> {
    times.sort_unstable_by(f64::total_cmp);
    let mut csv = "ms,sessions that speak\n".to_owned();
    (1..).zip(&times).for_each(|(count, time)| csv.push_str(&format!("{time},{count}\n")));
    let mut plot = "set xlabel 'ms since the order'\nset ylabel 'sessions that speak'\nset xrange [0:*]\nset key left top\n".to_owned();
    for (height, phase) in (1..).zip(["fenced", "pulled", "rebuilt", "announced"]) {
        let at = mark(outcome, phase)?;
        plot.push_str(&format!(
            "set arrow from {at}, graph 0 to {at}, graph 1 nohead dashtype 2\n\
             set label ' {phase}' at {at}, graph {}\n",
            f64::from(height) * 0.15
        ));
    }
    plot.push_str("plot DATA using 1:2 with steps linewidth 2");
    publish(folder, "recovery-timeline", &csv, &plot)?;
    draw_throughput(folder, outcome)
}

/// What all clients together got, across the fault.
fn draw_throughput(folder: &Path, outcome: &Outcome) -> Result<()> {
    let mut csv = "s,MiB a second\n".to_owned();
    for pair in outcome.tally.windows(2) {
        if let [(from, before), (to, after)] = pair
            && to > from
        {
            let rate = (after - before) / (to - from) / f64::from(1 << 20);
            csv.push_str(&format!("{to:.3},{rate:.3}\n"));
        }
    }
    let plot = "set xlabel 's since the fault'\nset ylabel 'MiB a second, all clients'\nset yrange [0:*]\n\
                set arrow from 0, graph 0 to 0, graph 1 nohead dashtype 2\nset label ' fault, and order to recover' at 0, graph 0.95\n\
                plot DATA using 1:2 with lines linewidth 2";
    publish(folder, "recovery-throughput", &csv, plot)
}

/// When each session spoke again, milliseconds.
fn times(report: &Value) -> Result<Vec<f64>> {
    let sessions = report["sessions"].as_array().context("a report without sessions")?;
    let after = |session: &Value| session["fate"]["resumed"]["after_ns"].as_f64().map(|after| after / 1e6);
    sessions.iter().map(|session| after(session).context("a session that was not resumed")).collect()
}

fn mark(outcome: &Outcome, phase: &str) -> Result<f64> {
    let marks = outcome.report["marks"].as_array().context("a report without marks")?;
    let found = marks.iter().find(|mark| mark["phase"] == phase).and_then(|mark| mark["after_ns"].as_f64());
    Ok(found.with_context(|| format!("no mark `{phase}`"))? / 1e6)
}
