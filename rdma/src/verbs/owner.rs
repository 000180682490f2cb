//! The target's side: memory registered with the NIC, for each monitor in a protection domain of its own.

use crate::directory::{self, DirectoryWriter};
use crate::memory::{Protection, SharedMemory};
use crate::owner::{
    Admission, Endpoint, MAX_MONITORS, MAX_REGIONS, MemoryOwner, OwnerError, RegionId, RegionRequest, Rights,
    backing, check_admission,
};
use crate::verbs::completion::CompletionQueue;
use crate::verbs::device::Device;
use crate::verbs::protection_domain::ProtectionDomain;
use crate::verbs::queue_pair::{Peer, QueuePair, Role};
use crate::verbs::region::{Access, Region};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Owns memory registered with a NIC. Everything ends when it is dropped.
///
/// A monitor's keys work over its own queue pairs only, because both are in a protection domain that no other monitor
/// has. A refused request ends the queue pair it came over, on both sides; the monitor's others go on.
#[derive(Debug)]
pub struct VerbsOwner {
    monitors: BTreeMap<String, Monitor>,
    regions: BTreeMap<RegionId, Registered>,
    last: u64,
    device: Arc<Device>,
}

#[derive(Debug)]
struct Registered {
    request: RegionRequest,
    memory: Arc<SharedMemory>,
}

/// An admitted monitor. Queue pairs are declared first, hence destroyed first: a request they are in the middle of
/// would keep a region from being deregistered.
#[derive(Debug)]
struct Monitor {
    queue_pairs: Vec<QueuePair>,
    regions: BTreeMap<RegionId, Region>,
    directory_region: Region,
    directory: DirectoryWriter,
    slot: u32,
    domain: Arc<ProtectionDomain>,
}

impl VerbsOwner {
    /// Makes an owner without regions or monitors.
    #[must_use]
    pub fn new(device: Arc<Device>) -> VerbsOwner {
        VerbsOwner { monitors: BTreeMap::new(), regions: BTreeMap::new(), last: 0, device }
    }

    fn new_monitor(&self, slot: u32, peers: &[Peer]) -> io::Result<Monitor> {
        let domain = Arc::new(ProtectionDomain::new(Arc::clone(&self.device))?);
        let (directory, _fd) = DirectoryWriter::create()?;
        let directory_region = Region::register(
            Arc::clone(&domain),
            Arc::clone(directory.memory()),
            Access::Remote(Rights::ReadOnly),
        )?;
        let mut monitor = Monitor {
            queue_pairs: Vec::with_capacity(peers.len()),
            regions: BTreeMap::new(),
            directory_region,
            directory,
            slot,
            domain,
        };
        for (id, registered) in &self.regions {
            if registered.request.is_for(slot) {
                let region = monitor.region_of(registered)?;
                monitor.regions.insert(*id, region);
            }
        }
        monitor.publish(&self.regions);
        let completions = Arc::new(CompletionQueue::new(Arc::clone(&self.device), peers.len() as u32 * 2)?);
        for peer in peers {
            let mut pair =
                QueuePair::new(Arc::clone(&monitor.domain), Arc::clone(&completions), Role::Answers)?;
            pair.accept(peer)?;
            monitor.queue_pairs.push(pair);
        }
        Ok(monitor)
    }
}

impl Monitor {
    fn region_of(&self, registered: &Registered) -> io::Result<Region> {
        let access = Access::Remote(registered.request.rights);
        Region::register(Arc::clone(&self.domain), Arc::clone(&registered.memory), access)
    }

    /// Writes the directory anew: what this monitor has keys for.
    fn publish(&mut self, registered: &BTreeMap<RegionId, Registered>) {
        let entry = |(id, region): (&RegionId, &Region)| {
            let request = registered.get(id)?.request;
            Some(directory::Region {
                kind: request.kind,
                range: region.remote_range(),
                generation: request.generation,
                rights: request.rights,
            })
        };
        let entries: Vec<directory::Region> = self.regions.iter().filter_map(entry).collect();
        self.directory.publish(&entries);
    }
}

impl MemoryOwner for VerbsOwner {
    fn register(&mut self, request: RegionRequest, memory: OwnedFd) -> Result<RegionId, OwnerError> {
        let clash = self.regions.iter().find(|(_, other)| other.request.clashes_with(&request));
        if let Some((id, _)) = clash {
            return Err(OwnerError::Occupied(*id));
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(OwnerError::Full(format!("than {MAX_REGIONS} regions")));
        }
        backing::check(memory.as_fd(), request.offset, request.length)?;
        let length = usize::try_from(request.length)
            .map_err(|_| OwnerError::Invalid("a region larger than memory can be".into()))?;
        let memory = SharedMemory::map(memory.as_fd(), request.offset, length, Protection::ReadWrite)
            .map_err(|error| {
                OwnerError::Memory(format!("it cannot be mapped to be read and written: {error}"))
            })?;
        let registered = Registered { request, memory: Arc::new(memory) };
        // Keys for everybody first: if one cannot be had, nobody has seen any.
        let mut keys = Vec::new();
        for (name, monitor) in &self.monitors {
            if request.is_for(monitor.slot) {
                let region = monitor.region_of(&registered).map_err(|error| cannot_register(&error))?;
                keys.push((name.clone(), region));
            }
        }
        if keys.is_empty() {
            // Nobody is admitted yet; see now whether the NIC takes it, rather than when the first monitor comes.
            let probe = ProtectionDomain::new(Arc::clone(&self.device)).map_err(|error| device(&error))?;
            let access = Access::Remote(request.rights);
            Region::register(Arc::new(probe), Arc::clone(&registered.memory), access)
                .map_err(|error| cannot_register(&error))?;
        }
        self.last += 1;
        let id = RegionId(self.last);
        self.regions.insert(id, registered);
        for (name, region) in keys {
            if let Some(monitor) = self.monitors.get_mut(&name) {
                monitor.regions.insert(id, region);
                monitor.publish(&self.regions);
            }
        }
        Ok(id)
    }

    fn retire(&mut self, id: RegionId) -> Result<(), OwnerError> {
        self.regions.remove(&id).ok_or(OwnerError::UnknownRegion(id))?;
        let mut stuck = Vec::new();
        for (name, monitor) in &mut self.monitors {
            let Some(region) = monitor.regions.remove(&id) else { continue };
            monitor.publish(&self.regions);
            if let Err(error) = region.deregister() {
                stuck.push((name.clone(), error));
            }
        }
        // A key that may still be good must not be reachable: the monitor loses its connections instead.
        for (name, _) in &stuck {
            self.monitors.remove(name);
        }
        match stuck.first() {
            None => Ok(()),
            Some((name, error)) => Err(OwnerError::Device(format!(
                "it would not give up the key of monitor {name:?}, whose connections were cut instead: {error}"
            ))),
        }
    }

    fn admit(&mut self, name: &str, slot: u32, endpoints: &[Endpoint]) -> Result<Admission, OwnerError> {
        check_admission(name, endpoints)?;
        if endpoints.iter().any(|endpoint| !matches!(endpoint, Endpoint::Verbs { .. })) {
            return Err(OwnerError::WrongProvider { expected: "verbs".into() });
        }
        let peers: Option<Vec<Peer>> = endpoints.iter().map(Peer::new).collect();
        let peers =
            peers.ok_or_else(|| OwnerError::Invalid("an endpoint that no queue pair can have".into()))?;
        let replaced = |other: &str, monitor: &Monitor| other == name || monitor.slot == slot;
        let staying = self.monitors.iter().filter(|(other, monitor)| !replaced(other, monitor)).count();
        if staying >= MAX_MONITORS {
            return Err(OwnerError::Full(format!("than {MAX_MONITORS} monitors")));
        }
        let monitor = self.new_monitor(slot, &peers).map_err(|error| device(&error))?;
        let admission = Admission {
            slot,
            endpoints: monitor.queue_pairs.iter().map(QueuePair::endpoint).collect(),
            directory: monitor.directory_region.remote_range(),
        };
        self.monitors.retain(|other, monitor| !replaced(other, monitor));
        self.monitors.insert(name.into(), monitor);
        Ok(admission)
    }

    fn dismiss(&mut self, name: &str) -> Result<(), OwnerError> {
        let monitor = self.monitors.remove(name).ok_or_else(|| OwnerError::UnknownMonitor(name.into()))?;
        drop(monitor);
        Ok(())
    }

    fn monitors(&mut self) -> Result<Vec<String>, OwnerError> {
        Ok(self.monitors.keys().cloned().collect())
    }

    fn regions(&mut self) -> Result<Vec<(RegionId, RegionRequest)>, OwnerError> {
        Ok(self.regions.iter().map(|(id, registered)| (*id, registered.request)).collect())
    }
}

fn device(error: &io::Error) -> OwnerError {
    OwnerError::Device(error.to_string())
}

fn cannot_register(error: &io::Error) -> OwnerError {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => OwnerError::Memory(
            "the NIC cannot pin it; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)".into(),
        ),
        _ => OwnerError::Memory(format!("the NIC does not take it: {error}")),
    }
}
