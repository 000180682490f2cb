//! A file of fixed size, over and over.

use super::*;

/// Times and clocks of the readings.
fn readings(recording: &Recording) -> Vec<(Duration, u64)> {
    let told = told(recording);
    told.into_iter().filter_map(|(moment, view)| Some((moment.at, view?.clock))).collect()
}

fn gaps(recording: &Recording) -> Vec<Gap> {
    let told = recording.play().filter_map(|moment| match moment.what {
        What::Gap(gap) => Some(gap),
        _ => None,
    });
    recording.gaps().iter().cloned().chain(told).collect()
}

#[test]
fn the_newest_readings_are_kept_without_a_gap_and_the_file_does_not_grow() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    let length = std::fs::metadata(file_of(folder.path(), "web1")).unwrap().len();
    assert!((LEAST_BYTES - 64..=LEAST_BYTES).contains(&length));
    for tick in 0..10_000 {
        recorder.reading(at(tick), &view(tick, 20));
        if tick % 777 == 0 {
            let recording = read(folder.path());
            assert_eq!(gaps(&recording), []);
            assert_eq!(readings(&recording).last(), Some(&(at(tick), 1_000_000 * tick)));
        }
    }
    let readings = readings(&read(folder.path()));
    let first = 10_000 - readings.len() as u64;
    let expected: Vec<_> = (first..10_000).map(|tick| (at(tick), 1_000_000 * tick)).collect();
    assert_eq!(readings, expected);
    assert!(readings.len() > 500, "{}", readings.len());
    assert_eq!(std::fs::metadata(file_of(folder.path(), "web1")).unwrap().len(), length);
}

#[test]
fn what_stands_is_repeated_in_every_segment() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    recorder
        .settings(at(0), &Settings { limits: [("forks".into(), 1)].into(), late_after_ns: 2, silence_ns: 3 });
    recorder.period(at(0), at(10), "calm");
    recorder.verdict(at(0), &verdict(Layer::Kernel, State::Suspect));
    recorder.verdict(at(1), &verdict(Layer::Kernel, State::Failed));
    recorder.verdict(at(2), &verdict(Layer::Path, State::Healthy));
    for tick in 3..10_000 {
        recorder.reading(at(tick), &view(tick, 20));
    }
    let first: Vec<_> = read(folder.path()).play().take(6).collect();
    assert!(first[1..5].iter().all(|moment| moment.standing), "{first:?}");
    assert!(matches!(&first[1].what, What::Settings(settings) if settings.late_after_ns == 2));
    assert_eq!(first[2].what, What::Period { period: at(10), why: "calm".into() });
    assert_eq!(first[3].what, What::Verdict(verdict(Layer::Kernel, State::Failed)));
    assert_eq!(first[4].what, What::Verdict(verdict(Layer::Path, State::Healthy)));
    assert!(matches!(first[5].what, What::Reading { .. }));
}

#[test]
fn a_second_run_goes_on_behind_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    for tick in 0..100 {
        recorder.reading(at(tick), &view(tick, 20));
    }
    drop(recorder);
    let mut recorder = open(folder.path());
    recorder.reading(at(3), &view(3, 20));
    let recording = read(folder.path());
    assert_eq!(gaps(&recording), []);
    let readings = readings(&recording);
    assert_eq!(readings.len(), 101);
    assert_eq!(readings[100], (at(3), 3_000_000));
}

#[test]
fn a_box_too_large_for_a_segment_is_left_out_and_costs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = open(folder.path());
    recorder.reading(at(0), &view(0, 20));
    for tick in 1..1000 {
        recorder.reading(at(tick), &view(tick, 4000));
    }
    recorder.reading(at(1000), &view(1000, 20));
    let recording = read(folder.path());
    assert_eq!(readings(&recording), [(at(0), 0), (at(1000), 1_000_000_000)]);
    assert!(matches!(gaps(&recording)[..], [Gap::TooLarge { bytes: 20_000.. }]), "{:?}", gaps(&recording));
}
