//! The lease of the target, without which it obeys no command.

use super::Sampler;
use crate::link::read;
use backdoors_rdma::{AccessError, Operation};
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::{FetchError, LeaseView, Token};

impl Sampler {
    /// The token of the lease, taken now if it is free. `None` if another monitor holds it or the target cannot be
    /// reached.
    pub(super) fn take_lease(&mut self) -> Option<Token> {
        let now = self.clock.monotonic();
        let taken = self.with_region(now, RegionKind::LEASE, |link, region| {
            let slot = link.slot();
            let mut bytes = [0; LeaseView::BYTES];
            read(link, region, 0, &mut bytes).map_err(FetchError::Access)?;
            let lease = LeaseView::decode(&bytes)?.lease;
            if let Some(holder) = lease.holder() {
                return Ok(if holder == slot { lease.token() } else { None });
            }
            let outside = AccessError::Invalid("the lease table is smaller than a lease");
            let at = region.range.slice(LeaseView::LEASE_OFFSET, 8).ok_or(FetchError::Access(outside))?;
            let (expected, taken) = (lease.word(), lease.taken_by(slot));
            let mut found = 0;
            let swap = Operation::CompareAndSwap { at, expected, new: taken.word(), found: &mut found };
            link.submit(&mut [swap]).map_err(FetchError::Access)?;
            Ok(if found == expected { taken.token() } else { None })
        });
        taken.unwrap_or_else(|error| {
            tracing::debug!(target = %self.config.name, "cannot take the lease: {error}");
            None
        })
    }
}
