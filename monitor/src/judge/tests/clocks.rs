//! Monitors that are late or paused, and clocks that jump.

use super::at;
use super::bench::{Bench, Fault, Target};
use crate::verdict::{Layer, State};
use std::time::Duration;

fn accused(bench: &Bench) -> usize {
    bench
        .changes
        .iter()
        .filter(|change| change.state == State::Failed || change.state == State::Suspect)
        .count()
}

#[test]
fn a_monitor_that_was_paused_accuses_nobody_when_it_wakes() {
    for seed in 0..50 {
        for pause in [at(100), at(700), at(5000), Duration::from_secs(3600)] {
            let mut bench = Bench::new(seed, Target { application: Some(at(100)), ..Target::default() });
            bench.run(at(5000 + seed));
            bench.paused_until = bench.now + pause;
            bench.run(bench.paused_until + at(10_000));
            assert_eq!(accused(&bench), 0, "{pause:?}: {:#?}", bench.changes);
        }
    }
}

#[test]
fn a_monitor_paused_during_a_lost_reading_accuses_nobody() {
    for seed in 0..50 {
        let mut bench = Bench::new(seed, Target::default());
        bench.run(at(5000));
        bench.lost = 1.0;
        bench.run(bench.now + at(150));
        bench.paused_until = bench.now + at(60_000);
        bench.lost = 0.0;
        bench.run(bench.paused_until + at(10_000));
        assert_eq!(accused(&bench), 0, "{:#?}", bench.changes);
    }
}

#[test]
fn an_answer_that_waited_while_the_monitor_was_paused_proves_nothing() {
    // Asked 100 ms after the heartbeat was seen, answered at once, looked at three seconds later.
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    let now = bench.now;
    let mut view = backdoors_sensor_box::SensorView::default();
    bench.target.view(now, &mut view);
    bench.judge.reading(now + at(50), now + at(3050), &view, &bench.limits);
    bench.judge.changes(&mut bench.changes);
    assert_eq!(accused(&bench), 0, "{:#?}", bench.changes);
}

#[test]
fn a_monitor_that_is_always_late_accuses_nobody_and_says_why() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    bench.inject(Fault::CpusStopped);
    let end = bench.now + at(20_000);
    while bench.now < end {
        bench.paused_until = bench.now + at(700);
        bench.run(bench.paused_until + at(5));
    }
    assert_eq!(bench.state(Layer::Kernel), State::Suspect, "{:#?}", bench.judge.verdicts());
    let evidence = &bench.verdict(Layer::Kernel).evidence;
    assert!(
        evidence.iter().any(|line| line.contains("deadlines are") || line.contains("too late itself")),
        "{evidence:?}"
    );
    assert!(bench.changes.iter().all(|change| change.state != State::Failed), "{:#?}", bench.changes);
    // When it is on time again, it says what it sees.
    bench.run(bench.now + at(20_000));
    assert_eq!(bench.state(Layer::Kernel), State::Failed);
}

#[test]
fn what_failed_stays_failed_when_the_monitor_becomes_late() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    bench.inject(Fault::CpusStopped);
    bench.run(bench.now + at(3000));
    assert_eq!(bench.state(Layer::Kernel), State::Failed);
    bench.changes.clear();
    for _ in 0..5 {
        bench.paused_until = bench.now + at(3000);
        bench.run(bench.paused_until + at(5));
    }
    bench.run(bench.now + at(30_000));
    assert_eq!(bench.state(Layer::Kernel), State::Failed, "{:#?}", bench.changes);
}

#[test]
fn a_monitors_clock_that_goes_back_makes_it_learn_anew() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(50_000));
    bench.changes.clear();
    let mut view = backdoors_sensor_box::SensorView::default();
    // The clock of the monitor begins at zero again; the target goes on.
    for step in 0..200u64 {
        bench.target.view(at(50_000 + step * 50), &mut view);
        bench.judge.reading(at(step * 50), at(step * 50), &view, &bench.limits);
        bench.judge.changes(&mut bench.changes);
    }
    assert_eq!(accused(&bench), 0, "{:#?}", bench.changes);
    assert!(
        bench.changes.iter().any(|change| change.layer == Layer::Kernel && change.state == State::Unknown)
    );
    assert_eq!(bench.judge.overall().state, State::Healthy);
}

#[test]
fn a_targets_clock_or_counters_that_jump_are_no_standstill() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    bench.changes.clear();
    let mut view = backdoors_sensor_box::SensorView::default();
    let start = bench.now;
    for step in 1..400u64 {
        let shown = match step / 100 {
            0 => at(step * 50),
            1 => at(1_000_000 + step * 50),
            2 => at(10 + step * 50),
            _ => at(u64::MAX / 10_000_000 + step * 50),
        };
        bench.target.view(shown, &mut view);
        view.clock = shown.as_nanos() as u64;
        let now = start + at(step * 50);
        bench.judge.reading(now, now, &view, &bench.limits);
        bench.judge.changes(&mut bench.changes);
    }
    assert_eq!(accused(&bench), 0, "{:#?}", bench.changes);
}
