//! What the agent hands over to the owner of registered memory, and keeps handed over.

use crate::applications::Applications;
use crate::memory::{Region, TargetMemory};
use crate::services::ServiceBoxes;
use backdoors_rdma::owner::{Client, MemoryOwner, OwnerError, RegionId, RegionRequest, Rights};
use backdoors_sensor_box::fence::layout::word_offset;
use backdoors_sensor_box::layout::{CommandSlot, RegionKind};
use std::io;
use std::os::fd::AsFd;

/// Makes the owner's regions those of `memory`, `applications` and `services`: takes up what an earlier agent registered and still fits, retires the
/// rest, registers what is missing. `slots` are the command slots that monitors have.
///
/// # Errors
/// As the owner says; some regions may be registered by then, and a retry goes on from there.
pub fn hand_over(
    owner: &mut Client,
    memory: &TargetMemory,
    slots: &[u32],
    applications: &Applications,
    services: &[ServiceBoxes],
) -> Result<Vec<RegionId>, OwnerError> {
    let mut missing = wanted(memory, slots, applications, services);
    let mut registered = Vec::new();
    for (id, region) in owner.regions()? {
        match missing.iter().position(|(request, _)| *request == region) {
            Some(index) => {
                missing.swap_remove(index);
                registered.push(id);
            }
            None => owner.retire(id)?,
        }
    }
    for (request, region) in missing {
        let descriptor = region.descriptor.as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|error: io::Error| OwnerError::Memory(error.to_string()))?;
        registered.push(owner.register(request, descriptor)?);
    }
    Ok(registered)
}

/// Whether the owner still has them all; it loses them when it is restarted.
///
/// # Errors
/// As the owner says.
pub fn is_handed_over(
    owner: &mut Client,
    memory: &TargetMemory,
    slots: &[u32],
    applications: &Applications,
    services: &[ServiceBoxes],
) -> Result<bool, OwnerError> {
    let there = owner.regions()?;
    Ok(wanted(memory, slots, applications, services)
        .iter()
        .all(|(request, _)| there.iter().any(|(_, region)| region == request)))
}

fn wanted<'m>(
    memory: &'m TargetMemory,
    slots: &[u32],
    applications: &'m Applications,
    services: &'m [ServiceBoxes],
) -> Vec<(RegionRequest, &'m Region)> {
    let generation = memory.generation;
    let shown = memory.shown().into_iter().map(|(kind, region)| {
        let length = region.len() as u64;
        let request =
            RegionRequest { kind, generation, offset: 0, length, rights: Rights::ReadOnly, slot: None };
        (request, region)
    });
    let commands = slots.iter().map(|&slot| {
        let length = size_of::<CommandSlot>() as u64;
        let request = RegionRequest {
            kind: RegionKind::COMMAND,
            generation,
            offset: u64::from(slot) * length,
            length,
            rights: Rights::Writable,
            slot: Some(slot),
        };
        (request, &memory.commands)
    });
    let fence = memory.laid_out_fence().and(memory.fence.as_ref());
    let fences = fence.into_iter().flat_map(|region| {
        slots.iter().map(move |&slot| {
            let request = RegionRequest {
                kind: RegionKind::FENCE_WORD,
                generation,
                offset: word_offset(slot),
                length: 8,
                rights: Rights::Writable,
                slot: Some(slot),
            };
            (request, region)
        })
    });
    let lease = RegionRequest {
        kind: RegionKind::LEASE,
        generation,
        offset: 0,
        length: memory.lease.len() as u64,
        rights: Rights::Writable,
        slot: None,
    };
    let boxes = (0..).zip(services).map(|(number, service)| service.wanted(number));
    let own = shown.chain(commands).chain(fences).chain([(lease, &memory.lease)]);
    own.chain(applications.wanted()).chain(boxes).collect()
}
