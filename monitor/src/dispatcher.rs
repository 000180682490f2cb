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
    /// An application that it watches has failed.
    troubled: bool,
    /// It was asked and has not answered yet.
    awaited: bool,
    /// It looks by itself that often.
    every: Option<Duration>,
    next_look: Duration,
    /// There was a good reading since its last look.
    read: bool,
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
            troubled: false,
            awaited: false,
            every: None,
            next_look: Duration::ZERO,
            read: false,
            look_again: Duration::ZERO,
            cold_until: Duration::ZERO,
        });
    }

    /// Has a healer look by itself that often, after good readings.
    pub fn look_every(&mut self, healer: usize, every: Duration) {
        if let Some(line) = self.lines.get_mut(healer) {
            line.every = Some(every);
        }
    }

    /// Takes in a good reading: who looks by itself may look again.
    pub fn read(&mut self) {
        self.lines.iter_mut().for_each(|line| line.read = true);
    }

    /// Takes in that the target could not be looked at: who looks by itself waits for the next good reading.
    pub fn not_read(&mut self) {
        self.lines.iter_mut().for_each(|line| line.read = false);
    }

    /// Takes in whether an application that the healer watches has failed; returns whether that is new.
    pub fn trouble(&mut self, healer: usize, troubled: bool) -> bool {
        let Some(line) = self.lines.get_mut(healer) else { return false };
        let is_new = troubled && !line.troubled;
        line.troubled = troubled;
        line.fresh |= is_new;
        is_new
    }

    /// Takes in that a healer was asked and takes its time: it is not called before [`Dispatcher::examined`].
    pub fn asked(&mut self, healer: usize) {
        if let Some(line) = self.lines.get_mut(healer) {
            line.awaited = true;
            line.fresh = false;
            line.called = false;
        }
    }

    /// Whether an answer is awaited.
    #[must_use]
    pub fn awaits_an_answer(&self) -> bool {
        self.lines.iter().any(|line| line.awaited)
    }

    /// Takes a healer's pauses over from `old`, where it had another number: a new configuration ends none. If it is the
    /// very same healer, it may have been asked before.
    pub fn take_over(&mut self, healer: usize, old: &Dispatcher, number: usize, is_the_same: bool) {
        if let (Some(line), Some(old)) = (self.lines.get_mut(healer), old.lines.get(number)) {
            (line.cold_until, line.look_again, line.next_look) =
                (old.cold_until, old.look_again, old.next_look);
            line.awaited = is_the_same && old.awaited;
            line.called = old.called;
        }
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

    /// Whether a healer may be due though no sensor is exceptional.
    #[must_use]
    pub fn anyone_called(&self) -> bool {
        self.lines.iter().any(|line| line.called || line.troubled || line.every.is_some() && line.read)
    }

    /// Whether something besides its own wish to look calls the healer.
    #[must_use]
    pub fn is_called(&self, healer: usize, exceeded: &[Exceeded]) -> bool {
        self.lines.get(healer).is_some_and(|line| {
            line.called || line.troubled || exceeded.iter().any(|event| line.watches.contains(&event.kind))
        })
    }

    /// Whether it is the healer's turn, `exceeded` being what is exceptional now.
    #[must_use]
    pub fn is_due(&self, healer: usize, now: Duration, exceeded: &[Exceeded]) -> bool {
        self.lines.get(healer).is_some_and(|line| {
            let wants_to_look = line.every.is_some() && line.read && now >= line.next_look;
            let is_exceptional =
                || line.troubled || exceeded.iter().any(|event| line.watches.contains(&event.kind));
            now >= line.cold_until
                && !line.awaited
                && (line.called
                    || wants_to_look
                    || (line.fresh || now >= line.look_again) && is_exceptional())
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
            line.awaited = false;
            line.read = false;
            line.next_look = now + line.every.unwrap_or_default();
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
    fn who_looks_by_itself_does_so_at_its_pace_and_after_good_readings_only() {
        let mut dispatcher = dispatcher();
        dispatcher.look_every(1, at(2000));
        assert!(!dispatcher.is_due(1, at(0), &[]), "nothing was read yet");
        dispatcher.read();
        assert!(dispatcher.anyone_called());
        assert!(dispatcher.is_due(1, at(0), &[]) && !dispatcher.is_due(0, at(0), &[]));
        assert!(!dispatcher.is_called(1, &[]));
        dispatcher.examined(1, at(0), false);
        dispatcher.read();
        assert!(!dispatcher.is_due(1, at(1999), &[]));
        assert!(dispatcher.is_due(1, at(2000), &[]));
        dispatcher.not_read();
        assert!(!dispatcher.is_due(1, at(9000), &[]) && !dispatcher.anyone_called());
        dispatcher.read();
        dispatcher.examined(1, at(9000), true);
        dispatcher.read();
        assert!(!dispatcher.is_due(1, at(13_999), &[]), "it rests after it found a culprit");
        assert!(dispatcher.is_due(1, at(14_000), &[]));
    }

    #[test]
    fn a_failed_application_calls_its_healer_until_it_gets_on() {
        let mut dispatcher = dispatcher();
        assert!(dispatcher.trouble(1, true) && !dispatcher.trouble(1, true));
        assert!(dispatcher.is_due(1, at(0), &[]) && dispatcher.anyone_called());
        dispatcher.examined(1, at(0), false);
        assert!(!dispatcher.is_due(1, at(999), &[]) && dispatcher.is_due(1, at(1000), &[]));
        dispatcher.trouble(1, false);
        assert!(!dispatcher.is_due(1, at(1000), &[]));
    }

    #[test]
    fn who_was_asked_is_not_asked_again_before_it_answered() {
        let mut dispatcher = dispatcher();
        let events = [event(SensorKind::PROCESSES)];
        dispatcher.asked(0);
        dispatcher.raised(&events[0]);
        dispatcher.call(0);
        assert!(dispatcher.awaits_an_answer());
        assert!(!dispatcher.is_due(0, at(60_000), &events));
        dispatcher.examined(0, at(60_000), true);
        assert!(!dispatcher.awaits_an_answer());
        assert!(!dispatcher.is_due(0, at(64_999), &events) && dispatcher.is_due(0, at(65_000), &events));
    }

    #[test]
    fn a_new_configuration_ends_no_cooldown() {
        let mut old = dispatcher();
        old.examined(1, at(0), true);
        let mut new = dispatcher();
        old.asked(1);
        new.take_over(0, &old, 1, false);
        let events = [event(SensorKind::PROCESSES)];
        assert!(!new.is_due(0, at(4999), &events) && new.is_due(0, at(5000), &events));
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
