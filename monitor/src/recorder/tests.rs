use super::*;
use crate::clock::Clock;
use crate::journal::{Entry, What as Happened};
use crate::judge::{Failure, Terms};
use crate::lateness::Standing;
use crate::peers::Opinion;
use crate::verdict::{Layer, State, Verdict};
use backdoors_sensor_box::application::{APPLICATION_MAGIC, HookCalls, HookResult};
use backdoors_sensor_box::{ApplicationView, Class, SensorKind, SensorReading, SensorView, Unit};
use std::path::Path;
use std::time::Duration;

mod any;
mod damage;
mod rings;

/// A wall clock that stands still.
struct Noon;

const NOON: Duration = Duration::from_secs(1_700_000_000);

impl Clock for Noon {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    fn wall(&self) -> Duration {
        NOON
    }
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A view of `sensors` sensors after `ticks` milliseconds: some run, some stand still, one goes up and down.
fn view(ticks: u64, sensors: u32) -> SensorView {
    let sensor = |instance: u32| SensorReading {
        kind: if instance == 0 { SensorKind::KERNEL_TIMER } else { SensorKind::USER_PROCESSES },
        instance,
        class: if instance == 0 { Class::Progress } else { Class::Level },
        unit: Some(Unit::Count),
        limit: instance.is_multiple_of(2).then_some(500_000_000),
        value: match instance % 4 {
            0 => ticks,
            1 => 40 + ticks / 3 % 7,
            2 => 17,
            _ => u64::MAX - ticks,
        },
    };
    SensorView {
        generation: 7,
        capabilities: 1,
        clock: 1_000_000 * ticks,
        tick_period: 1_000_000,
        cpus: 2,
        sensors: (0..sensors).map(sensor).collect(),
        unknown: 0,
    }
}

fn verdict(layer: Layer, state: State) -> Verdict {
    Verdict {
        layer,
        subject: None,
        state,
        since: at(5),
        confidence: 0.75,
        evidence: vec!["a test says so".into()],
    }
}

fn terms() -> Terms {
    let standing = Standing { multiplier: 1.5, late_share: 0.25, ..Standing::punctual() };
    Terms { period: at(10), wait: at(30), chances: 6, loss: 0.01, standing }
}

fn opinion() -> Opinion {
    Opinion {
        monitor: "monitor2".into(),
        at: at(57),
        asked: at(56),
        last_good_age: Some(at(3)),
        late: false,
        nic_answers: Some(true),
        kernel: Some(State::Healthy),
    }
}

/// Two applications, one of them without sensors.
fn applications(value: u64) -> Vec<ApplicationView> {
    let region = |name: &str, sensors: u8, hooks: &[HookCalls]| {
        let mut bytes = APPLICATION_MAGIC.to_le_bytes().to_vec();
        bytes.extend([2, 0, 0, 0, 128, 0, 0, 0]);
        bytes.extend(9_u64.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.resize(56, 0);
        bytes.extend([77, 0, 0, 0, 1, 0, 0, 0]);
        bytes.resize(80, 0);
        bytes.extend([sensors, 0, 0, 0, 64, 0, 0, 0]);
        bytes.extend([hooks.len() as u8 + 1, 0, 0, 0, 128, 0, 0, 0]);
        bytes.resize(128, 0);
        for sensor in 0..sensors {
            let begin = bytes.len();
            bytes.extend([b'a' + sensor]);
            bytes.resize(begin + 32, 0);
            bytes.extend([2, 1, 0, 0, 0, 0, 0, 0]);
            bytes.extend(50_u64.to_le_bytes());
            bytes.extend((value + u64::from(sensor)).to_le_bytes());
            bytes.resize(begin + 64, 0);
        }
        // The calls of the last one are not known.
        let calls = hooks.iter().map(HookCalls::words).chain([[0; 6]]);
        for (hook, calls) in (b'x'..).zip(calls) {
            let begin = bytes.len();
            bytes.extend([hook]);
            bytes.resize(begin + 32, 0);
            [5, 50].into_iter().chain(calls).for_each(|word: u64| bytes.extend(word.to_le_bytes()));
            bytes.resize(begin + 128, 0);
        }
        ApplicationView::decode(&bytes).unwrap()
    };
    // A call comes between the first value and the second.
    let called = HookCalls::default().and_one(9, 7).answered(HookResult::Failed(3), 8);
    let called = if value > 1 { called } else { HookCalls::default() };
    vec![region("shop", 3, &[called]), region("idle", 0, &[])]
}

fn open(folder: &Path) -> Recorder {
    Recorder::open_with(folder, "web1", LEAST_BYTES, Box::new(Noon)).unwrap()
}

fn read(folder: &Path) -> Recording {
    Recording::read(&file_of(folder, "web1")).unwrap()
}

/// Everything a recording tells, with the sensors behind every reading.
fn told(recording: &Recording) -> Vec<(Moment, Option<SensorView>)> {
    let mut playback = recording.play();
    let mut told = Vec::new();
    while let Some(moment) = playback.next() {
        let reading = matches!(moment.what, What::Reading { .. });
        if matches!(moment.what, What::Applications { .. }) {
            assert!((1..3).any(|value| playback.applications() == applications(value)));
        }
        told.push((moment, reading.then(|| playback.view().clone())));
    }
    told
}

fn whats(recording: &Recording) -> Vec<What> {
    recording.play().map(|moment| moment.what).collect()
}

/// A bit of everything. Returns what should be told.
fn write_everything(recorder: &mut Recorder) -> Vec<What> {
    let settings = Settings { limits: [("kernel.timer".into(), 5)].into(), late_after_ns: 9, silence_ns: 1 };
    recorder.settings(at(1), &settings);
    recorder.period(at(2), at(10), "calm");
    recorder.period(at(3), at(10), "calm");
    recorder.reading(crate::detector::Taken { started: at(10), finished: at(11) }, &view(10, 9));
    recorder.reading(at(20), &view(20, 9));
    recorder.reading(at(30), &view(30, 11));
    recorder.missed(at(35), at(40), Failure::Silent, "no answer within 500 ms");
    recorder.missed(at(45), at(50), Failure::Silent, "no answer within 500 ms");
    recorder.probe(at(51), Ok(Duration::from_micros(17)));
    recorder.probe(at(52), Err((Failure::Closed, "no answer")));
    recorder.verdict(at(53), &verdict(Layer::Path, State::Suspect));
    let entry = Entry::new(NOON, at(54), "web1", Happened::Late { gap_ns: 3 });
    recorder.note(at(54), &entry);
    recorder.terms(at(55), &terms());
    recorder.terms(at(56), &Terms { loss: 0.011, ..terms() });
    recorder.opinions(at(57), &[opinion()]);
    recorder.opinions(at(58), &[opinion()]);
    recorder.applications(at(58), &applications(1));
    recorder.applications(at(59), &applications(2));
    recorder.reading(at(60), &view(60, 11));
    let missed =
        |asked| What::Missed { asked, how: Failure::Silent, reason: "no answer within 500 ms".into() };
    vec![
        What::Begun,
        What::Settings(settings),
        What::Period { period: at(10), why: "calm".into() },
        What::Reading { asked: at(10) },
        What::Reading { asked: at(20) },
        What::Reading { asked: at(30) },
        missed(at(35)),
        missed(at(45)),
        What::Probe(Ok(Duration::from_micros(17))),
        What::Probe(Err((Failure::Closed, "no answer".into()))),
        What::Verdict(verdict(Layer::Path, State::Suspect)),
        What::Note(serde_json::to_string(&entry).unwrap()),
        What::Terms(terms()),
        What::Opinions(vec![opinion()]),
        What::Applications { asked: at(58) },
        What::Applications { asked: at(59) },
        What::Reading { asked: at(60) },
    ]
}

#[test]
fn what_was_recorded_is_told_in_order_with_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    let expected = write_everything(&mut recorder);
    let recording = read(folder.path());
    assert_eq!(whats(&recording), expected);
    assert_eq!(recording.header().unwrap().target, "web1");
    let told = told(&recording);
    let readings: Vec<_> = told.iter().filter_map(|(_, view)| view.clone()).collect();
    assert_eq!(readings, [view(10, 9), view(20, 9), view(30, 11), view(60, 11)]);
    let (last, _) = told.last().unwrap();
    assert_eq!((last.at, last.wall), (at(60), NOON + at(59)), "the segment was begun at 1 ms");
    assert!(told.iter().all(|(moment, _)| !moment.standing));
}

#[test]
fn an_extract_tells_the_same_as_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    write_everything(&mut open(folder.path()));
    let recording = read(folder.path());
    let extracted = Recording::new(extract(&recording, "web1", None, NOON)).unwrap();
    assert_eq!(told(&extracted), told(&recording));
    assert_eq!(extracted.gaps(), []);
}

#[test]
fn an_extract_of_the_last_moments_begins_with_what_stood_then() {
    let folder = tempfile::tempdir().unwrap();
    write_everything(&mut open(folder.path()));
    let bytes = extract(&read(folder.path()), "web1", Some(at(8)), NOON);
    let extracted = Recording::new(bytes).unwrap();
    let standing: Vec<_> = extracted.play().map(|moment| (moment.standing, moment.what)).collect();
    assert_eq!(standing[0], (false, What::Begun));
    assert!(matches!(standing[1], (true, What::Settings(_))), "{standing:?}");
    assert!(matches!(standing[2], (true, What::Period { .. })), "{standing:?}");
    assert!(matches!(standing[3], (false, What::Probe(Err(_)))), "{standing:?}");
    assert_eq!(standing.len(), 11);
}
