//! What healers propose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProposalState {
    /// It waits for a human.
    Open,
    /// A human approved it, and it was begun.
    Approved,
    /// A human rejected it: it is not made again for a while.
    Rejected,
    /// Nobody approved it, and its healer did not confirm it in time.
    Expired,
    /// Its healer found something else, or its victims were struck otherwise.
    Overtaken,
    /// Its healer blames nobody any more.
    Withdrawn,
}

impl ProposalState {
    /// Name for screens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ProposalState::Open => "open",
            ProposalState::Approved => "approved",
            ProposalState::Rejected => "rejected",
            ProposalState::Expired => "expired",
            ProposalState::Overtaken => "overtaken",
            ProposalState::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for ProposalState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProposalRow {
    /// The target.
    pub target: String,
    /// Its number, for `approve` and `reject`.
    pub id: u64,
    /// How far it is.
    pub state: ProposalState,
    /// The healer.
    pub healer: String,
    /// Whom it blames.
    pub culprit: String,
    /// The blamed user's name, if the configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Why.
    pub evidence: Vec<String>,
    /// The command lines that order the same.
    pub orders: Vec<String>,
    /// Processes that would be struck, when it was confirmed last.
    pub victims: u64,
    /// Why the healer did not do it itself, if it may act.
    pub withheld: Option<String>,
    /// How long ago it was made, nanoseconds.
    pub made_ns: u64,
    /// How long ago it was confirmed last, nanoseconds.
    pub confirmed_ns: u64,
    /// How long until it expires, nanoseconds; absent if it is over.
    pub expires_in_ns: Option<u64>,
}
