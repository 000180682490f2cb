//! Which healers are called when (thesis, section 3.7.1: the event dispatcher). Pure: it is told what is
//! exceptional and answers whose turn it is.

use backdoors_healers::Exceeded;
use backdoors_sensor_box::SensorKind;
use std::time::Duration;

/// How soon a healer that found nothing looks again while a sensor it watches stays exceptional.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Calls the healers of one target.
#[derive(Debug, Default)]
pub struct Dispatcher {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    watches: Vec<SensorKind>,
    cooldown: Duration,
    /// A new event came and was not examined yet.
    fresh: bool,
    /// A rule wants it to look, whatever its own sensors say.
    called: bool,
    look_again: Duration,
    cold_until: Duration,
}

impl Dispatcher {
    /// Associates a healer with the sensors it watches (`register_sensor` of the thesis). After it found a culprit
    /// it is not called for `cooldown`. Healers are numbered in the order of their registration.
    pub fn register(&mut self, watches: &[SensorKind], cooldown: Duration) {
        self.lines.push(Line {
            watches: watches.to_vec(),
            cooldown,
            fresh: false,
            called: false,
            look_again: Duration::ZERO,
            cold_until: Duration::ZERO,
        });
    }

    /// Takes in that a sensor became exceptional.
    pub fn raised(&mut self, exceeded: &Exceeded) {
        for line in self.lines.iter_mut().filter(|line| line.watches.contains(&exceeded.kind)) {
            line.fresh = true;
        }
    }

    /// Has a healer look at the target when its cooldown is over, whatever the sensors it watches say.
    pub fn call(&mut self, healer: usize) {
        if let Some(line) = self.lines.get_mut(healer) {
            line.called = true;
        }
    }

    /// Whether a healer was called that did not look yet.
    #[must_use]
    pub fn anyone_called(&self) -> bool {
        self.lines.iter().any(|line| line.called)
    }

    /// Whether it is the healer's turn, `exceeded` being what is exceptional now.
    #[must_use]
    pub fn is_due(&self, healer: usize, now: Duration, exceeded: &[Exceeded]) -> bool {
        self.lines.get(healer).is_some_and(|line| {
            now >= line.cold_until
                && (line.called
                    || (line.fresh || now >= line.look_again)
                        && exceeded.iter().any(|event| line.watches.contains(&event.kind)))
        })
    }

    /// The events among `exceeded` that concern a healer.
    pub fn concerning(&self, healer: usize, exceeded: &[Exceeded]) -> Vec<Exceeded> {
        let watches = self.lines.get(healer).map_or(&[][..], |line| &line.watches);
        exceeded.iter().filter(|event| watches.contains(&event.kind)).copied().collect()
    }

    /// Takes in that a healer examined the case at `now`.
    pub fn examined(&mut self, healer: usize, now: Duration, found_culprit: bool) {
        if let Some(line) = self.lines.get_mut(healer) {
            line.fresh = false;
            line.called = false;
            line.look_again = now + LOOK_AGAIN;
            if found_culprit {
                line.cold_until = now + line.cooldown;
            }
        }
    }

    /// Takes in that a healer's repair ended at `now`: the cooldown counts from there.
    pub fn repaired(&mut self, healer: usize, now: Duration) {
        if let Some(line) = self.lines.get_mut(healer) {
            line.cold_until = now + line.cooldown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backdoors_sensor_box::Class;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn event(kind: SensorKind) -> Exceeded {
        Exceeded { kind, instance: 0, class: Class::Level, unit: None, value: 2, limit: 1 }
    }

    fn dispatcher() -> Dispatcher {
        let mut dispatcher = Dispatcher::default();
        dispatcher.register(&[SensorKind::PROCESSES, SensorKind::USER_PROCESSES], at(5000));
        dispatcher.register(&[SensorKind::OOM_KILLS], at(5000));
        dispatcher
    }

    #[test]
    fn an_event_calls_the_healers_that_watch_its_sensor_and_no_others() {
        let mut dispatcher = dispatcher();
        let events = [event(SensorKind::PROCESSES), event(SensorKind::FORKS)];
        dispatcher.raised(&events[0]);
        assert!(dispatcher.is_due(0, at(0), &events));
        assert!(!dispatcher.is_due(1, at(0), &events));
        assert_eq!(dispatcher.concerning(0, &events), [events[0]]);
    }

    #[test]
    fn a_healer_that_found_nothing_looks_again_later_or_at_a_new_event() {
        let mut dispatcher = dispatcher();
        let events = [event(SensorKind::PROCESSES)];
        dispatcher.raised(&events[0]);
        dispatcher.examined(0, at(0), false);
        assert!(!dispatcher.is_due(0, at(999), &events));
        assert!(dispatcher.is_due(0, at(1000), &events));
        dispatcher.raised(&event(SensorKind::USER_PROCESSES));
        assert!(dispatcher.is_due(0, at(1), &events));
    }

    #[test]
    fn a_healer_that_found_a_culprit_rests_from_the_end_of_the_repair() {
        let mut dispatcher = dispatcher();
        let events = [event(SensorKind::PROCESSES)];
        dispatcher.examined(0, at(0), true);
        dispatcher.raised(&events[0]);
        assert!(!dispatcher.is_due(0, at(4999), &events));
        dispatcher.repaired(0, at(2000));
        assert!(!dispatcher.is_due(0, at(6999), &events));
        assert!(dispatcher.is_due(0, at(7000), &events));
    }

    #[test]
    fn nothing_exceptional_calls_nobody() {
        let mut dispatcher = dispatcher();
        dispatcher.raised(&event(SensorKind::PROCESSES));
        assert!(!dispatcher.is_due(0, at(0), &[]));
    }

    proptest! {
        #[test]
        fn two_culprits_are_never_found_within_a_cooldown(pauses in prop::collection::vec((0..3000u64, any::<bool>()), 1..80)) {
            let mut dispatcher = dispatcher();
            let events = [event(SensorKind::PROCESSES)];
            let mut now = at(0);
            let mut last = None;
            for (pause, fresh) in pauses {
                now += at(pause);
                if fresh {
                    dispatcher.raised(&events[0]);
                }
                if dispatcher.is_due(0, now, &events) {
                    if let Some(last) = last {
                        prop_assert!(now - last >= at(5000));
                    }
                    last = Some(now);
                    dispatcher.examined(0, now, true);
                }
            }
        }
    }
}
