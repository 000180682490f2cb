//! Rules: what a verdict leads to.

use super::schema::WrittenDuration;
use crate::verdict::{Layer, State};
use backdoors_healers::duration;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// What a verdict leads to, once each time a layer gets into the state and stays there.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// The layer.
    pub layer: Layer,
    /// The application; any if absent. Only for `layer = "application"`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The state, `failed` or `suspect`.
    #[serde(default = "default_state")]
    pub state: State,
    /// How long the layer must have been in it.
    #[serde(default, rename = "for", with = "duration")]
    #[schemars(with = "WrittenDuration")]
    pub lasting: Duration,
    /// How sure the verdict must be, from 0 to 1.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
    /// The healer of this target to call, in the mode it is configured with.
    #[serde(default)]
    pub heal: Option<String>,
    /// Have the target's live sessions go on here.
    #[serde(default)]
    pub recover: bool,
    /// A program to run on this machine, with its arguments. It finds target, layer, subject, state, confidence and
    /// evidence in variables `BACKDOORS_TARGET` and so on, and is not waited for.
    #[serde(default)]
    pub run: Vec<String>,
}

impl RuleConfig {
    /// Whether it can serve; `healers` are those of its target, and `has_services` says whether that has any
    /// services.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, healers: &[&str], has_services: bool) -> Result<(), String> {
        if self.subject.is_some() && self.layer != Layer::Application {
            return Err("only applications have a `subject`".to_owned());
        }
        if !matches!(self.state, State::Failed | State::Suspect) {
            return Err("`state` must be \"failed\" or \"suspect\"".to_owned());
        }
        if !(0.0..=1.0).contains(&self.confidence) {
            return Err("`confidence` must be between 0 and 1".to_owned());
        }
        if self.heal.is_none() && self.run.is_empty() && !self.recover {
            return Err("it does nothing: give `heal`, `run` or `recover`".to_owned());
        }
        if self.recover && !has_services {
            return Err("`recover` has nothing to recover: the target has no [[target.service]]".to_owned());
        }
        match &self.heal {
            Some(healer) if !healers.contains(&healer.as_str()) => {
                Err(format!("`heal` names `{healer}`, and the target has no such healer"))
            }
            _ => Ok(()),
        }
    }
}

fn default_state() -> State {
    State::Failed
}

fn default_confidence() -> f64 {
    0.9
}
