//! Looking every few seconds how the target's live sessions are kept, for those who watch.

use super::Sampler;
use crate::recovery::pull::{Ages, survey};
use backdoors_sensor_box::layout::RegionKind;
use std::sync::PoisonError;
use std::time::Duration;

/// How often.
const PERIOD: Duration = Duration::from_secs(5);

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Surveying {
    ages: Ages,
    next: Duration,
}

impl Sampler {
    /// Whether it is time to look. A target that cannot be read is not waited for, nor is one without sessions.
    pub(super) fn survey_is_due(&self, now: Duration) -> bool {
        let keeps = |link: &dyn crate::link::Link| link.region(RegionKind::SESSIONS).is_some();
        now >= self.surveying.next
            && self.link.as_deref().is_some_and(keeps)
            && self.generation.is_some()
            && self.problem().is_none()
    }

    pub(super) fn survey(&mut self, now: Duration) {
        if !self.survey_is_due(now) {
            return;
        }
        self.surveying.next = now.saturating_add(PERIOD);
        let Some(link) = self.link.as_deref_mut() else { return };
        let boxes = match survey(link) {
            Ok(found) => self.surveying.ages.take_in(now, &found),
            Err(error) => {
                tracing::debug!(target = %self.config.name, %error, "its boxes cannot be looked at");
                Vec::new()
            }
        };
        self.status.lock().unwrap_or_else(PoisonError::into_inner).boxes = boxes;
    }
}
