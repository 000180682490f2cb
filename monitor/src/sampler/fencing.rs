//! Fencing the target when somebody orders it, without taking anything over.

use super::Sampler;
use super::order::OrderError;
use crate::journal::What;
use crate::recovery::fence::{self, FenceError};
use backdoors_monitor_api::{FenceAnswer, FenceDeed};
use backdoors_rdma::AccessError;
use std::sync::mpsc::SyncSender;

/// An order about the target's fence.
#[derive(Debug)]
pub struct FenceOrder {
    /// What to do.
    pub deed: FenceDeed,
    /// Who ordered it, for the journal.
    pub by: String,
    /// Where the answer goes.
    pub reply: SyncSender<Result<FenceAnswer, OrderError>>,
}

impl Sampler {
    /// Carries it out.
    pub(super) fn mind_fence(&mut self, order: FenceOrder) {
        let FenceOrder { deed, by, reply } = order;
        let answer = self.fence_by_order(deed);
        let (name, option) = (&self.config.name, if deed == FenceDeed::Lift { " --lift" } else { "" });
        match (&answer, deed) {
            (_, FenceDeed::Look) => {}
            (Ok(_), FenceDeed::Set) => self.note(What::Fenced { by }),
            (Ok(_), FenceDeed::Lift) => self.note(What::FenceLifted { by }),
            (Err(error), _) => {
                let order = format!("backdoors fence {name}{option}");
                self.note(What::NotBegun { by, order, reason: error.to_string() });
            }
        }
        // Whoever asked may have gone.
        drop(reply.try_send(answer));
    }

    fn fence_by_order(&mut self, deed: FenceDeed) -> Result<FenceAnswer, OrderError> {
        if deed != FenceDeed::Look
            && let Some(slot) = self.other_holder()
        {
            return Err(OrderError::NotTheHolder(slot));
        }
        let link = self.link.as_deref_mut();
        let link = link.ok_or(OrderError::Unreachable("there is no connection".to_owned()))?;
        let view = match deed {
            FenceDeed::Set => fence::set(link)?,
            FenceDeed::Lift => fence::lift(link).and_then(|()| fence::look(link))?,
            FenceDeed::Look => fence::look(link)?,
        };
        let (slot, key) = (link.slot(), link.command_key());
        let fence::Fenced { by_this, by_another } = fence::of(&view, slot, &key);
        Ok(FenceAnswer {
            target: self.config.name.clone(),
            by_this,
            by_another,
            would_not_hold: view.would_hold(slot, &key).err().map(|error| error.to_string()),
            addresses: view.addresses,
            withheld: view.withheld,
        })
    }
}

impl From<FenceError> for OrderError {
    fn from(error: FenceError) -> OrderError {
        match error {
            FenceError::Access(error @ AccessError::Poisoned) => OrderError::Unreachable(error.to_string()),
            error => OrderError::Fence(error.to_string()),
        }
    }
}
