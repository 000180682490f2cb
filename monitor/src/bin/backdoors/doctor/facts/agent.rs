//! The agent, and what it says.

use crate::programs::output;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;

/// Longest wait for the agent's check: it reads all symbols and types of the kernel.
const CHECK: Duration = Duration::from_secs(60);

/// What `backdoors-agent check` says, or why it says nothing.
pub type Checked = Result<Vec<Ability>, String>;

/// One thing that a target can do, or cannot, as the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ability {
    pub name: String,
    pub has: bool,
    /// What follows from it.
    pub means: String,
    /// What it takes, if this machine cannot.
    pub needs: Option<String>,
}

/// Asks the agent what this machine can do.
pub fn check(agent: &Path) -> Checked {
    let said = output(agent, &["check", "--json"], CHECK)?;
    serde_json::from_str(&said).map_err(|error| format!("what it says is not understood: {error}"))
}
