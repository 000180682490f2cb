//! What becomes of a target's fence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What to do with a target's fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FenceDeed {
    /// Set it: from then on the target sends nothing from its service addresses.
    #[default]
    Set,
    /// Lift it, as far as this monitor set it.
    Lift,
    /// Only tell how it is, and whether it would hold.
    Look,
}

/// A target's fence, after what was asked was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FenceAnswer {
    /// The target.
    pub target: String,
    /// Whether this monitor fences it now.
    pub by_this: bool,
    /// Whether another one does.
    pub by_another: bool,
    /// Addresses from which the target sends nothing while it is fenced.
    pub addresses: Vec<IpAddr>,
    /// Packets that were withheld, ever.
    pub withheld: u64,
    /// Why a fence would not hold, if it would not.
    pub would_not_hold: Option<String>,
}

impl FenceAnswer {
    /// Whether anybody fences the target.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.by_this || self.by_another
    }
}
