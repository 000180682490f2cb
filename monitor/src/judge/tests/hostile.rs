//! Boxes that change under the judge, and boxes that lie.

use super::bench::{Bench, Target, application, reading};
use super::{at, terms};
use crate::judge::{Failure, Judge, Settings};
use crate::verdict::{Layer, State};
use backdoors_healers::Limits;
use backdoors_sensor_box::{Class, SensorKind, SensorReading, SensorView};
use proptest::prelude::*;
use std::time::Duration;

fn accused(bench: &Bench) -> bool {
    bench.changes.iter().any(|change| matches!(change.state, State::Failed | State::Suspect))
}

fn feed(bench: &mut Bench, steps: u64, change: impl Fn(&mut SensorView)) {
    let start = bench.now;
    let mut view = SensorView::default();
    for step in 1..=steps {
        let now = start + at(step * 50);
        bench.target.view(now, &mut view);
        change(&mut view);
        bench.judge.reading(now, now, &view, &bench.limits);
        bench.judge.changes(&mut bench.changes);
        bench.now = now;
    }
}

#[test]
fn a_box_that_was_made_anew_is_learnt_anew() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    bench.target.generation = 2;
    let counters = |view: &mut SensorView| view.sensors.retain(|sensor| sensor.class == Class::Progress);
    feed(&mut bench, 1, |view| {
        counters(view);
        view.sensors.iter_mut().for_each(|sensor| sensor.value = 0);
    });
    assert_eq!(bench.state(Layer::Kernel), State::Unknown);
    assert_eq!(bench.state(Layer::Path), State::Healthy);
    feed(&mut bench, 50, |_| {});
    assert_eq!(bench.judge.overall().state, State::Healthy);
    assert!(!accused(&bench), "{:#?}", bench.changes);
}

#[test]
fn a_sensor_that_disappears_leaves_its_layer_unknown() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    feed(&mut bench, 100, |view| view.sensors.retain(|sensor| sensor.kind != SensorKind::KERNEL_TIMER));
    assert_eq!(bench.state(Layer::Kernel), State::Unknown);
    assert_eq!(bench.verdict(Layer::Kernel).evidence, ["the box has no sensor that tells"]);
    assert_eq!(bench.state(Layer::UserSpace), State::Healthy);
    feed(&mut bench, 100, |view| view.sensors.clear());
    assert_eq!(bench.state(Layer::UserSpace), State::Unknown);
    assert_eq!(bench.state(Layer::Host), State::Healthy);
    feed(&mut bench, 100, |_| {});
    assert_eq!(bench.judge.overall().state, State::Healthy);
    assert!(!accused(&bench), "{:#?}", bench.changes);
}

#[test]
fn processors_that_come_and_go_are_not_stuck() {
    let mut bench = Bench::new(1, Target { loaded: true, ..Target::default() });
    bench.run(at(5000));
    for _ in 0..10 {
        feed(&mut bench, 20, |view| view.sensors.retain(|sensor| sensor.instance != 1));
        feed(&mut bench, 20, |_| {});
        feed(&mut bench, 20, |view| view.sensors.reverse());
    }
    assert!(!accused(&bench), "{:#?}", bench.changes);
}

#[test]
fn a_limit_that_nothing_can_keep_is_not_judged_by() {
    for limit in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1999)] {
        let mut bench = Bench::new(1, Target { timer_limit: limit, ..Target::default() });
        bench.run(at(10_000));
        assert_eq!(bench.state(Layer::Kernel), State::Unknown);
        assert!(
            bench.verdict(Layer::Kernel).evidence[0].contains("shorter than 2ms"),
            "{:?}",
            bench.verdict(Layer::Kernel)
        );
        assert!(!accused(&bench), "{:#?}", bench.changes);
        assert_eq!(bench.judge.tightest(), at(2000));
    }
}

#[test]
fn the_monitors_limits_are_in_force_before_the_targets() {
    let mut bench = Bench::new(1, Target { timer_limit: Duration::ZERO, ..Target::default() });
    bench.limits.set("kernel.timer", 250_000_000).unwrap();
    bench.run(at(5_000));
    assert_eq!(bench.judge.tightest(), at(250));
    assert_eq!(bench.state(Layer::Kernel), State::Healthy);
}

#[test]
fn applications_come_and_go_and_keep_their_verdicts() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    let mut views = vec![application("a", &[("x", at(500))], 1), application("b", &[("y", at(500))], 2)];
    let step = |bench: &mut Bench, views: &mut Vec<_>, moves: bool| {
        for _ in 0..20 {
            feed(bench, 1, |_| {});
            for view in views.iter_mut() {
                let view: &mut backdoors_sensor_box::ApplicationView = view;
                view.sensors[0].value += u64::from(moves);
            }
            bench.judge.applications(bench.now, bench.now, views);
            bench.judge.changes(&mut bench.changes);
        }
    };
    step(&mut bench, &mut views, true);
    assert_eq!(
        (bench.application("a").state, bench.application("b").state),
        (State::Healthy, State::Healthy)
    );
    let since = bench.application("b").since;
    views.remove(0);
    step(&mut bench, &mut views, true);
    assert_eq!(bench.application("b").since, since);
    assert!(bench.judge.verdicts().iter().all(|verdict| verdict.subject.as_deref() != Some("a")));
    let gone = bench.changes.iter().rfind(|change| change.subject.as_deref() == Some("a")).unwrap();
    assert_eq!((gone.state, gone.evidence[0].as_str()), (State::Unknown, "its region is no longer there"));
    // Attached anew: its counter begins again, and it is not accused for what the one before did.
    views[0] = application("b", &[("y", at(500))], 3);
    assert!(!accused(&bench), "{:#?}", bench.changes);
    step(&mut bench, &mut views, false);
    assert_eq!(bench.application("b").state, State::Failed);
    views.clear();
    step(&mut bench, &mut views, true);
    assert_eq!(bench.judge.verdicts().len(), 5);
}

#[test]
fn a_target_that_was_never_read_is_suspect_and_not_more() {
    let mut judge = Judge::new(Settings { silence: at(1000) }, terms());
    for step in 0..100 {
        judge.missed(at(step * 50), at(step * 50 + 20), Failure::Silent);
    }
    assert_eq!(judge.overall().layer, Layer::Path);
    assert_eq!(judge.overall().state, State::Suspect);
    assert!(judge.overall().evidence[0].starts_with("never read, though tried for"));
}

#[test]
fn a_monitor_that_cannot_ask_accuses_nobody() {
    let mut judge = Judge::new(Settings { silence: at(1000) }, terms());
    for step in 0..100 {
        judge.missed(at(step * 50), at(step * 50), Failure::NotAsked);
    }
    assert!(judge.verdicts().iter().all(|verdict| verdict.state == State::Unknown));
    assert!(
        judge.verdicts()[0].evidence[0].starts_with("this monitor could not ask"),
        "{:?}",
        judge.verdicts()[0]
    );
}

#[test]
fn answers_that_were_overtaken_are_not_taken_for_news() {
    let mut bench = Bench::new(1, Target::default());
    bench.run(at(5000));
    let mut view = SensorView::default();
    bench.target.view(at(100), &mut view);
    let now = bench.now;
    bench.judge.reading(at(4000), now, &view, &bench.limits);
    bench.judge.missed(at(4000), now, Failure::Silent);
    bench.judge.changes(&mut bench.changes);
    assert!(!accused(&bench));
    assert_eq!(bench.judge.overall().state, State::Healthy);
}

#[test]
fn changes_nobody_fetches_do_not_pile_up() {
    let mut judge = Judge::new(Settings { silence: at(10) }, terms());
    let mut view = SensorView { generation: 1, ..SensorView::default() };
    for step in 0..10_000u64 {
        if step % 20 == 0 {
            view.generation += 1;
            judge.reading(at(step * 10), at(step * 10), &view, &Limits::default());
        } else {
            judge.missed(at(step * 10), at(step * 10), Failure::Silent);
        }
    }
    let mut changes = Vec::new();
    judge.changes(&mut changes);
    assert!(!changes.is_empty() && changes.len() <= super::super::MOST_CHANGES);
}

fn any_reading() -> impl Strategy<Value = SensorReading> {
    (0u32..17, 0u32..4, any::<Option<u64>>(), any::<u64>()).prop_map(|(kind, instance, limit, value)| {
        let mut made = reading(SensorKind(kind), instance, None, value % 3);
        made.limit = limit;
        made
    })
}

proptest! {
    /// Whatever a target shows and whenever, nothing breaks, and a path that is read is never accused.
    #[test]
    fn no_box_breaks_the_judge(
        steps in prop::collection::vec((0u64..3000, 0u64..500, 0u8..6, prop::collection::vec(any_reading(), 0..12), 0u64..3, any::<u64>()), 1..60),
    ) {
        let mut judge = Judge::new(Settings { silence: at(500) }, terms());
        let (mut now, mut changes) = (at(0), Vec::new());
        for (pause, took, what, sensors, generation, tick) in steps {
            let asked = now + at(pause);
            now = asked + at(took);
            let view = SensorView { generation, capabilities: tick % 4, tick_period: tick, sensors, ..SensorView::default() };
            match what {
                0 => judge.missed(asked, now, Failure::Silent),
                1 => judge.missed(asked, now, Failure::Damaged),
                2 => judge.probe(now, Ok(at(took))),
                3 => now = at(pause),
                _ => {
                    judge.reading(asked, now, &view, &Limits::default());
                    prop_assert_eq!(judge.verdicts()[0].state, State::Healthy);
                    prop_assert_eq!(judge.verdicts()[1].state, State::Healthy);
                }
            }
            judge.look(now);
            judge.changes(&mut changes);
            judge.refresh(now);
            let _ = judge.due();
            let failed: Vec<_> = judge.verdicts().iter().filter(|verdict| verdict.state == State::Failed).collect();
            for verdict in judge.verdicts() {
                prop_assert!((0.0..=1.0).contains(&verdict.confidence));
                prop_assert!(!verdict.evidence.is_empty());
                // Nothing is accused inside of what failed.
                prop_assert!(failed.iter().all(|outer| outer.layer >= verdict.layer || outer.layer == Layer::Application || verdict.state != State::Failed));
            }
        }
    }

    /// A value that changes at every reading is never accused, whatever the times.
    #[test]
    fn what_moves_is_not_frozen(times in prop::collection::vec((0u64..5000, 0u64..5000), 1..100)) {
        let mut judge = Judge::new(Settings { silence: at(500) }, terms());
        let mut now = at(0);
        let mut view = SensorView { generation: 1, tick_period: 1_000_000, ..SensorView::default() };
        for (value, (pause, took)) in times.into_iter().enumerate() {
            let asked = now + at(pause);
            now = asked + at(took);
            let limit = Some(at(500));
            view.sensors = vec![
                reading(SensorKind::KERNEL_TIMER, 0, limit, value as u64),
                reading(SensorKind::AGENT_HEARTBEAT, 0, limit, value as u64),
            ];
            prop_assert_eq!(view.sensors[0].class, Class::Progress);
            judge.reading(asked, now, &view, &Limits::default());
            prop_assert!(judge.verdicts().iter().all(|verdict| !matches!(verdict.state, State::Failed | State::Suspect)));
        }
    }
}
