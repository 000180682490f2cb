//! Who holds the lease, in turn.

use super::world::{Mishaps, World, ms, settings};
use crate::lease::{Action, Fitness, Lease, News, Release};
use backdoors_sensor_box::layout::COMMAND_SLOTS;
use backdoors_sensor_box::{Candidacy, LeaseView, LeaseWord};

fn table(lease: LeaseWord) -> LeaseView {
    LeaseView { lease, candidacies: [None; COMMAND_SLOTS] }
}

/// Milliseconds until `what` holds.
fn until(world: &mut World, most: u64, what: impl Fn(&World) -> bool) -> u64 {
    let begun = world.time;
    while !what(world) {
        assert!(world.time - begun < most, "waited in vain");
        world.tick();
    }
    world.time - begun
}

/// Two monitors, of which the first has held the lease for a while, and the other is there too.
fn held_by_the_first(preferences: [u8; 2], seed: u64) -> World {
    let mut world = World::new(&preferences, seed, Mishaps::NONE);
    world.monitors[1].alive = false;
    until(&mut world, 1000, |world| world.believers() == [0]);
    world.monitors[1].alive = true;
    (0..900).for_each(|_| world.tick());
    assert_eq!(world.believers(), [0]);
    world
}

fn news(world: &mut World, index: usize) -> Vec<News> {
    world.monitors[index].lease.take_news()
}

#[test]
fn a_lone_monitor_takes_the_lease_with_one_read_and_one_swap_and_keeps_it() {
    let mut lease = Lease::new(3, settings(0));
    assert_eq!(lease.step(ms(0), Fitness::FULL), Action::Read);
    lease.read(ms(0), ms(1), &table(LeaseWord::default()));
    let taken = LeaseWord::default().taken_by(3);
    let swap = Action::CompareAndSwap { expected: LeaseWord::default(), new: taken };
    assert_eq!(lease.step(ms(1), Fitness::FULL), swap);
    assert_eq!(lease.token(ms(1)), None);
    lease.swapped(ms(1), ms(2), LeaseWord::default(), LeaseWord::default());
    assert_eq!(lease.take_news(), [News::Took { term: 1, from: None }]);
    // From when the swap was asked for, not from when it was answered.
    assert_eq!((lease.token(ms(300)), lease.token(ms(301))), (taken.token(), None));
    assert_eq!(lease.step(ms(2), Fitness::FULL), Action::Wait(ms(101)));
    assert_eq!(lease.due(ms(50)), ms(101));
    let renewal = Action::CompareAndSwap { expected: taken, new: taken.renewed() };
    assert_eq!(lease.step(ms(101), Fitness::FULL), renewal);
    lease.swapped(ms(101), ms(102), taken, taken);
    assert_eq!((lease.token(ms(400)), lease.token(ms(401))), (taken.token(), None));
    assert_eq!(lease.take_news(), []);
}

#[test]
fn a_reading_that_was_asked_for_before_a_swap_was_answered_tells_nothing() {
    let mut lease = Lease::new(3, settings(0));
    let (free, taken) = (LeaseWord::default(), LeaseWord::default().taken_by(3));
    lease.step(ms(0), Fitness::FULL);
    lease.read(ms(0), ms(1), &table(free));
    lease.step(ms(1), Fitness::FULL);
    lease.swapped(ms(1), ms(4), free, free);
    // It came with a sample, and saw the word before the swap was carried out.
    lease.read(ms(2), ms(5), &table(free));
    assert_eq!(lease.token(ms(5)), taken.token());
    assert_eq!(lease.take_news(), [News::Took { term: 1, from: None }]);
    lease.read(ms(6), ms(7), &table(taken.taken_by(4)));
    assert_eq!(lease.token(ms(7)), None);
    assert_eq!(lease.take_news(), [News::Lost { to: Some(4) }]);
}

#[test]
fn a_restarted_monitor_goes_on_with_its_own_lease_and_its_own_beats() {
    let own = LeaseWord::default().taken_by(1).renewed();
    let mut view = table(own);
    view.candidacies[1] = Some(Candidacy { preference: 0, fitness: 9, beats: 77 });
    let mut lease = Lease::new(1, settings(0));
    lease.step(ms(0), Fitness::FULL);
    lease.read(ms(0), ms(0), &view);
    let renewal = Action::CompareAndSwap { expected: own, new: own.renewed() };
    assert_eq!(lease.step(ms(0), Fitness::FULL), renewal);
    // Another was quicker.
    let other = own.taken_by(2);
    lease.swapped(ms(0), ms(1), own, other);
    assert_eq!(lease.token(ms(1)), None);
    let announced = Candidacy { preference: 0, fitness: 255, beats: 78 };
    assert_eq!(lease.step(ms(1), Fitness::FULL), Action::Announce(announced));
    assert_eq!(lease.view().holder, Some(2));
}

#[test]
fn an_expired_lease_is_taken_over_in_the_next_term_within_its_duration_and_margin() {
    let mut world = held_by_the_first([1, 0], 1);
    world.monitors[0].alive = false;
    let took = until(&mut world, 2000, |world| world.believers() == [1]);
    assert!((250..600).contains(&took), "{took} ms");
    assert_eq!(news(&mut world, 1), [News::Took { term: world.table.lease.term(), from: Some(0) }]);
}

#[test]
fn the_preferred_monitor_gets_its_lease_back_once_it_was_fit_for_long_enough() {
    let mut world = held_by_the_first([0, 1], 2);
    let back = 900 + until(&mut world, 5000, |world| world.believers() == [1]);
    assert!((1000..1500).contains(&back), "{back} ms");
    assert!(news(&mut world, 0).contains(&News::Released(Release::TakeBack(1))));
    // In between nobody else had it.
    assert_eq!(world.table.lease.term(), 2);
}

#[test]
fn a_holder_that_is_not_fit_hands_over_to_one_that_is_and_not_while_a_command_runs() {
    let mut world = held_by_the_first([1, 1], 3);
    world.monitors[0].lease.set_busy(true);
    world.monitors[0].fitness = Fitness::of_share(0.3);
    (0..2000).for_each(|_| world.tick());
    assert_eq!(world.believers(), [0]);
    world.monitors[0].lease.set_busy(false);
    let handed = until(&mut world, 1000, |world| world.believers() == [1]);
    assert!(handed <= 250, "{handed} ms");
    assert!(news(&mut world, 0).contains(&News::Released(Release::HandOver(1))));
    // Once it is fit again there is nothing to take back among equals.
    world.monitors[0].fitness = Fitness::FULL;
    (0..3000).for_each(|_| world.tick());
    assert_eq!(world.believers(), [1]);
    assert!(world.candidacy(0).is_some_and(|own| own.fitness == 255));
}

#[test]
fn a_monitor_that_is_not_fit_acts_if_there_is_nobody_else_and_one_that_is_unfit_does_not() {
    let mut world = World::new(&[1, 1], 4, Mishaps::NONE);
    world.monitors[0].fitness = Fitness::UNFIT;
    world.monitors[1].fitness = Fitness::of_share(0.0);
    until(&mut world, 1000, |world| world.believers() == [1]);
    world.monitors[1].alive = false;
    (0..3000).for_each(|_| world.tick());
    assert!(world.believers().is_empty());
}

#[test]
fn a_monitor_that_resigns_gives_the_lease_up_at_once_and_leaves_it() {
    let mut world = held_by_the_first([1, 0], 5);
    world.monitors[0].lease.resign();
    let free = until(&mut world, 100, |world| world.table.lease.holder().is_none());
    assert!(free <= 10 && world.believers().is_empty(), "{free} ms");
    until(&mut world, 600, |world| world.believers() == [1]);
    world.monitors[1].alive = false;
    (0..3000).for_each(|_| world.tick());
    assert!(world.believers().is_empty());
}

#[test]
fn a_holder_of_which_no_slot_is_known_is_taken_over_like_any_other() {
    let mut world = World::new(&[0], 6, Mishaps::NONE);
    world.table.lease = LeaseWord::from_word(u64::MAX);
    let took = until(&mut world, 1000, |world| world.believers() == [0]);
    assert!(took >= 360, "{took} ms");
    assert_eq!(world.table.lease.term(), 0, "terms wrap");
}

#[test]
fn a_jump_of_the_clock_alone_expires_nobodys_lease() {
    let mut lease = Lease::new(1, settings(0));
    let other = LeaseWord::default().taken_by(0);
    lease.step(ms(0), Fitness::FULL);
    lease.read(ms(0), ms(0), &table(other));
    // An hour later, as its clock says, it sees the same word: it may have been renewed until a moment ago.
    let later = ms(3_600_000);
    while !matches!(lease.step(later, Fitness::FULL), Action::Read) {
        lease.announced(later);
    }
    lease.read(later, later, &table(other));
    assert!(!matches!(lease.step(later, Fitness::FULL), Action::CompareAndSwap { .. }));
}

#[test]
fn a_release_of_which_nobody_heard_is_not_followed_by_commands_before_the_lease_is_renewed() {
    let mut lease = Lease::new(0, settings(0));
    let own = LeaseWord::default().taken_by(0);
    lease.step(ms(0), Fitness::FULL);
    lease.read(ms(0), ms(0), &table(LeaseWord::default()));
    lease.step(ms(0), Fitness::FULL);
    lease.swapped(ms(0), ms(0), LeaseWord::default(), LeaseWord::default());
    assert_eq!(lease.token(ms(1)), own.token());
    lease.resign();
    let release = Action::CompareAndSwap { expected: own, new: own.released() };
    assert_eq!(lease.step(ms(1), Fitness::FULL), release);
    assert_eq!(lease.token(ms(1)), None);
    lease.failed(ms(2));
    assert_eq!(lease.token(ms(2)), None);
    // It stays with the release when it has looked, and would first renew if it had thought better of it.
    assert_eq!(lease.step(ms(40), Fitness::FULL), Action::Read);
    lease.read(ms(40), ms(41), &table(own));
    assert_eq!(lease.token(ms(41)), None);
    assert_eq!(lease.step(ms(41), Fitness::FULL), release);
    lease.failed(ms(42));
    assert_eq!(lease.step(ms(80), Fitness::FULL), Action::Read);
    lease.read(ms(80), ms(81), &table(own));
    lease.set_busy(true);
    let renewal = Action::CompareAndSwap { expected: own, new: own.renewed() };
    assert_eq!(lease.step(ms(81), Fitness::FULL), renewal);
    assert_eq!(lease.token(ms(81)), None);
    lease.swapped(ms(81), ms(82), own, own);
    assert_eq!(lease.token(ms(82)), own.token());
}

/// A lease that was given up to nobody's knowledge, and what was released.
fn releasing() -> (Lease, LeaseWord) {
    let mut lease = Lease::new(0, settings(0));
    let own = LeaseWord::default().taken_by(0);
    lease.step(ms(0), Fitness::FULL);
    lease.read(ms(0), ms(0), &table(LeaseWord::default()));
    lease.step(ms(0), Fitness::FULL);
    lease.swapped(ms(0), ms(0), LeaseWord::default(), LeaseWord::default());
    lease.take_news();
    lease.resign();
    lease.step(ms(1), Fitness::FULL);
    lease.failed(ms(2));
    (lease, own)
}

#[test]
fn a_lease_that_another_has_since_it_was_to_be_given_up_was_given_up_and_not_lost() {
    let given_up = [News::Released(Release::Resignation)];
    let (mut lease, own) = releasing();
    lease.read(ms(3), ms(4), &table(own.released().taken_by(1)));
    assert_eq!(lease.take_news(), given_up);
    // Or it was carried out between two attempts.
    let (mut lease, own) = releasing();
    lease.step(ms(40), Fitness::FULL);
    lease.read(ms(40), ms(41), &table(own));
    lease.step(ms(41), Fitness::FULL);
    lease.swapped(ms(41), ms(42), own, own.released().taken_by(1));
    assert_eq!(lease.take_news(), given_up);
}
