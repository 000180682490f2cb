use super::*;
use crate::{Case, Culprit, Diagnosis, Exceeded, FrozenSensor, Limits, StuckApplication};
use backdoors_sensor_box::layout::ProcessFlags;
use backdoors_sensor_box::{
    Class, Opcode, Process, ProcessView, SensorKind, SensorReading, SensorView, Unit,
};
use proptest::prelude::*;
use std::time::Duration;

const GOOD: &str = r#"{"version":1,"culprit":{"process":7},
    "evidence":[{"name":"disk","text":"it fills /var","value":5,"limit":4}],
    "repair":{"opcode":"kill-process","subject":7,"start_ns":70}}"#;

fn error(answer: &str) -> String {
    decode(answer.as_bytes()).unwrap_err().to_string()
}

#[test]
fn an_accusation_is_understood() {
    let Diagnosis::Culprit { culprit, evidence, repair, victims } = decode(GOOD.as_bytes()).unwrap() else {
        panic!("nobody blamed");
    };
    assert_eq!((culprit, victims), (Culprit::Process { pid: 7 }, 0));
    assert_eq!((evidence[0].name.as_ref(), evidence[0].text.as_str()), ("disk", "it fills /var"));
    assert_eq!((evidence[0].value, evidence[0].limit), (5, Some(4)));
    let command = repair.commands[0];
    assert_eq!((command.opcode, command.subject, command.start), (Opcode::KillProcess, 7, 70));
    assert_eq!((command.most_victims, command.dry_run), (0, false));
}

#[test]
fn a_repair_can_wait_unless_it_says_that_it_is_urgent() {
    let time = |answer: &str| match decode(answer.as_bytes()).unwrap() {
        Diagnosis::Culprit { repair, .. } => repair.time,
        other => panic!("{other:?}"),
    };
    assert_eq!(time(GOOD), Duration::MAX);
    let urgent = GOOD.replacen("\"subject\":7", "\"subject\":7,\"urgent\":true", 1);
    assert_eq!(time(&urgent), Duration::ZERO);
}

#[test]
fn finding_nothing_is_understood() {
    let nothing = decode(br#"{"version":1,"nothing":"all is well"}"#).unwrap();
    assert_eq!(nothing, Diagnosis::Nothing { reason: "all is well".into() });
}

#[test]
fn what_does_not_fit_is_refused_with_the_reason() {
    for (right, wrong, complaint) in [
        ("\"version\":1", "\"version\":2", "version 2, and this monitor reads version 1"),
        ("\"version\":1,", "", "missing field `version`"),
        ("\"version\":1", "\"version\":1,\"vision\":1", "unknown field `vision`"),
        ("\"version\":1", "\"version\":1,\"version\":1", "duplicate field `version`"),
        ("\"version\":1", "\"version\":1,\"nothing\":\"well\"", "neither `nothing` alone"),
        ("\"culprit\":{\"process\":7},", "", "neither `nothing` alone"),
        ("{\"process\":7}", "{\"daemon\":7}", "unknown variant `daemon`"),
        ("{\"process\":7}", "{\"process\":-7}", "expected u32"),
        ("{\"process\":7}", "{\"process\":8}", "it blames process 8 and would kill-process 7"),
        ("{\"process\":7}", "{\"user\":7}", "it blames user 7 and would kill-process 7"),
        (
            "kill-process",
            "kill-everybody",
            "`repair.opcode` is `kill-everybody`; there are: nothing, kill-process",
        ),
        (",\"start_ns\":70", "", "`repair.start_ns` is missing"),
        ("\"subject\":7", "\"subject\":7,\"force\":true", "unknown field `force`"),
        ("\"value\":5", "\"value\":1e300", "expected u64"),
        ("\"limit\":4", "\"limits\":4", "unknown field `limits`"),
    ] {
        assert!(GOOD.contains(right), "{right}");
        let found = error(&GOOD.replacen(right, wrong, 1));
        assert!(found.contains(complaint), "{found}");
    }
    for (answer, complaint) in [
        ("", "expected a JSON object"),
        ("nonsense", "expected a JSON object"),
        ("[1, \"well\", null, null, null]", "expected a JSON object"),
        ("{", "EOF"),
        ("{}{}", "missing"),
    ] {
        assert!(error(answer).contains(complaint), "{}", error(answer));
    }
    assert!(error(&format!("{GOOD} and more")).contains("trailing characters"));
}

#[test]
fn evidence_is_bounded_and_clean() {
    let with = |evidence: &str| {
        let start = GOOD.find("[{").unwrap();
        let end = GOOD.find("}]").unwrap() + 2;
        format!("{}{evidence}{}", &GOOD[..start], &GOOD[end..])
    };
    assert!(error(&with("[]")).contains("0 pieces of evidence: give 1 to 16"));
    let one = r#"{"name":"n","text":"t"}"#;
    decode(with(&format!("[{}]", vec![one; 16].join(","))).as_bytes()).unwrap();
    assert!(error(&with(&format!("[{}]", vec![one; 17].join(",")))).contains("17 pieces"));
    let long = format!(r#"[{{"name":"n","text":"{}"}}]"#, "x".repeat(501));
    assert!(error(&with(&long)).contains("`evidence.text` has 501 bytes, 500 at most"));
    let tricky = r#"[{"name":"n\u001b[2J","text":"a\nb\u202ec\u0000d é"}]"#;
    let Diagnosis::Culprit { evidence, .. } = decode(with(tricky).as_bytes()).unwrap() else { panic!() };
    assert_eq!(
        (evidence[0].name.as_ref(), evidence[0].text.as_str()),
        ("n\u{fffd}[2J", "a\u{fffd}b\u{fffd}c\u{fffd}d é")
    );
}

#[test]
fn a_case_is_told_whole() {
    let exceeded = Exceeded {
        kind: SensorKind::USER_PROCESSES,
        instance: 60001,
        class: Class::Level,
        unit: Some(Unit::Count),
        value: 9,
        limit: 8,
    };
    let reading = SensorReading {
        kind: SensorKind::USER_PROCESSES,
        instance: 60001,
        class: Class::Level,
        unit: Some(Unit::Count),
        limit: Some(1024),
        value: 9,
    };
    let process = Process {
        pid: 7,
        parent: 1,
        user: 60001,
        depth: 2,
        flags: ProcessFlags::PROTECTED,
        start: 70,
        rss: 4096,
        cpu_time: 5,
        command: "a\"b".into(),
        swap: 8192,
        cgroup_name: "shop.service".into(),
        ..Process::default()
    };
    let frozen = FrozenSensor {
        name: "orders".into(),
        still: Duration::from_secs(1),
        limit: Duration::from_millis(5),
    };
    let stuck =
        StuckApplication { name: "shop".into(), pid: 7, attached_at: 80, died: false, frozen: vec![frozen] };
    let mut limits = Limits::default();
    limits.set("user.processes", 8).unwrap();
    let case = Case {
        now: Duration::from_nanos(3),
        target: "web1",
        events: &[exceeded],
        sensors: &SensorView { clock: 90, cpus: 2, sensors: vec![reading], ..SensorView::default() },
        processes: &ProcessView { processes: vec![process], torn: vec![4], ..ProcessView::default() },
        limits: &limits,
        stuck: &[stuck],
    };
    let told: serde_json::Value = serde_json::from_slice(&encode(&case)).unwrap();
    let expected: serde_json::Value = serde_json::from_str(
        r#"{
            "version": 1, "target": "web1", "now_ns": 3, "clock_ns": 90, "cpus": 2,
            "events": [{"sensor": "user.processes", "instance": 60001, "class": "level", "unit": "count", "value": 9, "limit": 8}],
            "sensors": [{"sensor": "user.processes", "instance": 60001, "class": "level", "unit": "count", "value": 9, "limit": 8}],
            "applications": [{"name": "shop", "pid": 7, "attached_at_ns": 80, "died": false,
                "frozen": [{"sensor": "orders", "still_ns": 1000000000, "limit_ns": 5000000}]}],
            "processes": [{"pid": 7, "parent": 1, "user": 60001, "depth": 2, "start_ns": 70, "rss_bytes": 4096,
                "swap_bytes": 8192, "cpu_ns": 5, "kernel": false, "protected": true, "command": "a\"b",
                "cgroup": "shop.service"}],
            "torn": 1
        }"#,
    )
    .unwrap();
    assert_eq!(told, expected);
}

#[test]
fn settings_are_checked() {
    let read = |name: &str, text: &str| ExternalSettings::read(name, text.parse().unwrap());
    let good = "command = ['/bin/true', '-x']\nwatches = ['processes']";
    let settings = read("disk-full", good).unwrap();
    assert_eq!((settings.timeout, settings.most_output), (Duration::from_secs(2), 65536));
    assert_eq!(settings.kinds(), [SensorKind::PROCESSES]);
    for (name, text, complaint) in [
        ("forkbomb", good.to_owned(), "a built-in healer has this name"),
        ("a b", good.to_owned(), "a name is 1 to 64 letters"),
        ("x", good.replace("'/bin/true', '-x'", ""), "`command` is empty"),
        ("x", good.replace("/bin/true", "true"), "give the program's path"),
        ("x", good.replace("'processes'", ""), "`watches` is empty"),
        ("x", good.replace("'processes'", "'dreams'"), "`watches` names `dreams`"),
        ("x", format!("{good}\ntimeout = '99ms'"), "`timeout` must be"),
        ("x", format!("{good}\ntimeout = '61s'"), "`timeout` must be"),
        ("x", format!("{good}\nmost_output = 1"), "`most_output` must be"),
        ("x", format!("{good}\ntimout = '1s'"), "unknown field `timout`"),
    ] {
        let error = read(name, &text).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

/// A JSON document that is almost an answer.
fn almost_an_answer() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"version\"",
        "1",
        "\"nothing\"",
        "\"culprit\"",
        "\"user\"",
        "\"evidence\"",
        "\"repair\"",
        "\"opcode\"",
        "\"kill-user\"",
        "\"subject\"",
        "\"\\u001b\"",
        "null",
        "-1",
        "1e9",
        "18446744073709551616",
    ]);
    let words = prop::collection::vec(word, 0..40).prop_map(|words| words.concat().into_bytes());
    let damaged = (prop::collection::vec((0..GOOD.len(), any::<u8>()), 0..4)).prop_map(|changes| {
        let mut bytes = GOOD.as_bytes().to_vec();
        changes.iter().for_each(|(place, byte)| bytes[*place] = *byte);
        bytes
    });
    prop_oneof![words, damaged, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    /// Whatever a program answers: an error in clean words, or a diagnosis within all bounds.
    #[test]
    fn any_bytes_give_an_error_or_a_bounded_diagnosis(bytes in almost_an_answer()) {
        let is_clean = |text: &str| !text.chars().any(char::is_control);
        match decode(&bytes) {
            Err(error) => prop_assert!(is_clean(&error.to_string()) && error.to_string().len() < 2000),
            Ok(Diagnosis::Nothing { reason }) => prop_assert!(is_clean(&reason) && reason.len() <= 3 * MOST_TEXT),
            Ok(Diagnosis::Culprit { culprit, evidence, repair, .. }) => {
                prop_assert!((1..=MOST_EVIDENCE).contains(&evidence.len()));
                prop_assert!(evidence.iter().all(|one| is_clean(&one.text) && is_clean(&one.name)));
                let subject = match culprit {
                    Culprit::User { user } => u64::from(user),
                    Culprit::Process { pid } | Culprit::Tree { pid } => u64::from(pid),
                    Culprit::Cgroup { id } => id,
                };
                prop_assert!(repair.commands[0].opcode == Opcode::Nothing || repair.commands[0].subject == subject);
            }
            Ok(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
