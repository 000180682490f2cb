use super::sensors::MOST_INSTANCES;
use super::*;
use crate::config::Config;
use crate::journal::{Entry, Journal, What};
use crate::pace::{Plan, Why};
use crate::recovery::pull::BoxCounts;
use crate::verdict::{Layer, State, Verdict};
use backdoors_sensor_box::{SensorKind, SensorReading, SensorView};

fn status(name: &str) -> Status {
    let text = format!(
        "name = 'm'\nidentity = '.'\njournal = 'j'\n[[target]]\nname = '{name}'\naddress = 'a:1'\ncertificate = 'c'\n"
    );
    let config = Config::parse(&text, std::path::Path::new("/monitor.toml")).unwrap();
    let second = Duration::from_secs(1);
    let plan = Plan { period: second, interval: second, chances: 1, wait: second, why: Why::Calm };
    Status::new(&config.targets[0], plan)
}

fn known(statuses: Vec<Status>) -> Known {
    Known {
        statuses,
        counts: BTreeMap::new(),
        now: Duration::from_secs(100),
        sys: "/nonexistent".into(),
        proc: "/proc".into(),
    }
}

fn reading(kind: SensorKind, instance: u32, value: u64) -> SensorReading {
    let line = kind.description().unwrap();
    SensorReading { kind, instance, class: line.class, unit: Some(line.unit), value, limit: None }
}

#[test]
fn sensors_are_told_by_the_catalogues_names_in_base_units() {
    let mut of_web1 = status("web1");
    of_web1.view = SensorView {
        sensors: vec![
            reading(SensorKind::CPU_SWITCHES, 1, 7),
            reading(SensorKind::USER_PROCESSES, 1000, 3),
            reading(SensorKind::MEMORY_AVAILABLE, 0, 1 << 30),
            reading(SensorKind::MEMORY_STALLED, 0, 250_000_000),
        ],
        ..SensorView::default()
    };
    let text = known(vec![of_web1]).text().unwrap();
    for line in [
        "# TYPE backdoors_target_cpu_switches counter",
        "backdoors_target_cpu_switches_total{target=\"web1\",cpu=\"1\"} 7.0",
        "backdoors_target_user_processes{target=\"web1\",user=\"1000\"} 3.0",
        "# UNIT backdoors_target_memory_available_bytes bytes",
        "backdoors_target_memory_available_bytes{target=\"web1\"} 1073741824.0",
        "backdoors_target_memory_stalled_seconds{target=\"web1\"} 0.25",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let classic = classic(&text);
    assert!(classic.contains("# TYPE backdoors_target_cpu_switches_total counter\n"), "{classic}");
    assert!(!classic.contains("# UNIT") && !classic.contains("# EOF"));
}

#[test]
fn how_long_readings_took_is_told_as_a_histogram() {
    let mut of_web1 = status("web1");
    of_web1.samples = 3;
    of_web1.latencies.counts[2] = 2;
    of_web1.latencies.counts[9] = 1;
    of_web1.latencies.sum = Duration::from_millis(300);
    let text = known(vec![of_web1]).text().unwrap();
    for line in [
        "# TYPE backdoors_fetch_latency_seconds histogram",
        "backdoors_fetch_latency_seconds_sum{target=\"web1\"} 0.3",
        "backdoors_fetch_latency_seconds_count{target=\"web1\"} 3",
        "backdoors_fetch_latency_seconds_bucket{le=\"0.000025\",target=\"web1\"} 0",
        "backdoors_fetch_latency_seconds_bucket{le=\"0.00005\",target=\"web1\"} 2",
        "backdoors_fetch_latency_seconds_bucket{le=\"0.1\",target=\"web1\"} 2",
        "backdoors_fetch_latency_seconds_bucket{le=\"+Inf\",target=\"web1\"} 3",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
    }
}

#[test]
fn boxes_are_told_for_each_service() {
    let mut of_web1 = status("web1");
    of_web1.boxes = vec![BoxCounts {
        service: "shop".to_owned(),
        sessions: 5,
        kept: 4,
        behind: 2,
        longest_behind: Duration::from_millis(2500),
    }];
    let text = known(vec![of_web1, status("web2")]).text().unwrap();
    for line in [
        "backdoors_boxes_sessions{target=\"web1\",service=\"shop\"} 5.0",
        "backdoors_boxes_kept{target=\"web1\",service=\"shop\"} 4.0",
        "backdoors_boxes_behind{target=\"web1\",service=\"shop\"} 2.0",
        "backdoors_boxes_longest_behind_seconds{target=\"web1\",service=\"shop\"} 2.5",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in {text}");
    }
    assert!(!text.contains("service=\"\""));
}

#[test]
fn a_target_with_many_processors_has_series_for_some_and_the_rest_is_counted() {
    let mut large = status("large");
    large.view.sensors = (0..100).map(|cpu| reading(SensorKind::CPU_TICKS, cpu, 1)).collect();
    let text = known(vec![large]).text().unwrap();
    let count = text.lines().filter(|line| line.starts_with("backdoors_target_cpu_ticks_total{")).count();
    assert_eq!(count, MOST_INSTANCES);
    assert!(text.contains("backdoors_target_sensors_left_out{target=\"large\"} 36.0"));
}

#[test]
fn an_applications_name_cannot_break_a_line() {
    let mut of_web1 = status("web1");
    of_web1.verdicts = vec![Verdict {
        layer: Layer::Application,
        subject: Some("a\"b\\c\nd".to_owned()),
        state: State::Failed,
        since: Duration::ZERO,
        confidence: 0.5,
        evidence: Vec::new(),
    }];
    let text = known(vec![of_web1]).text().unwrap();
    let line = r#"backdoors_verdict{target="web1",layer="application",application="a\"b\\c\nd"} 3.0"#;
    assert!(text.lines().any(|own| own == line), "{text}");
}

#[test]
fn entries_of_the_journal_are_counted_by_target_and_kind() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal"), 1 << 20).unwrap();
    for _ in 0..3 {
        let what = What::Late { gap_ns: 1 };
        journal.add(Entry::new(Duration::ZERO, Duration::ZERO, "web1", what));
    }
    let counts = journal.tally().counts();
    let text = Known { counts, ..known(Vec::new()) }.text().unwrap();
    assert!(text.contains("backdoors_events_total{target=\"web1\",kind=\"late\"} 3.0"), "{text}");
}
