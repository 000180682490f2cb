//! Healing modules: plug-ins that examine the state a target shows of itself, name a culprit with evidence, and
//! propose a repair (thesis, section 3.7.1).
//!
//! A healer decides and does nothing else: it is handed a [`Case`] and returns a [`Diagnosis`]. What it knows beyond the
//! case is what it remembers of earlier ones. The monitor fetches what the case holds, checks the proposed repair and
//! carries it out. To add a healer, write its file and add its line to [`REGISTRY`].

mod case;
mod diagnosis;
mod forkbomb;
mod limits;
mod registry;

pub use case::{Case, Exceeded};
pub use diagnosis::{Culprit, Diagnosis, Evidence, Repair};
pub use forkbomb::ForkBomb;
pub use limits::{LimitError, Limits};
pub use registry::{Build, REGISTRY, Registration, SettingsError, Users, build};

use backdoors_sensor_box::SensorKind;

/// A healing module.
pub trait Healer: Send {
    /// Its name in configuration and journals.
    fn name(&self) -> &'static str;

    /// The kinds of sensors whose events call it.
    fn watches(&self) -> &[SensorKind];

    /// Examines a case. It must not block, and must expect nonsense: everything in the case came from a machine
    /// that may be ill or hostile.
    fn examine(&mut self, case: &Case<'_>) -> Diagnosis;
}
