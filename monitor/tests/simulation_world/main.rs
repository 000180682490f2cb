//! A simulation, deterministic from a seed: the monitor's real code meets paths that lose, delay and cut, targets that hang and
//! wake, clocks that disagree, monitors that are paused or late, and other monitors.
//!
//! A world that goes wrong names its seed. `BACKDOORS_SIMULATION_SEED=7 cargo nextest run -p backdoors-monitor --test simulation_world NAME`
//! lives through that world again; with `BACKDOORS_SIMULATION_TRACE=1` it prints all journals. `BACKDOORS_SIMULATION_WORLDS=100`
//! has each test look at so many worlds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod chance;
mod climate;
mod history;
mod path;
mod target;
mod time;
mod views;
mod witness;
mod world;

use climate::Climate;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use time::{MILLISECOND, SECOND};
use witness::{Report, Witness};

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not `{text}`")))
}

/// Looks at some worlds of a climate, and says how to come back to one that goes wrong.
fn worlds(test: &str, climate: Climate, count: u64, look: impl Fn(u64, &Report)) {
    let seeds = match number("BACKDOORS_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("BACKDOORS_SIMULATION_WORLDS").unwrap_or(count),
    };
    for seed in seeds {
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let report = Witness::new(seed, climate).watch();
            println!("{test}, seed {seed}: {report:?}");
            look(seed, &report);
        }));
        if let Err(panic) = looked {
            eprintln!(
                "\nThe world of seed {seed} went wrong. To live through it again:\n  \
                 BACKDOORS_SIMULATION_SEED={seed} BACKDOORS_SIMULATION_TRACE=1 \
                 cargo nextest run -p backdoors-monitor --test simulation_world --no-capture {test}\n"
            );
            resume_unwind(panic);
        }
    }
}

fn nobody_was_condemned_wrongly(report: &Report, false_alarm: f64) {
    let allowed = (false_alarm * report.deadlines).floor();
    let found = &report.false_failures;
    assert!(found.len() as f64 <= allowed, "{} false failures, {allowed} allowed: {found:#?}", found.len());
}

#[test]
fn in_rough_weather_verdicts_are_right_and_one_monitor_acts_at_a_time() {
    worlds(
        "in_rough_weather_verdicts_are_right_and_one_monitor_acts_at_a_time",
        Climate::ROUGH,
        4,
        |_, report| {
            nobody_was_condemned_wrongly(report, 1e-6);
            assert!(report.told_rightly >= 8, "{} troubles were seen", report.told_rightly);
            assert!(report.commands >= 50, "{} commands", report.commands);
        },
    );
}

#[test]
fn in_clear_weather_every_trouble_is_told_within_its_deadline_and_one_period() {
    worlds(
        "in_clear_weather_every_trouble_is_told_within_its_deadline_and_one_period",
        Climate::CLEAR,
        3,
        |_, report| {
            nobody_was_condemned_wrongly(report, 0.0);
            assert_eq!(report.false_suspicions, 0);
            assert_eq!(report.not_the_holder, 0, "a command that is written at once comes from the holder");
            assert!(report.told_rightly >= 30, "{} troubles were seen", report.told_rightly);
        },
    );
}

#[test]
fn on_lossy_paths_false_suspicions_are_rarer_than_promised_and_nobody_is_condemned() {
    const FALSE_ALARM: f64 = 1e-3;
    // Losses are independent of each other as long as there is a connection for every chance.
    let lines = "period = '1s'\nfastest = '2ms'\ndeadline = '100ms'\nconnections = 16\nfalse_alarm = 1e-3";
    let climate = Climate { lines, targets: 10, monitors: 1, ..Climate::LOSSY };
    worlds(
        "on_lossy_paths_false_suspicions_are_rarer_than_promised_and_nobody_is_condemned",
        climate,
        2,
        |_, report| {
            nobody_was_condemned_wrongly(report, 0.0);
            let allowed = FALSE_ALARM * report.deadlines;
            let found = f64::from(report.false_suspicions);
            assert!(found <= allowed, "{found} false suspicions, {allowed} allowed");
        },
    );
}

#[test]
fn thousands_of_targets_are_looked_after_for_days() {
    worlds("thousands_of_targets_are_looked_after_for_days", Climate::VAST, 1, |_, report| {
        nobody_was_condemned_wrongly(report, 1e-4);
        assert!(report.told_rightly >= 100, "{} troubles were seen", report.told_rightly);
    });
}

#[test]
fn a_world_is_the_same_whenever_it_is_lived_through() {
    let climate = Climate { lifetime: 120 * SECOND, ..Climate::ROUGH };
    let live = |seed| Witness::new(seed, climate).watch();
    assert_eq!(live(5), live(5));
    assert_ne!(live(5).fingerprint, live(6).fingerprint);
}

#[test]
fn deadlines_of_ten_milliseconds_are_kept_too() {
    let climate = Climate {
        timer_limit: 10 * MILLISECOND,
        heartbeat_limit: 300 * MILLISECOND,
        lines: "period = '100ms'\nfastest = '1ms'\ndeadline = '100ms'\nlease = { duration = '3s' }",
        targets: 2,
        lifetime: 90 * SECOND,
        bomb_every: 0,
        trouble_every: 15 * SECOND,
        trouble_lasts: SECOND,
        ..Climate::CLEAR
    };
    worlds("deadlines_of_ten_milliseconds_are_kept_too", climate, 1, |_, report| {
        nobody_was_condemned_wrongly(report, 0.0);
        assert!(report.told_rightly >= 6, "{} troubles were seen", report.told_rightly);
    });
}
