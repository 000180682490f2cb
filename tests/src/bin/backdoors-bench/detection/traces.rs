//! Figure 3.8: counters of interrupts on a machine that runs a streaming server, under several loads.

use super::Arguments;
use super::counters::{sum, watch};
use crate::picture::publish;
use crate::stream::sessions;
use anyhow::{Context, Result};
use backdoors_sensor_box::SensorKind;
use std::time::Duration;

const LOADS: [u32; 4] = [0, 1, 5, 20];
/// Time between two points of a curve.
const STEP: Duration = Duration::from_millis(50);

pub fn run(arguments: &Arguments) -> Result<()> {
    // In milliseconds, what each load counted since the beginning.
    let mut curves = Vec::new();
    for load in LOADS {
        let readings = watch(arguments.seconds, |target, monitor| sessions(target, monitor, load))?;
        let (begin, first) = readings.first().context("no readings")?;
        let counted =
            |kind| readings.iter().map(move |(at, view)| (*at - *begin, sum(view, kind) - sum(first, kind)));
        let of = |kind| points(counted(kind));
        let (interrupts, softirqs) = (of(SensorKind::CPU_INTERRUPTS), of(SensorKind::CPU_SOFTIRQS));
        let per_second = |curve: &[u64]| curve.last().map_or(0, |last| last / arguments.seconds.max(1));
        println!(
            "{load} streaming sessions: {} soft interrupts and {} device interrupts a second",
            per_second(&softirqs),
            per_second(&interrupts)
        );
        curves.push((interrupts, softirqs));
    }
    let heads = |what: &str| LOADS.map(|load| format!("{load} sessions {what}")).join(",");
    let mut csv = format!("time ms,{},{}\n", heads("softirqs"), heads("interrupts"));
    let rows = curves.iter().map(|(_, softirqs)| softirqs.len()).min().unwrap_or(0);
    for index in 0..rows {
        let of = |curve: &dyn Fn(usize) -> u64| {
            (0..LOADS.len()).map(|load| curve(load).to_string()).collect::<Vec<_>>().join(",")
        };
        csv.push_str(&format!(
            "{},{},{}\n",
            STEP.as_millis() * index as u128,
            of(&|load| curves[load].1[index]),
            of(&|load| curves[load].0.get(index).copied().unwrap_or(0))
        ));
    }
    let curves = LOADS.iter().enumerate().map(|(index, load)| {
        format!("DATA using ($1/1000):{} with lines linewidth 2 title '{load} sessions'", index + 2)
    });
    publish(
        &arguments.out,
        "interrupt-traces",
        &csv,
        &format!(
            "set title 'Soft interrupts handled, by number of streaming sessions (figure 3.8 of the thesis)'\n\
             set key left top\nset xlabel 'time, s'\nset ylabel 'soft interrupts since the beginning, all CPUs'\n\
             plot {}",
            curves.collect::<Vec<_>>().join(", ")
        ),
    )
}

/// The value at the beginning of every step.
fn points(values: impl Iterator<Item = (Duration, u64)>) -> Vec<u64> {
    let mut points = Vec::new();
    for (at, value) in values {
        while STEP * (points.len() as u32) <= at {
            points.push(value);
        }
    }
    points
}
