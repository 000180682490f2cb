//! Watches a world, and says what must never be.

use super::climate::Climate;
use super::history::Span;
use super::target::{Obeyed, Trouble};
use super::time::{MILLISECOND, SECOND};
use super::world::World;
use backdoors_monitor::journal::What;
use backdoors_monitor::verdict::{Layer, State};
use backdoors_monitor_api::Reach;

/// What a world came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub steps: u64,
    pub samples: u64,
    /// Deadlines T that went by, over all pairs.
    pub deadlines: f64,
    /// Troubles that were due to be told, and by how many monitors they were.
    pub troubles: u32,
    pub told_rightly: u32,
    /// Failed verdicts that nothing justifies.
    pub false_failures: Vec<String>,
    /// Suspicions of path and host that nothing justifies.
    pub false_suspicions: u32,
    pub commands: u32,
    pub not_the_holder: u32,
    /// Of all journals, in order.
    pub fingerprint: u64,
}

pub struct Witness {
    pub world: World,
    pub report: Report,
}

impl Witness {
    pub fn new(seed: u64, climate: Climate) -> Witness {
        Witness { world: World::new(seed, climate), report: Report::default() }
    }

    /// The world's whole life, and an end in peace.
    pub fn watch(mut self) -> Report {
        let climate = self.world.climate;
        self.run(climate.lifetime);
        self.world.calm_down();
        // Backoff of connections, learning, leases that run out, the longest period: all of it twice.
        let peace = 2 * (climate.heartbeat_limit + climate.timer_limit * 3) + 40 * SECOND;
        self.run(climate.lifetime + peace);
        self.in_peace();
        self.leases_were_safe();
        let report = &mut self.report;
        report.steps = self.world.steps;
        for pair in &self.world.pairs {
            let status = pair.status.lock().unwrap();
            report.samples += status.samples + status.failures;
        }
        let lifetime = climate.lifetime as f64 * self.world.pairs.len() as f64;
        report.deadlines = lifetime / climate.timer_limit as f64;
        self.report
    }

    fn run(&mut self, end: u64) {
        while let Some((target, trouble)) = self.world.next(end) {
            for (now, pair, what) in std::mem::take(&mut self.world.told) {
                self.hear(now, pair, &what);
            }
            if target != usize::MAX {
                self.expect(target, trouble);
            }
        }
    }

    fn hear(&mut self, now: u64, pair: usize, what: &What) {
        let text = what.text();
        for byte in text.bytes().chain(now.to_le_bytes()).chain([pair as u8]) {
            self.report.fingerprint =
                (self.report.fingerprint ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if std::env::var_os("BACKDOORS_SIMULATION_TRACE").is_some() {
            let pair = &self.world.pairs[pair];
            println!("{:>12.6} monitor{} target{}: {text}", now as f64 / 1e9, pair.monitor, pair.target);
        }
        match what {
            What::Verdict { layer, subject, state: State::Failed, evidence, .. }
                if !self.is_justified(now, pair, *layer, subject.as_deref()) =>
            {
                let at = now as f64 / 1e9;
                let pair = &self.world.pairs[pair];
                self.report.false_failures.push(format!(
                    "at {at:.6} s monitor{} called {layer} {subject:?} of target{} failed: {evidence:?}",
                    pair.monitor, pair.target
                ));
            }
            What::Verdict { layer: Layer::Path, state: State::Suspect, .. }
                if !self.is_hard_to_read(now, pair) =>
            {
                self.report.false_suspicions += 1;
            }
            What::CommandWritten { .. } => self.report.commands += 1,
            _ => {}
        }
    }

    /// For how long after its end something may still be told.
    fn memory(&self) -> u64 {
        let Climate { heartbeat_limit, timer_limit, .. } = self.world.climate;
        2 * heartbeat_limit + 2 * timer_limit
    }

    /// Whether something is in the way between the two, or was a moment ago.
    fn is_hard_to_read(&self, now: u64, index: usize) -> bool {
        let pair = &self.world.pairs[index];
        let from = now.saturating_sub(self.memory());
        let place = &self.world.places[pair.target];
        pair.cuts.any(from, now)
            || self.world.lates[pair.monitor].any(from, now)
            || place.troubles.any(from, now)
            || place.remakes.iter().any(|&at| at >= from)
            // Without a connection it has to shake hands first.
            || pair.status.lock().unwrap().connections == 0
    }

    fn is_justified(&self, now: u64, index: usize, layer: Layer, subject: Option<&str>) -> bool {
        let pair = &self.world.pairs[index];
        let from = now.saturating_sub(self.memory());
        let place = &self.world.places[pair.target];
        let mut troubles = place.troubles.between(from, now);
        match layer {
            Layer::Path => self.is_hard_to_read(now, index),
            // That all paths are cut at once cannot be told from a dead host, nor can an agent that nobody can connect to.
            Layer::Host => self.is_hard_to_read(now, index),
            _ => troubles.any(|trouble| trouble.layer() == (layer, subject)),
        }
    }

    /// Whether a monitor has seen the target well and in time since `from`.
    fn is_undisturbed(&self, from: u64, now: u64, monitor: usize, target: usize) -> bool {
        let pair = self.world.pair(monitor, target);
        let place = &self.world.places[target];
        !pair.cuts.any(from, now)
            && !self.world.lates[monitor].any(from, now)
            && place.remakes.iter().all(|&at| at < from)
            && place.troubles.between(from, now).count() == 1
            // Who loses the last connection to a target without an agent gets no other.
            && pair.status.lock().unwrap().reach != Reach::Lost
    }

    /// The trouble must be told by now, by every monitor that could see it.
    fn expect(&mut self, target: usize, number: usize) {
        let Span { what: trouble, begun, ended } = self.world.places[target].troubles.0[number];
        let now = self.world.time.now();
        if ended.is_some() || self.world.calm {
            return;
        }
        // A monitor that was late widens its deadlines for some seconds more.
        let from = begun.saturating_sub(self.memory() + 10 * SECOND);
        if begun < (10 * SECOND).max(4 * self.world.climate.timer_limit) {
            // The monitors are learning yet.
            return;
        }
        let undisturbed: Vec<usize> = (0..self.world.climate.monitors)
            .filter(|&monitor| {
                // A dead host breaks the connections.
                trouble == Trouble::HostDead || self.is_undisturbed(from, now, monitor, target)
            })
            .filter(|&monitor| {
                let pair = self.world.pair(monitor, target);
                !pair.cuts.any(from, now) && !self.world.lates[monitor].any(from, now)
            })
            .filter(|_| self.world.places[target].troubles.between(from, now).count() == 1)
            .filter(|_| self.world.places[target].remakes.iter().all(|&at| at < from))
            .collect();
        let (layer, subject) = trouble.layer();
        for &monitor in &undisturbed {
            self.report.troubles += 1;
            let pair = self.world.pair(monitor, target);
            let status = pair.status.lock().unwrap();
            let told = status
                .verdicts
                .iter()
                .find(|verdict| verdict.layer == layer && verdict.subject.as_deref() == subject)
                .map(|verdict| verdict.state);
            // Where much is lost, others may be in doubt for reasons of their own: they may have had a probe answered just before the host died.
            let in_doubt = undisturbed.len() < 2 || self.world.climate.loss > 0.0;
            let alone = trouble == Trouble::HostDead && in_doubt;
            let right = told == Some(State::Failed) || alone && told == Some(State::Suspect);
            assert!(
                right,
                "at {:.6} s: {trouble:?} of target{target} since {:.6} s, monitor{monitor} says {told:?}: {:#?}\n{:?}, loss {}",
                now as f64 / 1e9,
                begun as f64 / 1e9,
                status.verdicts,
                status.plan,
                status.loss,
            );
            self.report.told_rightly += 1;
        }
    }

    /// After everything was put right, everything is right.
    fn in_peace(&self) {
        for pair in &self.world.pairs {
            let status = pair.status.lock().unwrap();
            let sick = status.verdicts.iter().find(|verdict| verdict.state != State::Healthy);
            assert!(
                sick.is_none() && !status.verdicts.is_empty(),
                "monitor{} does not find that target{} has recovered: {sick:#?}, {:?}",
                pair.monitor,
                pair.target,
                status.problem,
            );
        }
        for (target, place) in self.world.places.iter().enumerate() {
            let holders: Vec<usize> = (0..self.world.climate.monitors)
                .filter(|&monitor| self.world.pair(monitor, target).status.lock().unwrap().holds_lease)
                .collect();
            let standings: Vec<_> = (0..self.world.climate.monitors)
                .map(|monitor| self.world.pair(monitor, target).status.lock().unwrap().lease)
                .collect();
            let now = self.world.pair(0, target).clock.local(self.world.time.now());
            assert_eq!(
                holders.len(),
                1,
                "monitors that hold the lease of target{target} at {now:?} by monitor0: {holders:?}; it is {:?}, they say {standings:?} {:?}",
                place.target.lock().unwrap().lease.word(),
                self.world.pair(0, target).status.lock().unwrap().plan,
            );
            let place = place.target.lock().unwrap();
            assert_eq!(place.users_processes(), 0, "nobody healed target{target}");
        }
    }

    /// Commands under different tokens never ran at the same time, and terms never went back.
    fn leases_were_safe(&mut self) {
        for (target, place) in self.world.places.iter().enumerate() {
            let place = place.target.lock().unwrap();
            self.report.not_the_holder += place.not_the_holder;
            for (index, command) in place.obeyed.iter().enumerate() {
                for other in &place.obeyed[index + 1..] {
                    assert!(
                        !conflict(command, other),
                        "target{target} obeyed two at once: {command:?} {other:?}"
                    );
                }
            }
        }
    }
}

fn conflict(earlier: &Obeyed, later: &Obeyed) -> bool {
    if earlier.generation != later.generation {
        return false;
    }
    // A sweep that comes due after the lease was taken over finds out and does nothing.
    let ended = earlier.ended.unwrap_or(u64::MAX).saturating_sub(21 * MILLISECOND);
    later.term < earlier.term || earlier.token != later.token && later.begun < ended
}
