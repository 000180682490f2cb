//! Proposals, as the API answers them.

use super::views::{TargetHandle, user_name};
use crate::clock::nanoseconds;
use crate::proposals::{NotOpen, Proposal};
use crate::sampler::order_texts;
use backdoors_healers::{Culprit, Users};
use backdoors_monitor_api::{ErrorKind, Failure, ProposalRow, ProposalState};
use std::time::Duration;

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
            expires_in_ns: (proposal.state == ProposalState::Open)
                .then(|| nanoseconds(expires.saturating_sub(now))),
        }
    }
}

impl From<NotOpen> for Failure {
    fn from(error: NotOpen) -> Failure {
        Failure { kind: ErrorKind::NotOpen, message: error.to_string() }
    }
}
