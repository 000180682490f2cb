//! Proposals, as the API answers them.

use super::protocol::{ErrorKind, Failure};
use super::views::{TargetHandle, user_name};
use crate::clock::nanoseconds;
use crate::proposals::{NotOpen, Proposal, State};
use crate::sampler::order_texts;
use backdoors_healers::{Culprit, Users};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposalRow {
    /// The target.
    pub target: String,
    /// Its number, for `approve` and `reject`.
    pub id: u64,
    /// How far it is.
    pub state: State,
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

impl TargetHandle {
    /// What the target's healers propose, newest first.
    pub(super) fn proposals(&self, now: Duration) -> Vec<ProposalRow> {
        let status = self.status();
        status.proposals.iter().rev().map(|proposal| self.proposal(proposal, &status.users, now)).collect()
    }

    fn proposal(&self, proposal: &Proposal, users: &Users, now: Duration) -> ProposalRow {
        let found = &proposal.found;
        let expires = proposal.confirmed.saturating_add(self.config.proposal_lifetime);
        let user_name = match found.culprit {
            Culprit::User { user } => user_name(users, user),
            _ => None,
        };
        ProposalRow {
            target: self.config.name.clone(),
            id: proposal.id,
            state: proposal.state,
            healer: found.healer.clone(),
            culprit: found.culprit.to_string(),
            user_name,
            evidence: found.evidence.iter().map(|evidence| evidence.text.clone()).collect(),
            orders: order_texts(&self.config.name, &found.commands, found.grace),
            victims: found.victims,
            withheld: found.withheld.clone(),
            made_ns: nanoseconds(now.saturating_sub(proposal.made)),
            confirmed_ns: nanoseconds(now.saturating_sub(proposal.confirmed)),
            expires_in_ns: (proposal.state == State::Open).then(|| nanoseconds(expires.saturating_sub(now))),
        }
    }
}

impl From<NotOpen> for Failure {
    fn from(error: NotOpen) -> Failure {
        Failure { kind: ErrorKind::NotOpen, message: error.to_string() }
    }
}
