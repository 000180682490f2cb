use super::*;
use backdoors_sensor_box::{Class, SensorKind, SensorReading};
use proptest::prelude::*;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn inputs() -> Inputs {
    Inputs {
        tightest: Some(at(500)),
        false_alarm: 1e-6,
        loss: 0.003,
        round_trip: RoundTrip { median: Duration::from_micros(100), high: Duration::from_micros(500) },
        wait: at(100),
        nearest: None,
        lateness: 1.0,
        delay: Duration::ZERO,
        longest: at(1000),
        fastest: at(10),
    }
}

fn near(share: f64) -> Option<Nearest> {
    Some(Nearest { kind: SensorKind::USER_PROCESSES, instance: 1000, share })
}

#[test]
fn as_many_chances_are_asked_for_as_guptas_bound_says_at_least() {
    for false_alarm in [1e-2, 1e-4, 1e-6, 1e-8, 1e-12] {
        for loss in [1e-9, 1e-4, 0.01, 0.1, 0.3, 0.7] {
            let bound = (f64::ln(false_alarm) / f64::ln(loss)).ceil();
            let (chances, enough) = chances_needed(false_alarm, loss);
            assert!(enough);
            let chances = f64::from(chances);
            assert!(chances >= bound, "{false_alarm} {loss}: {chances} < {bound}");
            assert!(chances * (1.0 - loss) * loss.powf(chances) <= false_alarm);
            assert!(chances <= bound + 14.0, "{false_alarm} {loss}: {chances} of {bound}");
        }
    }
}

#[test]
fn the_thesiss_example_needs_one_chance_a_second() {
    let plan = Plan::of(&Inputs { tightest: Some(at(1000)), false_alarm: 1.01e-8, loss: 1e-8, ..inputs() });
    assert_eq!(plan.chances, 1);
    assert!(plan.period > at(900) && plan.period < at(1000), "{:?}", plan.period);
}

#[test]
fn all_chances_are_answered_or_given_up_within_the_deadline() {
    for tightest in [10, 50, 100, 500, 1000] {
        for loss in [1e-6, 1e-3, 0.01, 0.1, 0.3] {
            let plan = Plan::of(&Inputs { tightest: Some(at(tightest)), loss, fastest: at(0), ..inputs() });
            assert!(matches!(plan.why, Why::Promise { .. }), "{tightest} {loss}: {}", plan.why);
            assert!(plan.period * plan.chances + plan.wait <= at(tightest));
        }
    }
}

#[test]
fn the_reasons_read_well() {
    let plan = Plan::of(&inputs());
    assert_eq!(plan.why.to_string(), "3 chances in 500ms at a loss of 0.30 % for 1e-6");
    let plan = Plan::of(&Inputs { nearest: near(0.83), ..inputs() });
    assert_eq!(plan.why.to_string(), "user.processes[1000] is at 83 % of its limit");
    let plan = Plan::of(&Inputs { nearest: near(1.0), ..inputs() });
    assert_eq!(plan.why.to_string(), "user.processes[1000] is over its limit");
    let plan = Plan::of(&Inputs { tightest: None, ..inputs() });
    assert_eq!(plan.why.to_string(), "calm");
    let plan = Plan::of(&Inputs { tightest: Some(at(20)), loss: 0.3, ..inputs() });
    assert_eq!(
        plan.why.to_string(),
        "cannot keep the promise: at a loss of 30 % 14 chances do not fit into 20ms, silence is told after 145ms"
    );
    let plan = Plan::of(&Inputs { loss: 0.999, ..inputs() });
    assert!(
        plan.why.to_string().starts_with("cannot keep the promise: at a loss of 100 % no number"),
        "{}",
        plan.why
    );
}

#[test]
fn sampling_gets_faster_as_a_sensor_nears_its_limit_and_slower_when_it_is_calm() {
    let period = |share| Plan::of(&Inputs { tightest: None, nearest: near(share), ..inputs() }).period;
    assert_eq!(period(0.1), at(1000));
    assert_eq!(period(0.5), at(1000));
    let periods: Vec<_> = [0.6, 0.7, 0.8, 0.9, 1.0].map(period).into();
    assert!(periods.windows(2).all(|pair| pair[1] < pair[0]), "{periods:?}");
    assert_eq!(periods[4], at(10));
}

#[test]
fn a_late_monitor_samples_less_often_for_deadlines_that_are_longer() {
    let punctual = Plan::of(&inputs());
    let late = Plan::of(&Inputs { lateness: 4.0, longest: at(10_000), ..inputs() });
    assert!(late.period > punctual.period * 3, "{:?} {:?}", late.period, punctual.period);
    assert_eq!(late.chances, punctual.chances);
}

#[test]
fn round_trips_and_delays_are_part_of_the_promised_period_up_to_half_of_it() {
    let plan =
        |high, delay| Plan::of(&Inputs { round_trip: RoundTrip { median: high, high }, delay, ..inputs() });
    let first = plan(Duration::ZERO, Duration::ZERO);
    assert_eq!(first.interval, first.period);
    let usual = plan(Duration::from_micros(90), Duration::from_micros(200));
    assert_eq!(usual.interval + Duration::from_micros(380), usual.period);
    for slow in [plan(at(40), Duration::ZERO), plan(Duration::ZERO, at(3000)), plan(at(40), Duration::MAX)] {
        assert_eq!(slow.interval, slow.period - slow.period / 2);
    }
    // Never is more asked for than the configuration allows.
    let short = Plan::of(&Inputs { fastest: at(100), delay: at(60), ..inputs() });
    assert!(matches!(short.why, Why::Promise { .. }) && short.interval == at(100), "{short:?}");
    // Where nothing is promised, nothing is subtracted.
    let calm = Plan::of(&Inputs { tightest: None, delay: at(60), ..inputs() });
    assert_eq!((calm.period, calm.interval), (at(1000), at(1000)));
}

#[test]
fn intervals_differ_and_never_exceed_the_period() {
    let plan = Plan::of(&inputs());
    let mut pace = Pace::new(7, plan);
    let mut last = pace.next(at(0), at(0), None);
    assert!(last < plan.period);
    let mut intervals = Vec::new();
    for _ in 0..1000 {
        let next = pace.next(last, last, None);
        intervals.push(next - last);
        last = next;
    }
    assert!(
        intervals.iter().all(|&interval| interval <= plan.interval && interval >= plan.interval.mul_f64(0.8))
    );
    let mean = intervals.iter().sum::<Duration>() / 1000;
    assert!(mean > plan.interval.mul_f64(0.89) && mean < plan.interval.mul_f64(0.91));
}

#[test]
fn a_thousand_targets_are_not_sampled_in_lockstep() {
    let plan = Plan::of(&inputs());
    let mut tenths = [0; 10];
    for seed in 0..1000 {
        let mut pace = Pace::new(seed, plan);
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            last = pace.next(last, last, None);
        }
        let phase = (last.as_nanos() % plan.interval.as_nanos()) * 10 / plan.interval.as_nanos();
        tenths[usize::try_from(phase).unwrap()] += 1;
    }
    assert!(tenths.iter().all(|&count| (60..140).contains(&count)), "{tenths:?}");
}

#[test]
fn a_sample_is_due_exactly_when_a_deadline_runs_out() {
    let plan = Plan::of(&inputs());
    let mut pace = Pace::new(7, plan);
    pace.next(at(0), at(0), None);
    assert_eq!(pace.next(at(1000), at(1000), Some(at(1050))), at(1050));
    assert!(pace.next(at(1000), at(1000), Some(at(5000))) <= at(1000) + plan.period);
    assert!(pace.next(at(1000), at(1000), Some(at(900))) <= at(1000) + plan.period / 4);
}

#[test]
fn chances_that_went_by_are_not_made_up_for() {
    let plan = Plan::of(&inputs());
    let mut pace = Pace::new(7, plan);
    pace.next(at(0), at(0), None);
    let next = pace.next(at(0), at(60_000), None);
    assert!(next > at(60_000) && next <= at(60_000) + plan.period);
    let back = pace.next(at(60_000), at(10), None);
    assert!(back > at(10) && back <= at(10) + plan.period, "after the clock went back: {back:?}");
}

#[test]
fn sensors_of_only_zero_and_one_are_not_near_their_limit() {
    let share = |class, value, limit| {
        let kind = SensorKind::AGENT_ALIVE;
        let reading = SensorReading { kind, instance: 0, class, unit: None, limit: Some(limit), value };
        let mut nearness = Nearness::default();
        nearness.add(&reading, limit, value);
        nearness.nearest().map(|nearest| nearest.share)
    };
    assert_eq!(share(Class::Floor, 1, 1), Some(0.5));
    assert_eq!(share(Class::Floor, 0, 1), Some(1.0));
    assert_eq!(share(Class::Floor, 1000, 100), Some(100.0 / 1001.0));
    assert_eq!(share(Class::Level, 0, 0), Some(0.0));
    assert_eq!(share(Class::Level, 1, 0), Some(1.0));
    assert_eq!(share(Class::Level, u64::MAX, u64::MAX), Some(1.0));
    assert_eq!(share(Class::Pressure, 3, 7), Some(0.375));
    assert_eq!(share(Class::Progress, 3, 7), None);
}

proptest! {
    #[test]
    fn absurd_inputs_make_a_possible_plan(
        tightest in prop::option::of(any::<u64>()),
        false_alarm in -1.0f64..2.0, loss in -1.0f64..2.0, lateness in -5.0f64..1e6,
        wait in any::<u64>(), high in any::<u64>(), delay in any::<u64>(), longest in any::<u64>(), fastest in any::<u64>(), share in -1.0f64..3.0,
        last in any::<u64>(), now in any::<u64>(), deadline in prop::option::of(any::<u64>()),
    ) {
        let nanos = Duration::from_nanos;
        let inputs = Inputs {
            tightest: tightest.map(nanos), false_alarm, loss, lateness, delay: nanos(delay), wait: nanos(wait), longest: nanos(longest), fastest: nanos(fastest),
            round_trip: RoundTrip { median: nanos(high), high: nanos(high) }, nearest: near(share),
        };
        let mut pace = Pace::new(last, Plan::of(&inputs));
        let plan = pace.plan(&inputs);
        prop_assert!(plan.period >= Duration::from_micros(10));
        prop_assert!(plan.period >= inputs.fastest && plan.period <= inputs.longest.max(inputs.fastest).max(Duration::from_micros(10)));
        prop_assert!(plan.interval <= plan.period && plan.interval >= plan.period / 2 && plan.interval >= inputs.fastest);
        prop_assert!(plan.chances >= 1 && plan.wait > Duration::ZERO);
        prop_assert!(!plan.why.to_string().is_empty());
        for _ in 0..3 {
            let next = pace.next(nanos(last), nanos(now), deadline.map(nanos));
            prop_assert!(next >= nanos(now) && next <= nanos(now).saturating_add(plan.period));
        }
    }
}
