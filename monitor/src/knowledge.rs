//! What this monitor can tell its peers of its targets.

use crate::clock::{Clock, SystemClock};
use crate::peers::{Answered, Knowledge};
use crate::sampler::Status;
use crate::verdict::Layer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The statuses of all targets, by name.
#[derive(Debug)]
pub struct Statuses(BTreeMap<String, Arc<Mutex<Status>>>);

impl Statuses {
    /// Those of these targets.
    pub fn new(statuses: impl IntoIterator<Item = (String, Arc<Mutex<Status>>)>) -> Statuses {
        Statuses(statuses.into_iter().collect())
    }
}

impl Knowledge for Statuses {
    fn about(&self, target: &str) -> Option<Answered> {
        let status = self.0.get(target)?.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.monotonic();
        let kernel = status.verdicts.iter().find(|verdict| verdict.layer == Layer::Kernel);
        Some(Answered {
            last_good_age: status.sampled.map(|sampled| now.saturating_sub(sampled)),
            late: status.standing.overloaded,
            nic_answers: status.nic_answers,
            kernel: kernel.map(|verdict| verdict.state),
        })
    }
}
