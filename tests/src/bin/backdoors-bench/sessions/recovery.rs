//! How long sessions are without a server: from the order to recover them, which stands for the verdict, until each speaks again.

use crate::picture::publish;
use crate::statistics::row;
use anyhow::{Context, Result};
use backdoors_tests::sessions::rows::{Client, Fault, Outcome, Row};
use serde_json::Value;
use std::path::Path;

/// Sessions, and within what time all of them are to speak again, milliseconds: the first is the thesis's.
const AIMS: [(usize, f64); 2] = [(200, 25.0), (1000, 60.0)];

/// What is measured of a recovery, milliseconds since the order.
struct Measured {
    /// The first session speaks.
    first: f64,
    /// The last one does.
    last: f64,
    /// The local server has all of them.
    served: f64,
}

pub fn run(rounds: usize, folder: &Path) -> Result<()> {
    // At full speed, as the thesis's; a thousand of those leave two processors no time to see how they are. And some that read
    // more slowly than they are served.
    let kinds = [("at full speed", Client::Hurries, &AIMS[..1]), ("paced", Client::Downloads, &AIMS[..])];
    for (clients, client, aims) in kinds {
        println!(
            "sessions  round  prepared  fenced  pulled  rebuilt  announced  first  mean  last  served  stall    (ms; clients {clients})"
        );
        for &(sessions, aim) in aims {
            let mut all = Vec::new();
            for round in 1..=rounds {
                let (outcome, times) = recover(client, sessions, round)?;
                if client == Client::Hurries && sessions == AIMS[0].0 && round == rounds {
                    draw(folder, &outcome, times.clone())?;
                }
                let (first, last) = ends(&times);
                all.push(Measured { first, last, served: mark(&outcome, "begun")? });
            }
            tell(sessions, clients, aim, &all)?;
        }
    }
    Ok(())
}

/// One recovery, and when each session spoke.
fn recover(client: Client, sessions: usize, round: usize) -> Result<(Outcome, Vec<f64>)> {
    let outcome = Row { fault: Fault::NodeStarved, clients: &[client], sessions }.run()?;
    let times = times(&outcome.report)?;
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    let (first, last) = ends(&times);
    let marks = ["prepared", "fenced", "pulled", "rebuilt", "announced"];
    let marks: Vec<String> =
        marks.iter().map(|phase| Ok(format!("{:8.1}", mark(&outcome, phase)?))).collect::<Result<_>>()?;
    let stall = outcome.stalls.iter().max().context("no clients")?.as_secs_f64() * 1e3;
    println!(
        "{sessions:8} {round:6} {} {first:6.1} {mean:6.1} {last:6.1} {:6.1} {stall:6.0}",
        marks.join(" "),
        mark(&outcome, "begun")?
    );
    Ok((outcome, times))
}

fn ends(times: &[f64]) -> (f64, f64) {
    times.iter().fold((f64::MAX, 0.0_f64), |(first, last), time| (first.min(*time), last.max(*time)))
}

/// Best, mean and worst of all rounds.
fn tell(sessions: usize, clients: &str, aim: f64, all: &[Measured]) -> Result<()> {
    let of = |what: &str, value: fn(&Measured) -> f64| {
        let values: Vec<f64> = all.iter().map(value).collect();
        let (best, worst) = ends(&values);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        println!("{sessions} clients {clients}, {what}: best {best:.1}, mean {mean:.1}, worst {worst:.1} ms");
    };
    of("the first session speaks", |measured| measured.first);
    of("the last session speaks", |measured| measured.last);
    of("the server has all", |measured| measured.served);
    let mut lasts: Vec<f64> = all.iter().map(|measured| measured.last).collect();
    let last = crate::statistics::median_of(&mut lasts).context("no rounds")?;
    row(
        &format!("recovery of {sessions} sessions, clients {clients}, to the last one that speaks"),
        &format!("{last:.1} ms"),
        &format!("{aim:.0} ms"),
        last / aim,
    );
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
