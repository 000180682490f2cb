//! Whatever happens to requests, monitors and clocks: the target obeys one monitor at a time.

use super::world::{Mishaps, World};
use crate::lease::Fitness;
use proptest::prelude::*;

fn mishaps(clock: u64) -> impl Strategy<Value = Mishaps> {
    let often = || prop_oneof![Just(0), 2u64..40];
    let patience = prop_oneof![Just(0), Just(5), Just(50), Just(500)];
    (often(), often(), often(), often(), patience, prop_oneof![Just(0), 1u64..5]).prop_map(
        move |(lost_request, lost_answer, answered_twice, slow, patience, pause)| Mishaps {
            lost_request,
            lost_answer,
            answered_twice,
            slow,
            patience,
            pause,
            clock,
        },
    )
}

fn preferences() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..3, 2..4)
}

/// Lets the monitors' fitness change now and then.
fn fluctuate(world: &mut World) {
    if world.dice.below(500) == 0 {
        let index = world.dice.below(world.monitors.len() as u64) as usize;
        world.monitors[index].fitness = Fitness(world.dice.below(256) as u8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_target_obeys_one_monitor_at_a_time_and_no_term_after_a_later_one(
        seed: u64, mishaps in mishaps(2), preferences in preferences(),
    ) {
        let mut world = World::new(&preferences, seed, mishaps);
        for _ in 0..10_000 {
            fluctuate(&mut world);
            world.tick();
        }
    }

    #[test]
    fn no_two_believe_to_hold_the_lease_as_long_as_clocks_run(
        seed: u64, mishaps in mishaps(0), preferences in preferences(),
    ) {
        let mut world = World::new(&preferences, seed, mishaps);
        for _ in 0..10_000 {
            fluctuate(&mut world);
            world.tick();
            let believers = world.believers();
            prop_assert!(believers.len() <= 1, "{believers:?} at {}", world.time);
        }
    }

    #[test]
    fn when_all_is_well_again_the_preferred_monitor_holds_the_lease_and_keeps_it(
        seed: u64, mishaps in mishaps(3), preferences in preferences(),
    ) {
        let mut world = World::new(&preferences, seed, mishaps);
        for _ in 0..3_000 {
            fluctuate(&mut world);
            world.tick();
        }
        world.mishaps = Mishaps::NONE;
        for monitor in &mut world.monitors {
            monitor.fitness = Fitness::FULL;
        }
        // What was slow arrives within four seconds; whoever was paused or whose clock stood still goes on within two.
        for _ in 0..12_000 {
            world.tick();
        }
        let best = preferences.iter().max().unwrap();
        let holders = world.believers();
        prop_assert!(holders.len() == 1 && preferences[holders[0]] == *best, "{holders:?} of {preferences:?}");
        let term = world.table.lease.term();
        for _ in 0..3_000 {
            world.tick();
            prop_assert_eq!(world.believers(), holders.clone());
        }
        prop_assert_eq!(world.table.lease.term(), term);
    }
}

#[test]
fn commands_of_paused_monitors_are_among_those_refused() {
    let often =
        Mishaps { pause: 1, slow: 10, lost_request: 10, lost_answer: 10, patience: 50, ..Mishaps::NONE };
    let (mut obeyed, mut refused) = (0, 0);
    for seed in 0..20 {
        let mut world = World::new(&[1, 1, 1], seed, often);
        for _ in 0..10_000 {
            world.tick();
        }
        obeyed += world.obeyed;
        refused += world.refused;
    }
    // The properties above would say little of a world in which nothing of this happens.
    assert!(obeyed > 1000 && refused > 20, "{obeyed} obeyed, {refused} refused");
}
