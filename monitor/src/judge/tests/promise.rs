//! The promised rate of false alarms, and the promised deadline.

use super::at;
use super::bench::{Bench, Fault, Target};
use crate::verdict::{Layer, State};
use std::time::Duration;

/// Alarms of the path of a healthy target, and deadlines gone by, at a loss.
fn alarms(seed: u64, lost: f64, false_alarm: f64, deadlines: u32) -> (usize, u64) {
    let limit = at(100);
    let mut bench = Bench::new(seed, Target { timer_limit: limit, ..Target::default() });
    bench.lost = lost;
    bench.inputs.false_alarm = false_alarm;
    bench.target.tells_busy = false;
    bench.run(limit * deadlines);
    let told =
        bench.changes.iter().filter(|change| change.layer == Layer::Path && change.state != State::Healthy);
    let told = told.count();
    let failed = bench.changes.iter().filter(|change| change.state == State::Failed).count();
    assert_eq!(failed, 0, "loss never condemns anyone by itself");
    (told, bench.samples)
}

fn keeps_the_promise(lost: f64, false_alarm: f64) {
    const DEADLINES: u32 = 1_000_000;
    let (told, samples) = alarms(11, lost, false_alarm, DEADLINES);
    let promised = false_alarm * f64::from(DEADLINES);
    println!("loss {lost}: {told} alarms in {DEADLINES} deadlines, {promised} promised, {samples} samples");
    assert!(told as f64 <= promised, "{told} alarms, {promised} promised, {samples} samples");
    // Otherwise nothing is shown: the promise must not be kept by sampling far more than it takes.
    assert!(told as f64 >= promised / 40.0, "{told} alarms, {promised} promised, {samples} samples");
}

#[test]
fn at_a_loss_of_1_percent_a_million_deadlines_see_fewer_false_alarms_than_promised() {
    keeps_the_promise(0.01, 1e-3);
}

#[test]
fn at_a_loss_of_10_percent_a_million_deadlines_see_fewer_false_alarms_than_promised() {
    keeps_the_promise(0.1, 1e-3);
}

#[test]
fn at_a_loss_of_30_percent_a_million_deadlines_see_fewer_false_alarms_than_promised() {
    keeps_the_promise(0.3, 1e-3);
}

/// How long after a fault `layer` is told not healthy, and the longer of the periods in force before and after: fewer
/// chances may do by then.
fn detection(seed: u64, limit: Duration, fault: Fault, layer: Layer, lost: f64) -> (Duration, Duration) {
    let mut bench =
        Bench::new(seed, Target { timer_limit: limit, loaded: seed.is_multiple_of(2), ..Target::default() });
    bench.lost = lost;
    bench.run(at(2000) + limit * 20);
    let phase = limit.mul_f64(bench.random.uniform());
    bench.run(bench.now + phase);
    let (begun, period) = (bench.now, bench.plan.period);
    bench.inject(fault);
    let expected = if layer == Layer::Kernel { State::Failed } else { State::Suspect };
    let told = bench.run_until(begun + limit * 50, |judge| {
        judge.verdicts().iter().any(|verdict| verdict.layer == layer && verdict.state == expected)
    });
    (told.expect("it must be told") - begun, period.max(bench.plan.period))
}

#[test]
fn a_hung_kernel_is_told_within_its_limit_and_one_period_whatever_the_phase() {
    for limit in [10, 20, 50, 100, 200, 500, 1000].map(at) {
        for seed in 0..200 {
            let (took, period) = detection(seed, limit, Fault::CpusStopped, Layer::Kernel, 0.0);
            // The last tick of a busy processor may have come 4 ms before.
            assert!(took >= limit - at(5).min(limit / 10), "{limit:?}: too soon, after {took:?}");
            assert!(took <= limit + period, "{limit:?}: {took:?} at a period of {period:?}");
        }
    }
}

#[test]
fn a_silent_target_is_told_within_the_deadline_and_one_period_whatever_the_phase() {
    for limit in [10, 20, 50, 100, 200, 500, 1000].map(at) {
        for seed in 0..200 {
            let (took, period) = detection(seed, limit, Fault::HostDead, Layer::Host, 0.0);
            assert!(took <= limit + period, "{limit:?}: {took:?} at a period of {period:?}");
            assert!(took + period >= limit, "{limit:?}: too soon, after {took:?}");
        }
    }
}

#[test]
fn lost_readings_delay_few_detections_and_those_by_a_period() {
    for (limit, lost) in [(50, 0.01), (500, 0.01), (100, 0.1), (1000, 0.1)] {
        let limit = at(limit);
        let (mut late, mut very_late) = (0, 0);
        for seed in 0..1000 {
            let (took, period) = detection(seed, limit, Fault::CpusStopped, Layer::Kernel, lost);
            late += u32::from(took > limit + period);
            very_late += u32::from(took > limit + period * 2);
        }
        // The first reading after the fault, or the one at the deadline, was lost.
        let hit = (2000.0 * lost) as u32;
        assert!(late <= hit, "{limit:?} at a loss of {lost}: {late} of 1000 were late");
        assert!(very_late <= hit / 5, "{limit:?} at a loss of {lost}: {very_late} of 1000 were very late");
    }
}

#[test]
fn a_shorter_deadline_or_a_worse_path_costs_more_samples_and_calm_costs_few() {
    let samples = |limit, lost| {
        let mut bench = Bench::new(5, Target { timer_limit: at(limit), ..Target::default() });
        bench.lost = lost;
        bench.run(Duration::from_secs(100));
        bench.samples
    };
    let (calm, tight, lossy) = (samples(1000, 0.0), samples(10, 0.0), samples(1000, 0.3));
    assert!(calm < 700, "{calm}");
    assert!(tight > 50 * calm, "{tight} {calm}");
    assert!(lossy > 3 * calm, "{lossy} {calm}");
}
