//! Whatever is recorded comes back, and can be run again: targets and clocks may show anything.

use super::*;
use crate::detector::Taken;
use proptest::prelude::*;

/// A call of the recorder.
#[derive(Clone, Debug)]
enum Call {
    Reading(Duration, SensorView),
    Missed(Duration, Failure, String),
    Probe(Result<Duration, (Failure, String)>),
    Applications(u64),
    Opinions(Option<Duration>, bool),
    Terms(Terms),
    Verdict(Verdict),
}

fn any_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..100_000_000_u64).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_nanos)
    ]
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, any::<u64>()]
}

fn any_sensor() -> impl Strategy<Value = SensorReading> {
    let class =
        prop_oneof![Just(Class::Progress), Just(Class::Level), Just(Class::Floor), Just(Class::Pressure)];
    // The largest number is no limit.
    let limit = prop::option::of(any_value().prop_map(|limit| limit.min(u64::MAX - 1)));
    (1..18_u32, 0..3_u32, class, any::<bool>(), limit, any_value()).prop_map(
        |(kind, instance, class, known, limit, value)| SensorReading {
            kind: SensorKind(kind),
            instance,
            class,
            unit: known.then_some(Unit::Bytes),
            limit,
            value,
        },
    )
}

prop_compose! {
    fn any_view()(
        numbers in prop::array::uniform4(any_value()), cpus: u32, unknown in 0..9_usize,
        sensors in prop::collection::vec(any_sensor(), 0..6)
    ) -> SensorView {
        let [generation, capabilities, clock, tick_period] = numbers;
        SensorView { generation, capabilities, clock, tick_period, cpus, sensors, unknown }
    }
}

fn any_call() -> impl Strategy<Value = Call> {
    let failure = prop::sample::select(vec![
        Failure::Silent,
        Failure::Refused,
        Failure::Damaged,
        Failure::Closed,
        Failure::NotAsked,
    ]);
    let terms = (any_time(), any_time(), any::<u32>(), 0.0..=1.0, 1.0..999.0, any::<bool>()).prop_map(
        |(period, wait, chances, loss, multiplier, overloaded)| Terms {
            period,
            wait,
            chances,
            loss,
            standing: Standing { multiplier, overloaded, ..Standing::punctual() },
        },
    );
    let state = prop::sample::select(vec![State::Healthy, State::Suspect, State::Failed, State::Unknown]);
    let verdict =
        (prop::sample::select(Layer::ALL.to_vec()), state).prop_map(|(layer, state)| verdict(layer, state));
    let probe = prop_oneof![
        any_time().prop_map(Ok),
        (failure.clone(), "[a-z]{0,9}").prop_map(|(how, why)| Err((how, why)))
    ];
    prop_oneof![
        4 => (any_time(), any_view()).prop_map(|(took, view)| Call::Reading(took, view)),
        2 => (any_time(), failure, "[a-c]?").prop_map(|(took, how, why)| Call::Missed(took, how, why)),
        1 => probe.prop_map(Call::Probe),
        1 => (1..3_u64).prop_map(Call::Applications),
        1 => (prop::option::of(any_time()), any::<bool>()).prop_map(|(age, late)| Call::Opinions(age, late)),
        1 => terms.prop_map(Call::Terms),
        1 => verdict.prop_map(Call::Verdict),
    ]
}

/// Records a call; returns what should be told of it, if it is told at all.
fn record(recorder: &mut Recorder, now: Duration, call: &Call) -> What {
    match call {
        Call::Reading(took, view) => {
            let started = now.saturating_sub(*took);
            recorder.reading(Taken { started, finished: now }, view);
            What::Reading { asked: started }
        }
        Call::Missed(took, how, reason) => {
            let asked = now.saturating_sub(*took);
            recorder.missed(asked, now, *how, reason);
            What::Missed { asked, how: *how, reason: reason.clone() }
        }
        Call::Probe(outcome) => {
            recorder.probe(now, outcome.as_ref().copied().map_err(|(how, why)| (*how, why.as_str())));
            What::Probe(outcome.clone())
        }
        Call::Applications(value) => {
            recorder.applications(now, &applications(*value));
            What::Applications { asked: now }
        }
        Call::Opinions(last_good_age, late) => {
            let opinions = [Opinion { last_good_age: *last_good_age, late: *late, ..opinion() }];
            recorder.opinions(now, &opinions);
            What::Opinions(opinions.to_vec())
        }
        Call::Terms(terms) => {
            recorder.terms(now, terms);
            What::Terms(*terms)
        }
        Call::Verdict(verdict) => {
            recorder.verdict(now, verdict);
            What::Verdict(verdict.clone())
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_recorded_comes_back_and_can_be_run_again(
        calls in prop::collection::vec((any_time(), any_call()), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = open(folder.path());
        let mut expected = Vec::new();
        for (now, call) in &calls {
            let what = record(&mut recorder, *now, call);
            let view = if let Call::Reading(_, view) = call { Some(view.clone()) } else { None };
            expected.push((*now, what, view));
        }
        let recording = read(folder.path());
        let told = told(&recording);
        let mut rest = expected.iter();
        for (moment, view) in told.iter().filter(|(moment, _)| moment.what != What::Begun && !moment.standing) {
            // What did not change is not recorded again.
            let found = rest.any(|(now, what, seen)| (now, what, seen) == (&moment.at, &moment.what, view));
            prop_assert!(found, "{moment:?}");
        }
        let often = |what: &What| matches!(what, What::Reading { .. } | What::Missed { .. } | What::Probe(_));
        let wanted = expected.iter().filter(|(_, what, _)| often(what)).count();
        prop_assert_eq!(told.iter().filter(|(moment, _)| often(&moment.what)).count(), wanted);

        let mut rerun = Rerun::new([("kernel.timer".to_owned(), 1)].into()).unwrap();
        let mut playback = recording.play();
        while let Some(moment) = playback.next() {
            rerun.feed(&moment, &playback);
        }
        let _ = rerun.differences();
    }
}
