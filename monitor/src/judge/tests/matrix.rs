//! Every row of the fault matrix.

use super::at;
use super::bench::{Bench, Fault, Others, Target};
use crate::judge::AGENT;
use crate::verdict::{Layer, State, Verdict};
use backdoors_sensor_box::layout::Capabilities;
use std::time::Duration;

/// Runs a target well for a while, breaks it, and waits for what is expected.
fn broken(seed: u64, mut bench: Bench, fault: Fault) -> Bench {
    bench.run(at(5_000 + seed * 137));
    assert!(bench.changes.iter().all(|change| change.state == State::Healthy), "{:#?}", bench.changes);
    assert_eq!(bench.judge.overall().state, State::Healthy, "{:#?}", bench.judge.verdicts());
    bench.changes.clear();
    bench.inject(fault);
    bench
}

fn each(fault: Fault, expect: impl Fn(&mut Bench), targets: &[Target]) {
    for seed in 0..20 {
        for target in targets {
            for loaded in [false, true] {
                let target = Target { loaded, ..target.clone() };
                let mut bench = broken(seed, Bench::new(seed, target), fault);
                expect(&mut bench);
            }
        }
    }
}

fn kernel_half() -> [Target; 2] {
    [Target::default(), Target { application: Some(at(500)), ..Target::default() }]
}

/// Nobody was accused but these.
fn only_accused(bench: &Bench, accused: impl Fn(&Verdict) -> bool) {
    let wrongly = bench.changes.iter().find(|change| change.state == State::Failed && !accused(change));
    assert_eq!(wrongly, None, "{:#?}", bench.judge.verdicts());
}

fn hidden(bench: &Bench, layers: &[Layer]) {
    let verdicts = bench.judge.verdicts().iter().filter(|verdict| layers.contains(&verdict.layer));
    for verdict in verdicts {
        assert_eq!(verdict.state, State::Unknown, "{verdict:#?}");
        assert!(verdict.evidence[0].starts_with("hidden: "), "{verdict:#?}");
    }
}

const INSIDE: [Layer; 3] = [Layer::Kernel, Layer::UserSpace, Layer::Application];

#[test]
fn nothing_at_all_is_told_of_a_healthy_target() {
    let odd = Target { timer_limit: at(10), heartbeat_limit: at(250), ..Target::default() };
    for target in [kernel_half().to_vec(), vec![odd]].concat() {
        for loaded in [false, true] {
            let mut bench = Bench::new(3, Target { loaded, ..target.clone() });
            bench.run(Duration::from_secs(600));
            assert!(
                bench.changes.iter().all(|change| change.state == State::Healthy),
                "{:#?}",
                bench.changes
            );
            assert!(
                bench
                    .judge
                    .verdicts()
                    .iter()
                    .all(|verdict| verdict.state == State::Healthy && verdict.confidence == 1.0)
            );
        }
    }
}

#[test]
fn with_a_cut_path_and_nobody_to_ask_path_and_host_are_equally_suspect() {
    each(
        Fault::PathCut,
        |bench| {
            bench.run(bench.now + at(3000));
            for layer in [Layer::Path, Layer::Host] {
                assert_eq!(bench.state(layer), State::Suspect);
                let confidence = bench.verdict(layer).confidence;
                assert!((0.49..=0.5).contains(&confidence), "{confidence}");
            }
            hidden(bench, &INSIDE);
            only_accused(bench, |_| false);
        },
        &kernel_half(),
    );
}

#[test]
fn a_cut_path_is_told_from_a_dead_host_by_another_monitor_that_reads() {
    each(
        Fault::PathCut,
        |bench| {
            bench.others = Others::Well(1);
            bench.run(bench.now + at(1500));
            assert_eq!(bench.state(Layer::Path), State::Failed, "{:#?}", bench.judge.verdicts());
            assert!(bench.verdict(Layer::Path).confidence > 0.999);
            assert!(
                bench.verdict(Layer::Path).evidence.iter().any(|line| line.starts_with("monitor0 read it"))
            );
            assert_eq!(bench.state(Layer::Host), State::Healthy);
            hidden(bench, &INSIDE);
            only_accused(bench, |verdict| verdict.layer == Layer::Path);
            bench.heal();
            bench.run(bench.now + at(1500));
            assert_eq!(bench.judge.overall().state, State::Healthy);
            assert_eq!(bench.state(Layer::Application), State::Healthy);
        },
        &kernel_half(),
    );
}

#[test]
fn a_host_is_dead_when_it_fell_silent_for_others_too_and_the_surer_the_more_they_are() {
    let mut before = 0.5;
    for others in [1, 2, 3] {
        each(
            Fault::HostDead,
            |bench| {
                bench.others = Others::Well(others);
                bench.run(bench.now + at(1500));
                assert_eq!(bench.state(Layer::Host), State::Failed, "{:#?}", bench.judge.verdicts());
                assert!(bench.verdict(Layer::Host).confidence > before);
                assert_eq!(bench.state(Layer::Path), State::Unknown);
                hidden(bench, &INSIDE);
                only_accused(bench, |verdict| verdict.layer == Layer::Host);
                bench.heal();
                bench.run(bench.now + at(1500));
                assert_eq!(bench.judge.overall().state, State::Healthy);
            },
            &[Target::default()],
        );
        before = 1.0 - 0.1f64.powi(others as i32) * 0.92;
    }
}

/// What this monitor had under way when the host went is not answered at the moment when the host is back.
#[test]
fn a_host_that_is_back_for_others_first_is_not_a_cut_path() {
    each(
        Fault::HostDead,
        |bench| {
            bench.others = Others::Well(1);
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Host), State::Failed);
            bench.target.fault = Fault::BackForOthers;
            bench.run(bench.now + at(400));
            assert_eq!(bench.state(Layer::Host), State::Healthy, "{:#?}", bench.judge.verdicts());
            assert_eq!(bench.state(Layer::Path), State::Suspect);
            only_accused(bench, |verdict| verdict.layer == Layer::Host);
            let not_yet_back = bench.judge.clone();
            bench.heal();
            bench.run(bench.now + at(1500));
            assert_eq!(bench.judge.overall().state, State::Healthy);
            only_accused(bench, |verdict| verdict.layer == Layer::Host);

            // If it stays so, it is the path.
            bench.judge = not_yet_back;
            bench.target.fault = Fault::BackForOthers;
            bench.target.since = bench.now;
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Path), State::Failed, "{:#?}", bench.judge.verdicts());
        },
        &[Target::default()],
    );
}

#[test]
fn the_silence_of_a_late_monitor_counts_for_nothing() {
    let mut bench = broken(1, Bench::new(1, Target::default()), Fault::HostDead);
    bench.others = Others::Late;
    bench.run(bench.now + at(3000));
    assert_eq!(bench.state(Layer::Host), State::Suspect);
    assert!(bench.verdict(Layer::Host).evidence.iter().any(|line| line.ends_with(", but is late itself")));
}

#[test]
fn a_path_on_which_probes_come_back_is_slow_and_never_failed() {
    each(
        Fault::PathSlow,
        |bench| {
            bench.others = Others::Well(2);
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Path), State::Suspect, "{:#?}", bench.judge.verdicts());
            assert!(bench.verdict(Layer::Path).evidence[1].starts_with("its NIC answered a probe"));
            assert_eq!(bench.state(Layer::Host), State::Healthy);
            only_accused(bench, |_| false);
        },
        &kernel_half(),
    );
}

#[test]
fn a_machine_that_says_that_nobody_serves_its_memory_has_a_healthy_path() {
    each(
        Fault::OwnerDead,
        |bench| {
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Path), State::Healthy, "{:#?}", bench.judge.verdicts());
            assert_eq!(bench.state(Layer::Host), State::Failed);
            hidden(bench, &INSIDE);
        },
        &kernel_half(),
    );
}

#[test]
fn a_target_that_refuses_is_alive_and_nothing_more_is_known() {
    each(
        Fault::Revoked,
        |bench| {
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Path), State::Healthy, "{:#?}", bench.judge.verdicts());
            assert_eq!(bench.state(Layer::Host), State::Healthy);
            assert!(INSIDE.iter().all(|&layer| bench.state(layer) == State::Unknown));
            only_accused(bench, |_| false);
        },
        &kernel_half(),
    );
}

fn the_kernel_failed(bench: &mut Bench, evidence: &str) {
    bench.run(bench.now + at(800));
    let kernel = bench.verdict(Layer::Kernel);
    assert_eq!(kernel.state, State::Failed, "{:#?}", bench.judge.verdicts());
    assert!(kernel.confidence > 0.9, "{kernel:#?}");
    assert!(kernel.evidence.iter().any(|line| line.contains(evidence)), "{kernel:#?}");
    assert_eq!(bench.state(Layer::Path), State::Healthy);
    assert_eq!(bench.state(Layer::Host), State::Healthy);
    hidden(bench, &[Layer::UserSpace, Layer::Application]);
    bench.run(bench.now + at(5000));
    only_accused(bench, |verdict| verdict.layer == Layer::Kernel);
    bench.heal();
    bench.run(bench.now + at(1500));
    assert_eq!(bench.judge.overall().state, State::Healthy);
    assert_eq!(bench.state(Layer::Application), State::Healthy);
}

#[test]
fn a_machine_whose_processors_all_stopped_has_a_failed_kernel() {
    each(Fault::CpusStopped, |bench| the_kernel_failed(bench, "kernel.timer has stood at"), &kernel_half());
}

#[test]
fn a_stuck_processor_that_serves_the_timer_is_a_failed_kernel_and_the_evidence_says_which_one_ticks() {
    each(
        Fault::Stuck(0),
        |bench| {
            the_kernel_failed(bench, "CPU 0 has had one task on it");
            // From the first word on, whichever of the two was seen to move last.
            let first = bench.changes.iter().find(|change| change.state == State::Failed).unwrap();
            assert!(first.evidence.iter().any(|line| line.starts_with("CPU 0 has had")), "{first:#?}");
        },
        &kernel_half(),
    );
}

#[test]
fn a_stuck_processor_among_others_that_tick_is_a_failed_kernel_and_the_evidence_names_it() {
    each(
        Fault::Stuck(1),
        |bench| {
            the_kernel_failed(bench, "CPU 1 has had one task on it");
        },
        &kernel_half(),
    );
}

#[test]
fn an_older_target_that_does_not_tell_which_processors_are_busy_makes_a_stuck_one_only_suspect() {
    let older = Target { tells_busy: false, loaded: true, ..Target::default() };
    let mut bench = broken(1, Bench::new(1, older), Fault::Stuck(1));
    bench.run(bench.now + at(25_000));
    assert_eq!(bench.state(Layer::Kernel), State::Suspect);
    assert!(
        bench.verdict(Layer::Kernel).evidence[1].starts_with("CPU 1 has stood still"),
        "{:#?}",
        bench.judge.verdicts()
    );
    only_accused(&bench, |_| false);
}

#[test]
fn starved_user_space_has_failed_and_the_kernel_has_not() {
    each(
        Fault::Starved,
        |bench| {
            bench.run(bench.now + at(2500));
            assert_eq!(bench.state(Layer::UserSpace), State::Failed, "{:#?}", bench.judge.verdicts());
            assert!(bench.verdict(Layer::UserSpace).confidence > 0.999);
            assert_eq!(bench.state(Layer::Kernel), State::Healthy);
            hidden(bench, &[Layer::Application]);
            bench.run(bench.now + at(5000));
            only_accused(bench, |verdict| verdict.layer == Layer::UserSpace);
            bench.heal();
            bench.run(bench.now + at(1500));
            assert_eq!(bench.judge.overall().state, State::Healthy);
        },
        &kernel_half(),
    );
}

#[test]
fn an_agent_that_was_killed_is_a_failed_application_and_not_a_failed_user_space() {
    each(
        Fault::AgentKilled,
        |bench| {
            bench.run(bench.now + at(3000));
            let agent = bench.application(AGENT);
            assert_eq!(agent.state, State::Failed, "{:#?}", bench.judge.verdicts());
            assert_eq!(agent.evidence[1], "the kernel half saw its process end");
            let expected = if bench.target.application.is_some() { State::Healthy } else { State::Unknown };
            assert_eq!(bench.state(Layer::UserSpace), expected);
            assert_eq!(bench.state(Layer::Kernel), State::Healthy);
            only_accused(bench, |verdict| verdict.subject.as_deref() == Some(AGENT));
        },
        &kernel_half(),
    );
}

#[test]
fn an_agent_that_is_restarted_within_its_limit_is_not_accused() {
    let mut bench = broken(1, Bench::new(1, Target::default()), Fault::AgentKilled);
    bench.run(bench.now + at(1000));
    assert_eq!(bench.application(AGENT).state, State::Suspect);
    bench.heal();
    bench.run(bench.now + at(5000));
    assert_eq!(bench.application(AGENT).state, State::Healthy);
    only_accused(&bench, |_| false);
}

#[test]
fn an_agent_that_comes_back_has_time_for_its_first_beat() {
    let mut bench = broken(1, Bench::new(1, Target::default()), Fault::AgentKilled);
    bench.run(bench.now + at(3000));
    assert_eq!(bench.application(AGENT).state, State::Failed);
    // Its process is there and has not beaten yet.
    bench.target.fault = Fault::AgentStuck;
    bench.run(bench.now + at(1000));
    bench.heal();
    bench.run(bench.now + at(1000));
    assert_eq!(bench.judge.overall().state, State::Healthy);
    only_accused(&bench, |verdict| verdict.subject.as_deref() == Some(AGENT));
}

#[test]
fn an_application_is_not_blamed_for_what_was_not_read_while_the_path_was_cut() {
    let target = Target { application: Some(at(500)), ..Target::default() };
    let mut bench = broken(1, Bench::new(1, target), Fault::PathCut);
    bench.run(bench.now + at(3000));
    bench.heal();
    bench.run(bench.now + at(1000));
    assert_eq!(bench.judge.overall().state, State::Healthy);
    only_accused(&bench, |verdict| verdict.layer == Layer::Path);
}

#[test]
fn an_agent_that_is_stuck_while_others_run_is_told_from_a_starved_user_space() {
    let target = Target { application: Some(at(500)), ..Target::default() };
    each(
        Fault::AgentStuck,
        |bench| {
            bench.run(bench.now + at(3000));
            assert_eq!(bench.application(AGENT).state, State::Failed, "{:#?}", bench.judge.verdicts());
            assert_eq!(bench.state(Layer::UserSpace), State::Healthy);
            assert!((bench.verdict(Layer::UserSpace).confidence - 2.0 / 3.0).abs() < 1e-9);
            only_accused(bench, |verdict| verdict.subject.as_deref() == Some(AGENT));
        },
        &[target],
    );
}

#[test]
fn whether_an_older_targets_agent_is_dead_or_starved_is_left_open() {
    let older = Target { tells_alive: false, ..Target::default() };
    each(
        Fault::AgentKilled,
        |bench| {
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::UserSpace), State::Suspect, "{:#?}", bench.judge.verdicts());
            assert_eq!(bench.application(AGENT).state, State::Suspect);
            only_accused(bench, |_| false);
        },
        &[older],
    );
}

#[test]
fn a_stuck_application_has_failed_and_nothing_around_it_has() {
    for limit in [10, 100, 500, 5000] {
        each(
            Fault::ApplicationStuck,
            |bench| {
                bench.run(bench.now + at(limit) + at(700));
                let shop = bench.application("shop");
                assert_eq!(shop.state, State::Failed, "{:#?}", bench.judge.verdicts());
                assert!(shop.evidence[0].starts_with("requests has stood at"), "{shop:#?}");
                assert_eq!(bench.state(Layer::UserSpace), State::Healthy);
                only_accused(bench, |verdict| verdict.subject.as_deref() == Some("shop"));
                bench.heal();
                bench.run(bench.now + at(1500));
                assert_eq!(bench.judge.overall().state, State::Healthy);
            },
            &[Target { application: Some(at(limit.max(30))), ..Target::default() }],
        );
    }
}

#[test]
fn an_application_with_a_tight_limit_is_not_blamed_for_a_starved_user_space() {
    let target = Target { application: Some(at(50)), ..Target::default() };
    each(
        Fault::Starved,
        |bench| {
            bench.run(bench.now + at(1000));
            assert_eq!(bench.application("shop").state, State::Suspect);
            bench.run(bench.now + at(1500));
            assert_eq!(bench.state(Layer::UserSpace), State::Failed);
            only_accused(bench, |verdict| verdict.layer == Layer::UserSpace);
        },
        &[target],
    );
}

#[test]
fn a_heartbeat_with_a_tight_limit_is_not_blamed_for_a_dead_kernel() {
    let target = Target { heartbeat_limit: at(120), ..Target::default() };
    each(
        Fault::CpusStopped,
        |bench| {
            bench.run(bench.now + at(800));
            assert_eq!(bench.state(Layer::Kernel), State::Failed);
            only_accused(bench, |verdict| verdict.layer == Layer::Kernel);
        },
        &[target],
    );
}

/// Programs that were starved together do not move again at the same moment.
#[test]
fn after_user_space_was_starved_nobody_in_it_is_blamed_for_moving_later_than_others() {
    let target = Target { application: Some(at(2000)), ..Target::default() };
    for later in [Fault::ApplicationStuck, Fault::AgentWaits] {
        each(
            Fault::Starved,
            |bench| {
                bench.run(bench.now + at(5000));
                assert_eq!(bench.state(Layer::UserSpace), State::Failed);
                bench.target.fault = later;
                bench.run(bench.now + at(1200));
                assert_eq!(bench.state(Layer::UserSpace), State::Healthy);
                bench.heal();
                bench.run(bench.now + at(1500));
                assert_eq!(bench.judge.overall().state, State::Healthy);
                only_accused(bench, |verdict| verdict.layer == Layer::UserSpace);
            },
            std::slice::from_ref(&target),
        );
    }
}

#[test]
fn who_never_moves_again_after_user_space_was_starved_is_found_a_limit_later() {
    let target = Target { application: Some(at(2000)), ..Target::default() };
    for (later, subject) in [(Fault::ApplicationStuck, "shop"), (Fault::AgentWaits, AGENT)] {
        each(
            Fault::Starved,
            |bench| {
                bench.run(bench.now + at(5000));
                bench.target.fault = later;
                bench.run(bench.now + at(3500));
                assert_eq!(bench.state(Layer::UserSpace), State::Healthy);
                assert_eq!(bench.application(subject).state, State::Failed);
            },
            std::slice::from_ref(&target),
        );
    }
}

#[test]
fn an_application_that_died_has_failed_without_waiting_for_its_limit() {
    let target = Target { application: Some(at(60_000)), ..Target::default() };
    each(
        Fault::ApplicationDied,
        |bench| {
            bench.run(bench.now + at(1000));
            assert_eq!(bench.application("shop").state, State::Failed);
            only_accused(bench, |verdict| verdict.subject.as_deref() == Some("shop"));
        },
        &[target],
    );
}

#[test]
fn a_box_filled_by_the_user_half_says_nothing_of_the_kernel_and_little_of_user_space() {
    let target = Target { capabilities: Capabilities::PROCFS, tells_alive: false, ..Target::default() };
    for fault in [Fault::CpusStopped, Fault::Starved, Fault::AgentKilled, Fault::AgentStuck] {
        for seed in 0..20 {
            let mut bench = broken(seed, Bench::new(seed, target.clone()), fault);
            bench.run(bench.now + at(3000));
            assert_eq!(bench.state(Layer::Kernel), State::Unknown);
            for verdict in [bench.verdict(Layer::UserSpace), bench.application(AGENT)] {
                assert_eq!(verdict.state, State::Suspect, "{fault:?}: {:#?}", bench.judge.verdicts());
                assert!(verdict.confidence <= 0.5);
                assert!(verdict.evidence[1].contains("user half fills this box"));
            }
            only_accused(&bench, |_| false);
        }
    }
}
