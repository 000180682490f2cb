//! The emulated NIC's translation table: which key opens what, to whom, with which rights.

use crate::access::RemoteRange;
use crate::directory::{DirectoryWriter, Region};
use crate::emulated::server::Denied;
use crate::emulated::wire::{COMPARE_AND_SWAP, OperationHeader, READ, WRITE};
use crate::memory::SharedMemory;
use crate::owner::{MAX_MONITORS, MAX_REGIONS, OwnerError, RegionId, RegionRequest, Rights};
use std::collections::{BTreeMap, HashMap};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What the NIC's thread and the owner of memory share.
pub(crate) struct Shared {
    table: RwLock<Table>,
    stopping: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared { table: RwLock::new(Table::new()), stopping: AtomicBool::new(false) }
    }

    // The table is sound between any two of its statements, so a panic under the lock leaves nothing half done that
    // would be worse than no NIC at all.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// A protection domain: one admission of one monitor. Its keys work on its connections alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainId(u64);

struct Registered {
    request: RegionRequest,
    memory: Arc<SharedMemory>,
    address: u64,
}

struct Domain {
    monitor: String,
    slot: u32,
    directory: DirectoryWriter,
    /// Open connections, to be cut when the domain ends.
    connections: HashMap<u64, Arc<TcpStream>>,
}

struct Key {
    domain: DomainId,
    /// `None`: the directory.
    region: Option<RegionId>,
    memory: Arc<SharedMemory>,
    address: u64,
    rights: Rights,
}

/// The table. Addresses in it are made up: they tell nothing of where this process has its memory, and no two
/// regions lie side by side.
pub(crate) struct Table {
    regions: BTreeMap<RegionId, Registered>,
    domains: BTreeMap<u64, Domain>,
    keys: HashMap<u32, Key>,
    tokens: HashMap<[u8; 16], DomainId>,
    next_id: u64,
    next_address: u64,
}

const FIRST_ADDRESS: u64 = 1 << 32;
const ADDRESS_STEP: u64 = 1 << 21;

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            regions: BTreeMap::new(),
            domains: BTreeMap::new(),
            keys: HashMap::new(),
            tokens: HashMap::new(),
            next_id: 1,
            next_address: FIRST_ADDRESS,
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn new_address(&mut self, length: u64) -> Result<u64, OwnerError> {
        let address = self.next_address;
        self.next_address = address
            .checked_add(length)
            .and_then(|end| end.checked_next_multiple_of(ADDRESS_STEP))
            .and_then(|end| end.checked_add(ADDRESS_STEP))
            .ok_or_else(|| OwnerError::Full("addresses".into()))?;
        Ok(address)
    }

    /// Makes a key, one that nobody can guess from another.
    fn grant(&mut self, grant: Key) -> Result<u32, OwnerError> {
        loop {
            let key = u32::from_le_bytes(random()?);
            if key != 0 && !self.keys.contains_key(&key) {
                self.keys.insert(key, grant);
                return Ok(key);
            }
        }
    }

    pub(crate) fn check_room(&self, request: &RegionRequest) -> Result<(), OwnerError> {
        let clash = self.regions.iter().find(|(_, other)| other.request.clashes_with(request));
        if let Some((id, _)) = clash {
            return Err(OwnerError::Occupied(*id));
        }
        if self.regions.len() >= MAX_REGIONS {
            return Err(OwnerError::Full("regions".into()));
        }
        Ok(())
    }

    pub(crate) fn register(
        &mut self,
        request: RegionRequest,
        memory: SharedMemory,
    ) -> Result<RegionId, OwnerError> {
        self.check_room(&request)?;
        let address = self.new_address(request.length)?;
        let id = RegionId(self.new_id());
        let memory = Arc::new(memory);
        let shown: Vec<DomainId> = self
            .domains
            .iter()
            .filter(|(_, domain)| request.is_for(domain.slot))
            .map(|(id, _)| DomainId(*id))
            .collect();
        for domain in shown {
            let memory = Arc::clone(&memory);
            let granted =
                self.grant(Key { domain, region: Some(id), memory, address, rights: request.rights });
            if let Err(error) = granted {
                self.keys.retain(|_, key| key.region != Some(id));
                return Err(error);
            }
        }
        self.regions.insert(id, Registered { request, memory, address });
        self.publish(|_| true);
        Ok(id)
    }

    pub(crate) fn retire(&mut self, region: RegionId) -> Result<(), OwnerError> {
        self.regions.remove(&region).ok_or(OwnerError::UnknownRegion(region))?;
        self.keys.retain(|_, key| key.region != Some(region));
        self.publish(|_| true);
        Ok(())
    }

    pub(crate) fn monitors(&self) -> Vec<String> {
        self.domains.values().map(|domain| domain.monitor.clone()).collect()
    }

    pub(crate) fn regions(&self) -> Vec<(RegionId, RegionRequest)> {
        self.regions.iter().map(|(id, region)| (*id, region.request)).collect()
    }

    /// Makes a domain in the place of the monitor's and the slot's earlier ones; returns where its directory is.
    pub(crate) fn admit(
        &mut self,
        monitor: &str,
        slot: u32,
        tokens: &[[u8; 16]],
        directory: DirectoryWriter,
    ) -> Result<RemoteRange, OwnerError> {
        let replaced = |domain: &Domain| domain.monitor == monitor || domain.slot == slot;
        let others = self.domains.values().filter(|domain| !replaced(domain)).count();
        if others >= MAX_MONITORS {
            return Err(OwnerError::Full("monitors".into()));
        }
        let memory = Arc::clone(directory.memory());
        let length = memory.len() as u64;
        let address = self.new_address(length)?;
        let domain = DomainId(self.new_id());
        let mut grants: Vec<Key> = self
            .regions
            .iter()
            .filter(|(_, region)| region.request.is_for(slot))
            .map(|(id, region)| Key {
                domain,
                region: Some(*id),
                memory: Arc::clone(&region.memory),
                address: region.address,
                rights: region.request.rights,
            })
            .collect();
        grants.push(Key { domain, region: None, memory, address, rights: Rights::ReadOnly });
        let mut key = 0;
        for grant in grants {
            // The directory's comes last. Keys of a domain that is not there yet open nothing.
            key = self.grant(grant).inspect_err(|_| self.keys.retain(|_, key| key.domain != domain))?;
        }

        let made = Domain { monitor: monitor.into(), slot, directory, connections: HashMap::new() };
        self.domains.insert(domain.0, made);
        self.tokens.extend(tokens.iter().map(|token| (*token, domain)));
        self.end_domains(|id, other| id != domain && replaced(other));
        self.publish(|id| id == domain);
        Ok(RemoteRange { address, length, key })
    }

    pub(crate) fn dismiss(&mut self, monitor: &str) -> Result<(), OwnerError> {
        if !self.domains.values().any(|domain| domain.monitor == monitor) {
            return Err(OwnerError::UnknownMonitor(monitor.into()));
        }
        self.end_domains(|_, domain| domain.monitor == monitor);
        Ok(())
    }

    /// Ends every domain, and every region with them.
    pub(crate) fn reset(&mut self) {
        self.end_all();
        self.regions.clear();
    }

    /// Ends every domain: the NIC goes.
    pub(crate) fn end_all(&mut self) {
        self.end_domains(|_, _| true);
    }

    fn end_domains(&mut self, ends: impl Fn(DomainId, &Domain) -> bool) {
        self.domains.retain(|id, domain| {
            let ends = ends(DomainId(*id), domain);
            if ends {
                domain.connections.values().for_each(|stream| cut(stream));
            }
            !ends
        });
        let domains = &self.domains;
        self.keys.retain(|_, key| domains.contains_key(&key.domain.0));
        self.tokens.retain(|_, domain| domains.contains_key(&domain.0));
    }

    /// Writes directories anew: what each of these domains has keys for.
    fn publish(&mut self, is_due: impl Fn(DomainId) -> bool) {
        let mut shown: HashMap<DomainId, Vec<(RegionId, Region)>> = HashMap::new();
        for (number, key) in self.keys.iter().filter(|(_, key)| is_due(key.domain)) {
            if let Some((region, registered)) =
                key.region.and_then(|region| self.regions.get_key_value(&region))
            {
                let request = &registered.request;
                let range = RemoteRange { address: key.address, length: request.length, key: *number };
                let (kind, generation, rights) = (request.kind, request.generation, request.rights);
                let entry = (*region, Region { kind, range, generation, rights });
                shown.entry(key.domain).or_default().push(entry);
            }
        }
        for (id, domain) in self.domains.iter_mut().filter(|(id, _)| is_due(DomainId(**id))) {
            let mut entries = shown.remove(&DomainId(*id)).unwrap_or_default();
            entries.sort_by_key(|(region, _)| *region);
            let entries: Vec<Region> = entries.into_iter().map(|(_, region)| region).collect();
            domain.directory.publish(&entries);
        }
    }

    /// Opens a connection with a token, which is spent by it.
    pub(crate) fn attach(
        &mut self,
        token: &[u8; 16],
        connection: u64,
        stream: Arc<TcpStream>,
    ) -> Option<DomainId> {
        let id = self.tokens.remove(token)?;
        self.domains.get_mut(&id.0)?.connections.insert(connection, stream);
        Some(id)
    }

    /// Forgets a connection that ended.
    pub(crate) fn detach(&mut self, domain: DomainId, connection: u64) {
        if let Some(domain) = self.domains.get_mut(&domain.0) {
            domain.connections.remove(&connection);
        }
    }

    /// Executes one operation on behalf of a domain.
    pub(crate) fn execute(
        &self,
        domain: DomainId,
        operation: &OperationHeader,
        payload: &[u8],
        answer: &mut Vec<u8>,
    ) -> Result<(), Denied> {
        let key = self.keys.get(&operation.key).filter(|key| key.domain == domain).ok_or(Denied)?;
        let offset = operation.address.checked_sub(key.address).ok_or(Denied)?;
        let end = offset.checked_add(operation.length).ok_or(Denied)?;
        if end > key.memory.len() as u64 || (operation.opcode != READ && key.rights != Rights::Writable) {
            return Err(Denied);
        }
        // Both lie within the mapping, so they fit.
        let (offset, length) = (offset as usize, operation.length as usize);
        match operation.opcode {
            READ => {
                let start = answer.len();
                answer.resize(start + length, 0);
                key.memory.read_bytes(offset, answer.get_mut(start..).ok_or(Denied)?).map_err(|_| Denied)
            }
            WRITE => key.memory.write_bytes(offset, payload).map_err(|_| Denied),
            COMPARE_AND_SWAP if offset.is_multiple_of(8) && length == 8 => {
                let found = key.memory.compare_exchange(offset / 8, operation.expected, operation.new);
                answer.extend_from_slice(&found.unwrap_or_else(|found| found).to_le_bytes());
                Ok(())
            }
            _ => Err(Denied),
        }
    }
}

fn cut(stream: &TcpStream) {
    // It fails only if the peer has cut the connection already.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], OwnerError> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| OwnerError::Device(format!("no random bytes: {error}")))?;
    }
    Ok(bytes)
}
