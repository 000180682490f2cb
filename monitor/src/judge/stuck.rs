//! Which applications are said to have failed, for who looks into it.

use super::{FIRST_APPLICATION, Judge};
use crate::verdict::State;
use backdoors_healers::{FrozenSensor, StuckApplication};
use backdoors_sensor_box::{ApplicationState, ApplicationView};

impl Judge {
    /// Names of the applications that are said to have failed.
    pub fn failed_applications(&self) -> impl Iterator<Item = &str> {
        let verdicts = self.verdicts.iter().skip(FIRST_APPLICATION);
        verdicts
            .filter(|verdict| verdict.state == State::Failed)
            .filter_map(|verdict| verdict.subject.as_deref())
    }

    /// The applications that are said to have failed, with their sensors that stand still; `views` are as last read.
    #[must_use]
    pub fn stuck_applications(&self, views: &[ApplicationView]) -> Vec<StuckApplication> {
        let stuck = self.failed_applications().filter_map(|name| {
            let view = views.iter().find(|view| view.name == name)?;
            let application = self.applications.iter().find(|application| application.name == name)?;
            let sensors = application.sensors.iter().map(|sensor| FrozenSensor {
                name: sensor.name.clone(),
                still: sensor.still.still(self.applications_asked),
                limit: sensor.limit,
            });
            Some(StuckApplication {
                name: name.to_owned(),
                pid: view.pid,
                attached_at: view.attached_at,
                died: view.state == ApplicationState::Died,
                frozen: sensors.filter(|sensor| sensor.still >= sensor.limit).collect(),
            })
        });
        stuck.collect()
    }
}
