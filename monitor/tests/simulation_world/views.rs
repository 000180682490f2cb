//! What the monitors of a world tell each other.

use super::time::MonitorClock;
use backdoors_monitor::clock::Clock;
use backdoors_monitor::peers::Opinion;
use backdoors_monitor::sampler::{SecondViews, Status};
use std::sync::{Arc, Mutex};

/// One monitor, as the others can ask it.
#[derive(Clone)]
pub struct Peer {
    pub name: String,
    pub clock: MonitorClock,
    pub statuses: Vec<Arc<Mutex<Status>>>,
    /// Since when it has not run.
    pub silent_since: Option<u64>,
}

pub type Peers = Arc<Mutex<Vec<Peer>>>;

/// The others' views of one target, for one monitor.
pub struct Views {
    pub peers: Peers,
    pub monitor: usize,
    pub target: usize,
    pub clock: MonitorClock,
}

impl SecondViews for Views {
    fn about(&self, _target: &str) -> Vec<Opinion> {
        let peers = self.peers.lock().unwrap();
        let others = peers.iter().enumerate().filter(|(monitor, _)| *monitor != self.monitor);
        let opinion = |(_, peer): (usize, &Peer)| {
            let said = peer.silent_since.unwrap_or(u64::MAX).min(self.clock.world());
            let status = peer.statuses.get(self.target)?.lock().unwrap();
            let age = status.sampled.map(|sampled| peer.clock.local(said).saturating_sub(sampled));
            Some(Opinion {
                monitor: peer.name.clone(),
                at: self.clock.local(said).min(self.clock.monotonic()),
                asked: self.clock.local(said.saturating_sub(1_000_000)),
                last_good_age: age,
                late: status.standing.overloaded,
                nic_answers: status.nic_answers,
                kernel: None,
            })
        };
        others.filter_map(opinion).collect()
    }

    fn ask(&self, _target: &str) {}
}
