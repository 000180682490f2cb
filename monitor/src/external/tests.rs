//! With real programs: small shell scripts.

use super::run::{Job, run};
use super::{Children, ExternalHealer};
use backdoors_healers::external::ExternalSettings;
use backdoors_healers::{Case, Diagnosis, Healer, Limits};
use backdoors_sensor_box::{ProcessView, SensorView};
use std::time::{Duration, Instant};

fn job(script: &str) -> Job {
    Job {
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        input: b"the case".to_vec(),
        timeout: Duration::from_secs(20),
        most_output: 1000,
    }
}

fn text(job: &Job) -> Result<String, String> {
    let output = run(job, &Children::new()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output).unwrap())
}

fn is_alive(pid: i32) -> bool {
    // A killed process may wait for somebody to take note of it.
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

fn wait_until(mut good: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !good() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_program_is_told_the_case_and_its_answer_is_read() {
    assert_eq!(text(&job("cat; echo ' was told'")), Ok("the case was told\n".into()));
    // More than a pipe holds, both ways, while it complains.
    let large = Job { input: vec![b'x'; 1 << 20], most_output: 1 << 20, ..job("cat; seq 100000 >&2") };
    assert_eq!(text(&large).map(|text| text.len()), Ok(1 << 20));
    // One that does not want to hear anything may answer all the same.
    let deaf = Job { input: vec![b'x'; 1 << 20], ..job("exec <&-; echo deaf") };
    assert_eq!(text(&deaf), Ok("deaf\n".into()));
}

#[test]
fn one_that_fails_is_told_with_the_end_of_what_it_said() {
    let error = text(&job("seq 1000 >&2; printf 'no such\\033[2Jdisk\\n' >&2; exit 3")).unwrap_err();
    assert!(error.starts_with("it failed: exit status: 3; it said: "), "{error}");
    assert!(error.ends_with("1000\u{fffd}no such\u{fffd}[2Jdisk"), "{error}");
    assert!(error.len() < 700, "{error}");
    let error = text(&job("kill -9 $$")).unwrap_err();
    assert!(error.contains("signal: 9"), "{error}");
    let missing = Job { command: vec!["/nonexistent/healer".into()], ..job("") };
    assert!(text(&missing).unwrap_err().starts_with("it cannot be started: "));
}

#[test]
fn one_that_is_slow_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let script = format!("sleep 1000 & echo $$ $! > {}; echo slow >&2; wait", file.display());
    let begun = Instant::now();
    let error = text(&Job { timeout: Duration::from_millis(500), ..job(&script) }).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(error, "it did not answer within 500ms, and was killed; it said: slow");
    let pids = std::fs::read_to_string(file).unwrap();
    for pid in pids.split_whitespace() {
        wait_until(|| !is_alive(pid.parse().unwrap()));
    }
    assert_eq!(pids.split_whitespace().count(), 2);
}

#[test]
fn one_that_floods_is_killed_at_its_bound() {
    let begun = Instant::now();
    let error = text(&job("while :; do echo flood; done")).unwrap_err();
    assert_eq!(error, "it answered more than 1000 bytes, and was killed");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let endless = Job { timeout: Duration::from_millis(300), ..job("while :; do echo flood >&2; done") };
    assert!(text(&endless).unwrap_err().contains("within 300ms"));
    assert_eq!(text(&job("head -c 1000 /dev/zero")).map(|text| text.len()), Ok(1000));
}

#[test]
fn what_it_leaves_behind_is_killed_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; echo done", file.display());
    let begun = Instant::now();
    assert_eq!(text(&job(&script)), Ok("done\n".into()));
    assert!(begun.elapsed() < Duration::from_secs(10), "the one left behind holds the pipes");
    let pid = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
    wait_until(|| !is_alive(pid));
}

#[test]
fn when_the_monitor_stops_none_goes_on_and_none_begins() {
    let children: &'static Children = Box::leak(Box::new(Children::new()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!("echo $$ > {}; sleep 1000", file.display());
    let running = std::thread::spawn(move || run(&job(&script), children).unwrap_err().to_string());
    wait_until(|| std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    children.end_all();
    let error = running.join().unwrap();
    assert!(error.contains("signal: 9"), "{error}");
    let error = run(&job("echo late"), children).unwrap_err().to_string();
    assert_eq!(error, "it cannot be started: the monitor stops");
}

fn healer(script: &str) -> ExternalHealer {
    let text = format!("command = ['/bin/sh', '-c', '{script}']\nwatches = ['processes']");
    let settings = ExternalSettings::read("own", text.parse().unwrap()).unwrap();
    ExternalHealer::new("own", settings, Box::leak(Box::new(Children::new())))
}

fn examine(healer: &mut ExternalHealer) -> Diagnosis {
    let case = Case {
        now: Duration::ZERO,
        target: "sick",
        events: &[],
        sensors: &SensorView::default(),
        processes: &ProcessView::default(),
        limits: &Limits::default(),
        stuck: &[],
    };
    assert_eq!(healer.examine(&case), Diagnosis::Later);
    // It is not started again while it runs.
    assert_eq!(healer.examine(&case), Diagnosis::Later);
    let mut answer = None;
    wait_until(|| {
        answer = healer.answer();
        answer.is_some()
    });
    assert_eq!(healer.answer(), None);
    answer.unwrap()
}

#[test]
fn an_answer_becomes_a_diagnosis_and_nonsense_a_broken_healer() {
    let script = r#"grep -q "\"target\":\"sick\"" && echo "{\"version\":1,\"nothing\":\"well\"}""#;
    let mut good = healer(script);
    assert_eq!(examine(&mut good), Diagnosis::Nothing { reason: "well".into() });
    assert_eq!(examine(&mut good), Diagnosis::Nothing { reason: "well".into() });
    for (script, complaint) in [("echo nonsense", "expected a JSON object"), ("exit 7", "exit status: 7")] {
        let Diagnosis::Broke { reason } = examine(&mut healer(script)) else { panic!("{script}") };
        assert!(reason.contains(complaint), "{reason}");
    }
}
