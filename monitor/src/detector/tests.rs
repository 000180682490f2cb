use super::*;
use backdoors_sensor_box::Unit;
use proptest::prelude::*;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn detector() -> Detector {
    Detector::new(Limits::default(), at(1000))
}

fn reading(kind: SensorKind, class: Class, value: u64, limit: u64) -> SensorReading {
    SensorReading { kind, instance: 0, class, unit: Some(Unit::Count), limit: Some(limit), value }
}

fn view(sensors: Vec<SensorReading>) -> SensorView {
    SensorView { sensors, ..SensorView::default() }
}

fn feed(detector: &mut Detector, now: Duration, sensors: Vec<SensorReading>) -> Vec<Event> {
    let mut events = Vec::new();
    detector.feed(now, &view(sensors), &mut events);
    events
}

fn raised(events: &[Event]) -> Vec<(SensorKind, u64, u64)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Raised(exceeded) => Some((exceeded.kind, exceeded.value, exceeded.limit)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_level_is_exceptional_only_above_its_limit_and_is_told_once() {
    let mut detector = detector();
    let level = |value| vec![reading(SensorKind::PROCESSES, Class::Level, value, 10)];
    assert_eq!(feed(&mut detector, at(0), level(10)), []);
    assert_eq!(raised(&feed(&mut detector, at(1), level(11))), [(SensorKind::PROCESSES, 11, 10)]);
    assert_eq!(feed(&mut detector, at(2), level(50)), []);
    assert_eq!(detector.exceeded().next().unwrap().value, 50);
    let cleared = Event::Cleared { kind: SensorKind::PROCESSES, instance: 0, value: 10, lasted: at(2) };
    assert_eq!(feed(&mut detector, at(3), level(10)), [cleared]);
    assert_eq!(feed(&mut detector, at(4), level(10)), []);
    assert_eq!(raised(&feed(&mut detector, at(5), level(12))).len(), 1);
}

#[test]
fn a_floor_is_exceptional_only_below_its_limit() {
    let mut detector = detector();
    let floor = |value| vec![reading(SensorKind::PROCESSES, Class::Floor, value, 10)];
    assert_eq!(feed(&mut detector, at(0), floor(10)), []);
    assert_eq!(raised(&feed(&mut detector, at(1), floor(9))), [(SensorKind::PROCESSES, 9, 10)]);
}

#[test]
fn progress_is_missing_when_the_value_stood_still_for_the_limit() {
    let mut detector = detector();
    let limit = 500_000_000;
    let timer = |value| vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, limit)];
    assert_eq!(feed(&mut detector, at(0), timer(1)), []);
    assert_eq!(feed(&mut detector, at(400), timer(2)), []);
    assert_eq!(feed(&mut detector, at(899), timer(2)), []);
    assert_eq!(
        raised(&feed(&mut detector, at(900), timer(2))),
        [(SensorKind::KERNEL_TIMER, 500_000_000, limit)]
    );
    assert_eq!(feed(&mut detector, at(1000), timer(2)), []);
    assert!(matches!(feed(&mut detector, at(1100), timer(3))[..], [Event::Cleared { .. }]));
}

#[test]
fn a_late_monitor_accuses_nobody_and_says_it_was_late() {
    let mut detector = detector();
    let timer = |value| vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, 500_000_000)];
    feed(&mut detector, at(0), timer(1));
    assert_eq!(feed(&mut detector, at(5000), timer(1)), [Event::Late { gap: at(5000) }]);
    assert_eq!(feed(&mut detector, at(5400), timer(1)), []);
    assert_eq!(raised(&feed(&mut detector, at(5500), timer(1))).len(), 1);
}

#[test]
fn what_stands_still_is_not_called_cured_because_the_monitor_was_late() {
    let mut detector = detector();
    let timer = |value| vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, 500_000_000)];
    feed(&mut detector, at(0), timer(1));
    assert_eq!(raised(&feed(&mut detector, at(600), timer(1))).len(), 1);
    assert_eq!(feed(&mut detector, at(5000), timer(1)), [Event::Late { gap: at(4400) }]);
    assert_eq!(detector.exceeded().count(), 1);
    assert!(matches!(feed(&mut detector, at(5100), timer(2))[..], [Event::Cleared { value: 2, .. }]));
}

#[test]
fn pressure_counts_new_events_since_the_last_one_told() {
    let mut detector = detector();
    let kills = |value| vec![reading(SensorKind::OOM_KILLS, Class::Pressure, value, 2)];
    assert_eq!(feed(&mut detector, at(0), kills(70)), []);
    assert_eq!(feed(&mut detector, at(1), kills(72)), []);
    assert_eq!(raised(&feed(&mut detector, at(2), kills(73))), [(SensorKind::OOM_KILLS, 3, 2)]);
    assert!(matches!(feed(&mut detector, at(3), kills(73))[..], [Event::Cleared { .. }]));
    assert_eq!(feed(&mut detector, at(4), kills(75)), []);
    assert_eq!(raised(&feed(&mut detector, at(5), kills(76))), [(SensorKind::OOM_KILLS, 3, 2)]);
}

#[test]
fn a_pressure_counter_that_starts_anew_is_no_event() {
    let mut detector = detector();
    let kills = |value| vec![reading(SensorKind::OOM_KILLS, Class::Pressure, value, 0)];
    feed(&mut detector, at(0), kills(70));
    assert_eq!(feed(&mut detector, at(1), kills(0)), []);
    assert_eq!(raised(&feed(&mut detector, at(2), kills(1))).len(), 1);
}

#[test]
fn the_monitors_limit_overrides_the_targets() {
    let mut limits = Limits::default();
    limits.set("processes", 5).unwrap();
    let mut detector = Detector::new(limits, at(1000));
    let sensors = vec![reading(SensorKind::PROCESSES, Class::Level, 6, 4096)];
    assert_eq!(raised(&feed(&mut detector, at(0), sensors)), [(SensorKind::PROCESSES, 6, 5)]);
}

#[test]
fn a_sensor_without_limit_never_raises_an_event() {
    let mut detector = detector();
    for (index, class) in
        [Class::Progress, Class::Level, Class::Floor, Class::Pressure].into_iter().enumerate()
    {
        let sensor = SensorReading { limit: None, ..reading(SensorKind::FORKS, class, u64::MAX, 0) };
        assert_eq!(feed(&mut detector, at(index as u64 * 900), vec![sensor]), []);
    }
}

#[test]
fn a_sensor_that_goes_away_clears_its_event() {
    let mut detector = detector();
    feed(&mut detector, at(0), vec![reading(SensorKind::PROCESSES, Class::Level, 6, 5)]);
    let cleared = Event::Cleared { kind: SensorKind::PROCESSES, instance: 0, value: 6, lasted: at(7) };
    assert_eq!(feed(&mut detector, at(7), vec![]), [cleared]);
    assert_eq!(detector.exceeded().count(), 0);
}

#[test]
fn a_sensor_that_moves_to_another_record_keeps_its_history() {
    let mut detector = detector();
    let kills = |value| reading(SensorKind::OOM_KILLS, Class::Pressure, value, 2);
    let other = reading(SensorKind::PROCESSES, Class::Level, 1, 5);
    feed(&mut detector, at(0), vec![kills(10), other]);
    assert_eq!(raised(&feed(&mut detector, at(1), vec![other, kills(13)])), [(SensorKind::OOM_KILLS, 3, 2)]);
}

#[test]
fn forgetting_clears_what_was_raised() {
    let mut detector = detector();
    feed(&mut detector, at(0), vec![reading(SensorKind::PROCESSES, Class::Level, 6, 5)]);
    let mut events = Vec::new();
    detector.forget(at(3), &mut events);
    assert!(matches!(events[..], [Event::Cleared { .. }]));
}

fn any_sensors() -> impl Strategy<Value = Vec<SensorReading>> {
    let class =
        prop_oneof![Just(Class::Progress), Just(Class::Level), Just(Class::Floor), Just(Class::Pressure)];
    let number = || prop_oneof![0..6u64, any::<u64>()];
    let one = (0..4u32, 0..2u32, class, number(), prop::option::of(number()));
    prop::collection::vec(
        one.prop_map(|(kind, instance, class, value, limit)| SensorReading {
            kind: SensorKind(kind),
            instance,
            class,
            unit: None,
            limit,
            value,
        }),
        0..6,
    )
}

proptest! {
    /// Even for views that repeat ids and change classes, as a hostile target may send.
    #[test]
    fn every_event_is_raised_once_and_cleared_once(samples in prop::collection::vec((any_sensors(), 0..3000u64), 1..30)) {
        let mut detector = detector();
        let mut open: HashMap<(SensorKind, u32), i64> = HashMap::new();
        let mut now = Duration::ZERO;
        let mut events = Vec::new();
        for (sensors, pause) in samples {
            now += at(pause);
            detector.feed(now, &view(sensors), &mut events);
            for event in events.drain(..) {
                match event {
                    Event::Raised(exceeded) => *open.entry((exceeded.kind, exceeded.instance)).or_default() += 1,
                    Event::Cleared { kind, instance, .. } => *open.entry((kind, instance)).or_default() -= 1,
                    Event::Late { gap } => prop_assert!(gap > at(1000)),
                }
            }
            prop_assert!(open.values().all(|&count| count >= 0));
            prop_assert_eq!(open.values().sum::<i64>(), detector.exceeded().count() as i64);
        }
        detector.forget(now, &mut events);
        for event in events {
            if let Event::Cleared { kind, instance, .. } = event {
                *open.entry((kind, instance)).or_default() -= 1;
            }
        }
        prop_assert!(open.values().all(|&count| count == 0));
    }

    #[test]
    fn a_sensor_that_moves_before_its_deadline_is_never_accused(pauses in prop::collection::vec(1..400u64, 1..60)) {
        let mut detector = detector();
        let mut now = Duration::ZERO;
        for (value, pause) in (0..).zip(pauses) {
            now += at(pause);
            let events = feed(&mut detector, now, vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, 500_000_000)]);
            prop_assert_eq!(events, []);
        }
    }
}

#[test]
fn a_slow_reading_adds_nothing_to_the_time_a_value_stood_still() {
    let mut detector = detector();
    let timer = |value| view(vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, 100_000_000)]);
    let mut events = Vec::new();
    // The value was there at 80 ms at the latest; the second reading saw it at 170 ms at the earliest.
    detector.feed(Taken { started: at(0), finished: at(80) }, &timer(1), &mut events);
    detector.feed(Taken { started: at(170), finished: at(300) }, &timer(1), &mut events);
    assert_eq!(events, []);
    detector.feed(Taken { started: at(180), finished: at(310) }, &timer(1), &mut events);
    assert_eq!(raised(&events), [(SensorKind::KERNEL_TIMER, 100_000_000, 100_000_000)]);
}

#[test]
fn a_late_monitor_accuses_later() {
    let mut detector = detector();
    let timer = |value| vec![reading(SensorKind::KERNEL_TIMER, Class::Progress, value, 100_000_000)];
    detector.widen(3.0);
    feed(&mut detector, at(0), timer(1));
    assert_eq!(feed(&mut detector, at(299), timer(1)), []);
    assert_eq!(raised(&feed(&mut detector, at(300), timer(1))).len(), 1);
}

#[test]
fn the_outlook_names_the_next_deadline_and_the_nearest_limit() {
    let mut detector = detector();
    let sensors = |timer, processes| {
        vec![
            reading(SensorKind::KERNEL_TIMER, Class::Progress, timer, 100_000_000),
            reading(SensorKind::AGENT_HEARTBEAT, Class::Progress, timer, 300_000_000),
            reading(SensorKind::PROCESSES, Class::Level, processes, 100),
        ]
    };
    feed(&mut detector, at(0), sensors(1, 20));
    assert_eq!(detector.outlook().deadline, None);
    feed(&mut detector, at(10), sensors(2, 80));
    let outlook = detector.outlook();
    assert_eq!(outlook.deadline, Some(at(110)));
    let nearest = outlook.nearest.unwrap();
    assert_eq!((nearest.kind, (nearest.share * 100.0).round()), (SensorKind::PROCESSES, 79.0));
}
