//! What the judge is told besides readings.

use std::time::Duration;

/// Why a chance to read came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time, or the connection broke: lost, slow, cut off, or nobody there.
    Silent,
    /// The target's NIC answered and refused: key, range or generation is not, or no longer, right.
    Refused,
    /// Bytes came, and they are no sensor box, or one that was being written.
    Damaged,
    /// The machine answered that nobody there serves its memory, as a TCP reset does.
    Closed,
    /// This monitor could not even ask: its own NIC failed, or every connection was taken. Says nothing about the target.
    NotAsked,
}

/// What silence is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Longest time between two samples, as planned.
    pub period: Duration,
    /// Longest wait for one reading, as planned.
    pub wait: Duration,
    /// Chances that must be missed before silence accuses.
    pub chances: u32,
    /// p_ml of the path.
    pub loss: f64,
    /// This monitor's own lateness.
    pub standing: crate::lateness::Standing,
}

impl Terms {
    /// The terms of a plan.
    #[must_use]
    pub fn of(plan: &crate::pace::Plan, loss: f64, standing: crate::lateness::Standing) -> Terms {
        Terms { period: plan.period, wait: plan.wait, chances: plan.chances, loss, standing }
    }

    /// Longest time between two samples that is counted. The rest nobody watched: the monitor was paused, or its clock jumped. Always shorter than
    /// the deadline that the period was planned for.
    pub(super) fn watched(&self) -> Duration {
        self.period.saturating_add((self.period / 4).min(self.wait / 2))
    }

    pub(super) fn widened(&self, deadline: Duration) -> Duration {
        crate::pace::widened(deadline, self.standing.multiplier)
    }
}
