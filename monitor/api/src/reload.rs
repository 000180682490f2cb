//! Configuration read again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of reading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadAnswer {
    /// The targets whose limits, rules, healers and users are about to be exchanged.
    pub targets: Vec<String>,
    /// What changed and is in force after a restart only.
    pub restart: Vec<String>,
}
