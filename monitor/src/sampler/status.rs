//! What is known of a target, for whoever asks.

use crate::config::TargetConfig;
use crate::lateness::Standing;
use crate::lease;
use crate::loss::{Latencies, RoundTrip};
use crate::pace::Plan;
use crate::proposals::Proposal;
use crate::reachability::Reachability;
use crate::recovery::pull::BoxCounts;
use crate::verdict::Verdict;
use backdoors_healers::{Exceeded, Limits, Users};
use backdoors_monitor_api::{Enlisted, Reach};
use backdoors_sensor_box::{ApplicationView, SensorView};
use std::sync::Arc;
use std::time::Duration;

/// Whether a target that could not be read is.
pub(super) fn reach_of(reachability: &Reachability) -> Reach {
    match (reachability.is_lost(), reachability.last_good()) {
        (true, _) => Reach::Lost,
        (false, Some(_)) => Reach::Failing,
        (false, None) => Reach::Connecting,
    }
}

/// What is known of a target.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it can be read.
    pub reach: Reach,
    /// Why not, if it was not.
    pub problem: Option<String>,
    /// The last good reading; empty before the first.
    pub view: SensorView,
    /// When that was, on the monitor's monotonic clock.
    pub sampled: Option<Duration>,
    /// When the target's clock was first seen where it is.
    pub clock_moved: Duration,
    /// What is exceptional.
    pub exceeded: Vec<Exceeded>,
    /// The command slot.
    pub slot: Option<u32>,
    /// Connections that work.
    pub connections: usize,
    /// Good readings so far.
    pub samples: u64,
    /// Failed readings so far.
    pub failures: u64,
    /// The repair under way.
    pub running: Option<String>,
    /// How it is sampled, and why so.
    pub plan: Plan,
    /// Share of readings lost.
    pub loss: f64,
    /// How long readings take.
    pub round_trip: RoundTrip,
    /// How long all of them took.
    pub latencies: Latencies,
    /// This monitor's own lateness.
    pub standing: Standing,
    /// What is said of its layers.
    pub verdicts: Vec<Verdict>,
    /// Who holds its lease, as last read.
    pub lease: Option<lease::Standing>,
    /// Whether this monitor held it when it last saw to it; it runs out by itself, see [`lease::Standing::held_until`].
    pub holds_lease: bool,
    /// Whether its NIC answered the newest probe since the last good reading.
    pub nic_answers: Option<bool>,
    /// What its healers propose, oldest first, with those that are over.
    pub proposals: Vec<Proposal>,
    /// Its applications, as last read.
    pub applications: Vec<ApplicationView>,
    /// How its live sessions are kept, a service each.
    pub boxes: Vec<BoxCounts>,
    /// Its healers.
    pub healers: Arc<[Enlisted]>,
    /// Limits in place of those it announces.
    pub limits: Limits,
    /// Names of its users.
    pub users: Users,
}

impl Status {
    pub(crate) fn new(config: &TargetConfig, plan: Plan) -> Status {
        Status {
            name: config.name.clone(),
            address: config.address.clone(),
            reach: Reach::Connecting,
            problem: None,
            view: SensorView::default(),
            sampled: None,
            clock_moved: Duration::ZERO,
            exceeded: Vec::new(),
            slot: None,
            connections: 0,
            samples: 0,
            failures: 0,
            running: None,
            plan,
            loss: 0.0,
            round_trip: RoundTrip::default(),
            latencies: Latencies::default(),
            standing: Standing::punctual(),
            verdicts: Vec::new(),
            lease: None,
            holds_lease: false,
            nic_answers: None,
            proposals: Vec::new(),
            applications: Vec::new(),
            boxes: Vec::new(),
            healers: Arc::default(),
            limits: Limits::default(),
            users: Users::new(),
        }
    }

    pub(super) fn take_in(&mut self, now: Duration, view: &SensorView, exceeded: &[Exceeded]) {
        if self.samples == 0 || view.clock != self.view.clock || view.generation != self.view.generation {
            self.clock_moved = now;
        }
        // Keeps the memory of the sensors it had: this is done for every sample.
        let mut sensors = std::mem::take(&mut self.view.sensors);
        sensors.clone_from(&view.sensors);
        let SensorView { generation, capabilities, clock, tick_period, cpus, unknown, sensors: _ } = *view;
        self.view = SensorView { generation, capabilities, clock, tick_period, cpus, unknown, sensors };
        self.exceeded.clear();
        self.exceeded.extend_from_slice(exceeded);
        self.sampled = Some(now);
        self.samples += 1;
        self.reach = Reach::Reachable;
        self.problem = None;
    }
}
