//! What a target offers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a target offers to be set or called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OffersAnswer {
    /// The target.
    pub target: String,
    /// Variables, in the order of their places.
    pub variables: Vec<OfferedVariableRow>,
    /// Hooks of applications.
    pub hooks: Vec<OfferedHookRow>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
