//! What a target offers, as the API tells it.

use crate::sampler::Offers;
use serde::{Deserialize, Serialize};

/// What a target offers to be set or called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffersAnswer {
    /// The target.
    pub target: String,
    /// Variables, in the order of their places.
    pub variables: Vec<OfferedVariableRow>,
    /// Hooks of applications.
    pub hooks: Vec<OfferedHookRow>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedVariableRow {
    /// Its name.
    pub name: String,
    /// Its file on the target.
    pub file: String,
    /// Least value it takes.
    pub least: u64,
    /// Greatest.
    pub most: u64,
    /// Its value, about a second old at most; `None` if the target could not read it.
    pub value: Option<u64>,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedHookRow {
    /// The application.
    pub application: String,
    /// The hook.
    pub hook: String,
    /// Least word it takes.
    pub least: u64,
    /// Greatest.
    pub most: u64,
}

impl OffersAnswer {
    pub(super) fn new(target: &str, offers: Offers) -> OffersAnswer {
        let variables = offers.variables.into_iter().map(|variable| OfferedVariableRow {
            name: variable.name,
            file: variable.path,
            least: variable.least,
            most: variable.most,
            value: variable.value,
        });
        let hooks = offers.hooks.into_iter().map(|hook| OfferedHookRow {
            application: hook.application,
            hook: hook.name,
            least: hook.least,
            most: hook.most,
        });
        OffersAnswer { target: target.to_owned(), variables: variables.collect(), hooks: hooks.collect() }
    }
}
