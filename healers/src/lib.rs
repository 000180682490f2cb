//! Healing modules: plug-ins that examine the state a target shows of itself, name a culprit with evidence, and
//! propose a repair (thesis, section 3.7.1).
//!
//! A healer decides and does nothing else: it is handed a [`Case`] and returns a [`Diagnosis`]. What it knows beyond the
//! case is what it remembers of earlier ones. The monitor fetches what the case holds, checks the proposed repair and
//! carries it out. To add a healer, write its file and add its line to [`REGISTRY`].

mod case;
mod diagnosis;
pub mod duration;
pub mod external;
mod forkbomb;
mod limits;
mod memory_hog;
mod registry;
mod runaway;
mod spared;
mod stuck_application;
mod users;

pub use case::{Case, Exceeded, FrozenSensor, StuckApplication};
pub use diagnosis::{Culprit, Diagnosis, Evidence, Repair};
pub use forkbomb::ForkBomb;
pub use limits::{LimitError, Limits};
pub use memory_hog::MemoryHog;
pub use registry::{
    Build, COOLDOWN, GRACE, REGISTRY, Registration, SettingsError, Users, build, registration,
};
pub use runaway::Runaway;
pub use stuck_application::StuckApplications;

use backdoors_sensor_box::{SensorKind, SensorView};
use std::time::Duration;

/// A healing module.
pub trait Healer: Send {
    /// Its name in configuration and journals.
    fn name(&self) -> &str;

    /// The kinds of sensors whose events call it.
    fn watches(&self) -> &[SensorKind];

    /// The applications whose failure calls it.
    fn applications(&self) -> Applications<'_> {
        Applications::None
    }

    /// How often it wants to look even if nothing calls it. It looks after good readings only, and no more often than
    /// they come.
    fn looks_every(&self) -> Option<Duration> {
        None
    }

    /// Takes in a good reading, though nothing calls it: for who must know how fast something changes when it is called. It
    /// comes with every sample and must be as quick.
    fn read(&mut self, now: Duration, sensors: &SensorView) {
        let _ = (now, sensors);
    }

    /// Its settings in force, defaults included.
    fn settings(&self) -> toml::Table {
        toml::Table::new()
    }

    /// Examines a case. It must not block, and must expect nonsense: everything in the case came from a machine
    /// that may be ill or hostile.
    fn examine(&mut self, case: &Case<'_>) -> Diagnosis;

    /// The answer to an examination that ended with [`Diagnosis::Later`], once it is there. It must not block.
    fn answer(&mut self) -> Option<Diagnosis> {
        None
    }
}

/// Applications whose failure calls a healer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applications<'a> {
    /// None.
    None,
    /// Any.
    All,
    /// The one of this name.
    Named(&'a str),
}

impl Applications<'_> {
    /// Whether the application of this name is among them.
    #[must_use]
    pub fn include(&self, name: &str) -> bool {
        match self {
            Applications::None => false,
            Applications::All => true,
            Applications::Named(named) => *named == name,
        }
    }
}
