//! Figure 3.7: a CPU-bound task has a CPU for itself, and the one progress counter is the number of scheduling
//! decisions there. A monitor that samples it once a deadline takes every deadline without a decision for a failure.

use super::Arguments;
use super::counters::{Readings, watch};
use crate::picture::publish;
use anyhow::{Context, Result, bail};
use backdoors_sensor_box::SensorKind;
use std::time::Duration;

/// The CPU of the task.
const CPU: u32 = 1;
const LONGEST: u64 = 200;
/// Moments at which the first sample is taken, spread over a deadline.
const PHASES: u32 = 8;

pub fn run(arguments: &Arguments) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("false positives take two CPUs: one for the task, one for everything else");
    }
    let seconds = arguments.seconds;
    let readings = watch(seconds, |target, _| {
        let bound = format!("timeout {} taskset -c {CPU} sh -c 'while :; do :; done'", seconds + 10);
        Ok(target.command("sh").args(["-c", &bound]).spawn()?)
    })?;
    let switches: Vec<(Duration, u64)> = readings
        .iter()
        .filter_map(|(at, view)| Some((*at, view.sensor(SensorKind::CPU_SWITCHES, CPU)?.value)))
        .collect();
    let mut csv = "deadline ms,fraction of false positives\n".to_owned();
    let mut shown = Vec::new();
    for deadline in 1..=LONGEST {
        let fraction = fraction(&switches, Duration::from_millis(deadline)).context("too few readings")?;
        csv.push_str(&format!("{deadline},{fraction:.6}\n"));
        if [1, 5, 10, 20, 50, 100, 200].contains(&deadline) {
            shown.push(format!("{deadline} ms: {:.1} %", 100.0 * fraction));
        }
    }
    println!("false positives by deadline, {}: {}", described(&readings), shown.join(", "));
    publish(
        &arguments.out,
        "false-positives",
        &csv,
        "set title 'False positives against the deadline (figure 3.7 of the thesis)'\nset yrange [0:1]\n\
         set xlabel 'deadline, ms'\nset ylabel 'fraction of samples that are false positives'\nunset key\n\
         plot DATA using 1:2 with lines linewidth 2",
    )
}

fn described(readings: &Readings) -> String {
    let (first, last) = (readings.first(), readings.last());
    let lasted =
        first.zip(last).map_or(Duration::ZERO, |((first, _), (last, _))| last.saturating_sub(*first));
    format!("{} readings in {:.0} s", readings.len(), lasted.as_secs_f64())
}

/// The share of samples, one each `deadline`, that show the same value as the one before.
fn fraction(values: &[(Duration, u64)], deadline: Duration) -> Option<f64> {
    let ((first, _), (last, _)) = (*values.first()?, *values.last()?);
    let (mut samples, mut still) = (0_u32, 0_u32);
    for phase in 0..PHASES {
        let mut at = first + deadline * phase / PHASES;
        let mut before = value_at(values, at);
        while at + deadline <= last {
            at += deadline;
            let now = value_at(values, at);
            samples += 1;
            still += u32::from(now == before);
            before = now;
        }
    }
    (samples > 0).then(|| f64::from(still) / f64::from(samples))
}

/// The newest reading at `at`.
fn value_at(values: &[(Duration, u64)], at: Duration) -> Option<u64> {
    let behind = values.partition_point(|(read, _)| *read <= at);
    Some(values.get(behind.checked_sub(1)?)?.1)
}
