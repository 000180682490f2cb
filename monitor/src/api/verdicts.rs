//! Verdicts and applications, as the API answers them.

use crate::sampler::{Status, class_name, unit_name};
use crate::verdict::{Verdict, worst};
use backdoors_monitor_api::{
    ApplicationRow, HookCallRow, HookRow, SensorRow, State, VerdictRow, VerdictsAnswer,
};
use backdoors_sensor_box::application::{HookResult, LastCall};
use backdoors_sensor_box::{ApplicationHook, ApplicationView, Class};
use std::time::Duration;

/// What `status` says of the layers.
pub(super) fn verdicts(status: &Status, now: Duration) -> VerdictsAnswer {
    let row = |verdict: &Verdict| VerdictRow {
        layer: verdict.layer,
        subject: verdict.subject.clone(),
        state: verdict.state,
        since_ms: age_ms(verdict, now),
        confidence: verdict.confidence,
        evidence: verdict.evidence.clone(),
    };
    VerdictsAnswer {
        target: status.name.clone(),
        overall: overall(status),
        layers: status.verdicts.iter().map(row).collect(),
        lateness: status.standing,
    }
}

/// The worst that is said of a layer.
pub(super) fn overall(status: &Status) -> State {
    worst(&status.verdicts).map_or(State::Unknown, |verdict| verdict.state)
}

/// How long that has been said, milliseconds.
pub(super) fn since_ms(status: &Status, now: Duration) -> u64 {
    worst(&status.verdicts).map_or(0, |verdict| age_ms(verdict, now))
}

fn age_ms(verdict: &Verdict, now: Duration) -> u64 {
    // What was never judged has no beginning.
    if verdict.since.is_zero() { 0 } else { milliseconds(now.saturating_sub(verdict.since)) }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An application and its sensors.
pub(super) fn application(view: &ApplicationView) -> ApplicationRow {
    let sensors = view.sensors.iter().map(|sensor| SensorRow {
        name: format!("{}/{}", view.name, sensor.name),
        kind: 0,
        instance: 0,
        user_name: None,
        class: class_name(sensor.class).to_owned(),
        unit: unit_name(sensor.unit).to_owned(),
        value: sensor.value,
        limit: sensor.limit,
        exceeded: match (sensor.class, sensor.limit) {
            (Class::Level, Some(limit)) => sensor.value > limit,
            (Class::Floor, Some(limit)) => sensor.value < limit,
            _ => false,
        },
    });
    ApplicationRow {
        name: view.name.clone(),
        pid: view.pid,
        state: view.state.name().to_owned(),
        sensors: sensors.collect(),
        hooks: view.hooks.iter().map(|hook| of_hook(&view.name, hook)).collect(),
    }
}

fn of_hook(application: &str, hook: &ApplicationHook) -> HookRow {
    let last = |last: LastCall| {
        let (result, code) = match last.result {
            None => ("unanswered", None),
            Some(HookResult::Done) => ("done", None),
            Some(HookResult::Failed(code)) => ("failed", Some(code)),
            Some(HookResult::TooLate) => ("too-late", None),
        };
        HookCallRow {
            word: last.word,
            result: result.to_owned(),
            code,
            called_at_ns: last.called_at,
            took_ns: last.result.map(|_| last.answered_at.saturating_sub(last.called_at)),
        }
    };
    HookRow {
        name: format!("{application}/{}", hook.name),
        least: hook.least,
        most: hook.most,
        calls: hook.calls.map(|calls| calls.made),
        last: hook.calls.and_then(|calls| calls.last).map(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::application::HookCalls;

    /// Calls made; word, result, code and time of the last.
    type Shown = (Option<u64>, Option<(u64, String, Option<u32>, Option<u64>)>);

    fn shown(calls: Option<HookCalls>) -> Shown {
        let hook = ApplicationHook { name: "shed-load".into(), least: 1, most: 9, calls };
        let row = of_hook("web", &hook);
        assert_eq!((row.name.as_str(), row.least, row.most), ("web/shed-load", 1, 9));
        let last = row.last.inspect(|last| assert_eq!(last.called_at_ns, 50));
        (row.calls, last.map(|last| (last.word, last.result, last.code, last.took_ns)))
    }

    #[test]
    fn hooks_are_shown_with_their_last_call_and_what_became_of_it() {
        assert_eq!(shown(None), (None, None));
        assert_eq!(shown(Some(HookCalls::default())), (Some(0), None));
        let called = HookCalls::default().and_one(4, 50);
        assert_eq!(shown(Some(called)), (Some(1), Some((4, "unanswered".to_owned(), None, None))));
        for (result, name, code) in [
            (HookResult::Done, "done", None),
            (HookResult::Failed(7), "failed", Some(7)),
            (HookResult::TooLate, "too-late", None),
        ] {
            let answered = called.answered(result, 80);
            assert_eq!(shown(Some(answered)), (Some(1), Some((4, name.to_owned(), code, Some(30)))));
        }
        // A target whose clock makes no sense.
        let before = called.answered(HookResult::Done, 7);
        assert_eq!(shown(Some(before)).1.unwrap().3, Some(0));
    }
}
