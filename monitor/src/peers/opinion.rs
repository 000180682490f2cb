//! What one monitor says of a target to another.

use crate::verdict::State;
use std::time::Duration;

/// What a monitor can answer about one of its targets, at the moment it is asked.
///
/// Times are ages, never points in time: monitors do not share a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Age of its last good reading. `None` if there was none yet, which says nothing of the target: this monitor may
    /// have begun just now.
    pub last_good_age: Option<Duration>,
    /// Whether this monitor is late itself, so that its silence about the target says little.
    pub late: bool,
    /// Whether the target's NIC answered the newest probe; `None` if none was sent since the last good reading.
    pub nic_answers: Option<bool>,
    /// Its verdict of the target's kernel; `None` if it has none.
    pub kernel: Option<State>,
}

/// What this monitor knows of its targets, for peers that ask.
pub trait Knowledge: Send + Sync {
    /// What can be said of `target` now; `None` if this monitor does not look after a target of that name. Called for
    /// every question of every peer: it must not wait for a target.
    fn about(&self, target: &str) -> Option<Answered>;
}

/// What a peer said of a target. It may be wrong: a peer is believed no further than a second view goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// The peer.
    pub monitor: String,
    /// When the answer came, on this monitor's monotonic clock. An opinion stays until a newer one replaces it, also
    /// while the peer is silent: whoever uses it must look at its age.
    pub at: Duration,
    /// When the question was sent, on this monitor's monotonic clock. The ages in the answer were right at some
    /// moment between this and `at`.
    pub asked: Duration,
    /// Age of the peer's last good reading of the target. `None` if it has not read the target yet, which says nothing
    /// of the target.
    pub last_good_age: Option<Duration>,
    /// Whether the peer says that it is late itself.
    pub late: bool,
    /// Whether the target's NIC answered the peer's newest probe; `None` if it sent none since its last good reading.
    pub nic_answers: Option<bool>,
    /// The peer's verdict of the target's kernel; `None` if it has none.
    pub kernel: Option<State>,
}

impl Opinion {
    /// What `monitor` answered at `at` when asked at `asked`.
    #[must_use]
    pub fn new(monitor: String, asked: Duration, at: Duration, answered: Answered) -> Opinion {
        let Answered { last_good_age, late, nic_answers, kernel } = answered;
        Opinion { monitor, at, asked, last_good_age, late, nic_answers, kernel }
    }

    /// When the peer read the target well for the last time, on this monitor's monotonic clock: at that time or
    /// later. `None` if it never did.
    #[must_use]
    pub fn last_good(&self) -> Option<Duration> {
        self.last_good_age.map(|age| self.asked.saturating_sub(age))
    }
}
