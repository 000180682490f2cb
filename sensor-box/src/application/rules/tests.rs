use super::*;

const GOOD: SensorSpec<'_> = SensorSpec { name: "a", class: Class::Level, unit: Unit::Count, limit: 1 };

fn refusal(application: &str, sensors: &[SensorSpec<'_>]) -> String {
    check(application, sensors, &[]).unwrap_err().to_string()
}

#[test]
fn names_are_short_and_plain() {
    for name in ["a", "web-1", "db.primary_2", "0", &"x".repeat(32)] {
        assert_eq!(check(name, &[SensorSpec { name, ..GOOD }], &[]), Ok(()), "{name}");
    }
    for (name, why) in [
        ("", "is empty"),
        (&*"x".repeat(33), "is too long"),
        ("two words", "has other characters"),
        ("caf\u{e9}", "has other characters"),
        ("bell\u{7}", "has other characters"),
        ("a/b", "has other characters"),
        ("-a", "begins with neither"),
        (".", "begins with neither"),
    ] {
        assert!(refusal(name, &[GOOD]).contains(&format!("application name {name:?} {why}")), "{name}");
        let sensor = refusal("a", &[SensorSpec { name, ..GOOD }]);
        assert!(sensor.contains(&format!("sensor name {name:?} {why}")), "{name}");
    }
}

#[test]
fn an_application_has_up_to_62_sensors_of_different_names() {
    assert!(refusal("a", &[]).contains("no sensors"));
    assert!(refusal("a", &[GOOD, GOOD]).contains("two sensors are named \"a\""));
    let names: Vec<String> = (0..63).map(|number| number.to_string()).collect();
    let sensors: Vec<_> = names.iter().map(|name| SensorSpec { name, ..GOOD }).collect();
    assert_eq!(check("a", &sensors[..62], &[]), Ok(()));
    assert!(refusal("a", &sensors).contains("63 sensors, but an application has at most 62"));
}

#[test]
fn a_hook_takes_the_room_of_two_sensors_has_its_own_name_and_takes_some_word() {
    let names: Vec<String> = (0..62).map(|number| number.to_string()).collect();
    let hooks: Vec<_> = names.iter().map(|name| HookSpec { name, least: 0, most: u64::MAX }).collect();
    let sensors: Vec<_> = names.iter().map(|name| SensorSpec { name, ..GOOD }).collect();
    assert_eq!(check("a", &[], &hooks[..31]), Ok(()));
    assert_eq!(check("a", &sensors[..60], &hooks[..1]), Ok(()), "a sensor may have a hook's name");
    let refusal = |sensors: &[SensorSpec<'_>], hooks: &[HookSpec<'_>]| {
        check("a", sensors, hooks).unwrap_err().to_string()
    };
    assert!(refusal(&sensors[..61], &hooks[..1]).contains("61 sensors and 1 hooks, but"));
    assert!(refusal(&[], &hooks[..32]).contains("0 sensors and 32 hooks, but"));
    assert!(refusal(&[], &[hooks[0], hooks[0]]).contains("two hooks are named \"0\""));
    assert!(refusal(&[], &[HookSpec { name: "two words", ..hooks[0] }]).contains("hook name \"two words\""));
    assert_eq!(check("a", &[], &[HookSpec { least: 7, most: 7, ..hooks[0] }]), Ok(()));
    let none = refusal(&[], &[HookSpec { least: 8, most: 7, ..hooks[0] }]);
    assert!(none.contains("8 at least and 7 at most"), "{none}");
}

#[test]
fn a_progress_sensor_has_a_deadline_of_a_millisecond_to_a_day() {
    let day = MAX_PROGRESS_LIMIT;
    for limit in [MIN_PROGRESS_LIMIT, Duration::from_millis(500), day] {
        assert_eq!(check("a", &[SensorSpec::progress("p", limit)], &[]), Ok(()), "{limit:?}");
    }
    let wrong = [Duration::ZERO, Duration::from_nanos(999_999), day + Duration::from_nanos(1), Duration::MAX];
    for limit in wrong {
        assert!(refusal("a", &[SensorSpec::progress("p", limit)]).contains("1 ms to 1 day"), "{limit:?}");
    }
    let none = SensorSpec { class: Class::Progress, limit: NO_LIMIT, ..GOOD };
    assert!(refusal("a", &[none]).contains("1 ms to 1 day"));
}

#[test]
fn levels_and_pressures_may_be_limited_to_nothing_and_floors_not() {
    for sensor in [SensorSpec::level("s", 0), SensorSpec::pressure("s", 0), SensorSpec::floor("s", 1)] {
        assert_eq!(check("a", &[sensor], &[]), Ok(()));
    }
    assert!(refusal("a", &[SensorSpec::floor("s", 0)]).contains("which no value is below"));
}

#[test]
fn a_limit_that_looks_negative_is_refused_and_none_at_all_is_not() {
    for class in [Class::Level, Class::Floor, Class::Pressure] {
        let with = |limit| [SensorSpec { class, limit, ..GOOD }];
        assert_eq!(check("a", &with(i64::MAX as u64), &[]), Ok(()));
        assert_eq!(check("a", &with(NO_LIMIT), &[]), Ok(()));
        assert!(refusal("a", &with((-5_i64).cast_unsigned())).contains("-5 as a signed number"));
    }
}

#[test]
fn a_field_with_anything_behind_its_first_zero_holds_no_name() {
    let mut field = field_of("web");
    assert_eq!(name_of("sensor", &field), Ok("web"));
    field[10] = b'x';
    assert!(name_of("sensor", &field).is_err());
    assert_eq!(name_of("sensor", &field_of(&"x".repeat(32))), Ok(&*"x".repeat(32)));
    assert!(name_of("sensor", &[0xff; NAME_BYTES]).is_err());
}
