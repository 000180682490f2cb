use super::*;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { repairs: 3, victims: 10, victim_cooldown: Duration::from_secs(60) };

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn user(user: u32, count: u64) -> Wanted {
    Wanted { victim: Some(Victim::User(user)), count, most: 0 }
}

#[test]
fn a_repair_fits_whole_or_not_at_all() {
    let mut budget = Budget::new(BOUNDS);
    assert_eq!(
        budget.grant(at(0), &[user(1, 6), user(2, 5)]),
        Err(Exceeded::Victims { wanted: 11, left: 10, most: 10 })
    );
    assert!(budget.grant(at(0), &[user(1, 6), user(2, 4)]).is_ok());
}

#[test]
fn what_nobody_is_counted_for_is_shared_out_up_to_a_healers_own_bound() {
    let mut budget = Budget::new(BOUNDS);
    assert_eq!(budget.grant(at(0), &[user(1, 2), user(2, 3)]), Ok(vec![4, 5]));
    let bounded = Wanted { most: 3, ..user(1, 400) };
    assert_eq!(budget.grant(at(0), &[bounded, user(2, 3)]), Ok(vec![3, 5]));
}

#[test]
fn a_victim_is_left_alone_for_the_cooldown_and_another_unit_is_not() {
    let mut budget = Budget::new(BOUNDS);
    budget.struck(at(0), Victim::User(1), 1);
    let hot = Exceeded::StruckBefore { victim: Victim::User(1), cooldown: at(60_000) };
    assert_eq!(budget.grant(at(59_999), &[user(2, 1), user(1, 1)]), Err(hot));
    let escalated = Wanted { victim: Some(Victim::Tree { pid: 7, start: 3 }), count: 1, most: 0 };
    assert!(budget.grant(at(59_999), &[escalated]).is_ok());
    assert!(budget.grant(at(60_000), &[user(1, 1)]).is_ok());
}

#[test]
fn a_victim_that_is_struck_by_several_commands_of_a_repair_counts_once() {
    let mut budget = Budget::new(BOUNDS);
    let nobody = Wanted { victim: None, ..user(3, 40) };
    assert_eq!(
        budget.grant(at(0), &[user(1, 6), user(1, 6), user(2, 4), nobody]).map(|grants| grants.len()),
        Ok(4)
    );
    let too_many = Exceeded::Victims { wanted: 11, left: 10, most: 10 };
    assert_eq!(budget.grant(at(0), &[user(1, 6), user(1, 7), user(2, 4)]), Err(too_many));
}

#[test]
fn what_humans_order_counts_but_is_never_more_than_all() {
    let mut budget = Budget::new(BOUNDS);
    for _ in 0..9 {
        budget.begun(at(0));
    }
    assert_eq!(budget.grant(at(59_999), &[user(1, 1)]), Err(Exceeded::Repairs(3)));
    budget.struck(at(1000), Victim::User(1), u64::MAX);
    budget.struck(at(1000), Victim::User(2), u64::MAX);
    let spent = Exceeded::Victims { wanted: 1, left: 0, most: 10 };
    assert_eq!(budget.grant(at(60_999), &[user(3, 1)]), Err(spent));
    assert!(budget.grant(at(61_000), &[user(3, 1)]).is_ok());
}

#[test]
fn reasons_name_the_numbers_and_the_remedy() {
    let mut budget = Budget::new(BOUNDS);
    assert_eq!(
        budget.grant(at(0), &[user(1, 398)]).unwrap_err().to_string(),
        "it has 398 victims, and 10 of 10 victims a minute are left (`budget.victims_per_minute`); nothing was \
         written, approve it to go on"
    );
    budget.struck(at(0), Victim::User(1), 1);
    assert_eq!(
        budget.grant(at(0), &[user(1, 1)]).unwrap_err().to_string(),
        "user 1 was struck less than 60 s ago (`budget.victim_cooldown`); nothing was written, approve it to strike \
         again"
    );
}

#[derive(Clone, Copy, Debug)]
struct Try {
    /// True time since the last try.
    pause: u64,
    /// How much of it the clock loses, or more: then it goes back.
    lost: u64,
    user: u32,
    count: u64,
    /// Share of what was granted that is signalled in the end.
    used: f64,
}

fn tries() -> impl Strategy<Value = Vec<Try>> {
    let one = (
        0..40_000u64,
        prop_oneof![3 => Just(0u64), 1 => 0..200_000u64],
        0..6u32,
        0..8u64,
        prop_oneof![Just(1.0f64), 0.0..1.0f64],
    )
        .prop_map(|(pause, lost, user, count, used)| Try { pause, lost, user, count, used });
    prop::collection::vec(one, 1..120)
}

proptest! {
    /// With a clock that stands still and goes back, but does not run ahead.
    #[test]
    fn in_no_minute_are_there_more_repairs_or_victims_than_may_be_nor_is_anybody_struck_twice(tries in tries()) {
        let mut budget = Budget::new(BOUNDS);
        let (mut time, mut clock) = (0u64, 1_000_000u64);
        let mut done: Vec<(u64, u32, u64)> = Vec::new();
        for Try { pause, lost, user: number, count, used } in tries {
            time += pause;
            clock = (clock + pause).saturating_sub(lost);
            let Ok(grants) = budget.grant(at(clock), &[user(number, count)]) else { continue };
            prop_assert!(grants[0] >= count);
            let signalled = (grants[0] as f64 * used) as u64;
            budget.begun(at(clock));
            budget.struck(at(clock), Victim::User(number), signalled);
            done.push((time, number, signalled));
            let minute = done.iter().filter(|(at, ..)| time - at < 60_000);
            prop_assert!(minute.clone().count() <= 3);
            prop_assert!(minute.clone().map(|(_, _, signalled)| signalled).sum::<u64>() <= 10);
            prop_assert!(minute.filter(|(_, user, _)| *user == number).count() <= 1);
        }
    }

    #[test]
    fn no_clock_blocks_healers_for_longer_than_a_minute(
        times in prop::collection::vec(any::<u64>(), 1..60), last in 0..u64::MAX / 2,
    ) {
        let mut budget = Budget::new(BOUNDS);
        for time in times {
            let _ = budget.grant(Duration::from_nanos(time), &[user(1, 1)]);
            budget.begun(Duration::from_nanos(time));
            budget.struck(Duration::from_nanos(time), Victim::User(1), 10);
        }
        let last = Duration::from_nanos(last);
        let _ = budget.grant(last, &[user(1, 1)]);
        prop_assert!(budget.grant(last + WINDOW, &[user(1, 10)]).is_ok());
    }
}
