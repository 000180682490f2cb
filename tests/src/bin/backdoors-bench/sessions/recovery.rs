//! How long sessions are without a server: from the order to recover them, which stands for the verdict, until each speaks again.

use crate::statistics::row;
use anyhow::{Context, Result};
use backdoors_tests::sessions::rows::{Client, Fault, Outcome, Row};
use serde_json::Value;

/// Sessions, and within what time all of them are to speak again, milliseconds: the first is the thesis's.
const AIMS: [(usize, f64); 2] = [(200, 25.0), (1000, 60.0)];

pub fn run(rounds: usize) -> Result<()> {
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
