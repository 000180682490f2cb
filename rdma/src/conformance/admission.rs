//! What the owner itself answers.

use crate::conformance::bench::{Bench, equal, failed, holds};
use crate::conformance::{Failure, MakeMemory};
use crate::owner::{OwnerError, RegionId, RegionRequest, Rights};
use rustix::fs::MemfdFlags;
use std::os::fd::OwnedFd;

const REQUEST: RegionRequest =
    RegionRequest { kind: 1, generation: 5, offset: 64, length: 100, rights: Rights::ReadOnly, slot: None };

/// For owners alone.
fn maker(make: MakeMemory) -> impl Fn(usize) -> Result<OwnedFd, Failure> {
    move |length| Ok(make(length).map_err(failed("no memory"))?.1)
}

pub(super) fn owner_tells_regions(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let memory = maker(bench.memory());
    let owner = bench.owner()?;
    let own = RegionRequest { kind: 2, slot: Some(3), rights: Rights::Writable, ..REQUEST };
    let first = owner.register(REQUEST, memory(164)?).map_err(failed("register"))?;
    let second = owner.register(own, memory(164)?).map_err(failed("register"))?;
    equal("regions", owner.regions(), Ok(vec![(first, REQUEST), (second, own)]))?;
    owner.retire(first).map_err(failed("retire"))?;
    equal("regions", owner.regions(), Ok(vec![(second, own)]))?;
    let third = owner.register(REQUEST, memory(164)?).map_err(failed("register again"))?;
    holds("no id is used twice", third != first)
}

pub(super) fn owner_refuses_nonsense(bench: &mut Bench<'_>) -> Result<(), Failure> {
    let unsealed =
        rustix::fs::memfd_create("conformance", MemfdFlags::CLOEXEC).map_err(failed("no memory"))?;
    rustix::fs::ftruncate(&unsealed, 4096).map_err(failed("no memory"))?;
    let memory = maker(bench.memory());
    let owner = bench.owner()?;
    let id = owner.register(REQUEST, memory(164)?).map_err(failed("register"))?;
    equal("the same kind again", owner.register(REQUEST, memory(164)?), Err(OwnerError::Occupied(id)))?;
    let slot_of_it = RegionRequest { slot: Some(0), ..REQUEST };
    equal(
        "the same kind for one slot",
        owner.register(slot_of_it, memory(164)?),
        Err(OwnerError::Occupied(id)),
    )?;

    let other = RegionRequest { kind: 2, ..REQUEST };
    let refused = |what: &str, result: Result<RegionId, OwnerError>| {
        let as_expected = matches!(result, Err(OwnerError::Memory(_) | OwnerError::Invalid(_)));
        holds(&format!("{what} is refused ({result:?})"), as_expected)
    };
    refused("memory that is too small", owner.register(other, memory(160)?))?;
    refused("memory that could shrink", owner.register(other, unsealed))?;
    refused("no length", owner.register(RegionRequest { length: 0, ..other }, memory(164)?))?;
    refused("an odd offset", owner.register(RegionRequest { offset: 4, ..other }, memory(164)?))?;
    refused("an endless region", owner.register(RegionRequest { length: u64::MAX, ..other }, memory(164)?))?;
    let (_reader, pipe) = std::io::pipe().map_err(failed("no pipe"))?;
    refused("a pipe", owner.register(other, pipe.into()))?;

    let unknown = RegionId(u64::MAX);
    equal("retire", owner.retire(unknown), Err(OwnerError::UnknownRegion(unknown)))?;
    equal("dismiss", owner.dismiss("nobody"), Err(OwnerError::UnknownMonitor("nobody".into())))?;
    let empty = owner.admit("monitor", 0, &[]);
    holds("no endpoints are refused", matches!(empty, Err(OwnerError::Invalid(_))))?;
    equal("regions", owner.regions(), Ok(vec![(id, REQUEST)]))
}
