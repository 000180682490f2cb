//! The emulated NIC as an owner of memory.

use crate::directory::DirectoryWriter;
use crate::emulated::serve;
use crate::emulated::table::{self, Shared};
use crate::memory::{Protection, SharedMemory};
use crate::owner::{
    Admission, Endpoint, MemoryOwner, OwnerError, RegionId, RegionRequest, Rights, backing, check_admission,
};
use rustix::net::Shutdown;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A NIC in software. It serves monitors from a thread of its own until it is dropped; then every connection ends.
#[derive(Debug)]
pub struct Nic {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    advertised: SocketAddr,
    serving: Option<JoinHandle<()>>,
}

impl Nic {
    /// Listens for monitors at `listen`, and has them told to come to `advertised`, if that is another address (port
    /// 0 in it stands for the port listened on).
    ///
    /// # Errors
    /// What the system says.
    pub fn new(listen: SocketAddr, advertised: Option<SocketAddr>) -> io::Result<Nic> {
        let listener = Arc::new(TcpListener::bind(listen)?);
        let local = listener.local_addr()?;
        let mut advertised = advertised.unwrap_or(local);
        if advertised.port() == 0 {
            advertised.set_port(local.port());
        }
        let shared = Arc::new(Shared::new());
        let serving = serve::start(Arc::clone(&listener), Arc::clone(&shared))?;
        Ok(Nic { shared, listener, advertised, serving: Some(serving) })
    }

    /// Where monitors are told to come to.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Refuses a region that could not be registered, whatever its memory.
    pub(crate) fn check_room(&self, region: &RegionRequest) -> Result<(), OwnerError> {
        self.shared.read().check_room(region)
    }

    /// Registers memory that is mapped already, with the protection that the region's rights ask for.
    pub(crate) fn register_mapped(
        &mut self,
        region: RegionRequest,
        memory: SharedMemory,
    ) -> Result<RegionId, OwnerError> {
        self.shared.write().register(region, memory)
    }

    /// Ends all regions and admissions.
    pub(crate) fn reset(&mut self) {
        self.shared.write().reset();
    }
}

impl MemoryOwner for Nic {
    fn register(&mut self, region: RegionRequest, memory: OwnedFd) -> Result<RegionId, OwnerError> {
        self.check_room(&region)?;
        backing::check(memory.as_fd(), region.offset, region.length)?;
        let length = usize::try_from(region.length)
            .map_err(|_| OwnerError::Invalid("a region larger than memory can be".into()))?;
        let protection = match region.rights {
            Rights::ReadOnly => Protection::ReadOnly,
            Rights::Writable => Protection::ReadWrite,
        };
        let memory = SharedMemory::map(memory.as_fd(), region.offset, length, protection)
            .map_err(|error| OwnerError::Memory(error.to_string()))?;
        self.register_mapped(region, memory)
    }

    fn retire(&mut self, region: RegionId) -> Result<(), OwnerError> {
        // The lock is given only when no operation is under way.
        self.shared.write().retire(region)
    }

    fn admit(&mut self, monitor: &str, slot: u32, endpoints: &[Endpoint]) -> Result<Admission, OwnerError> {
        check_admission(monitor, endpoints)?;
        if !endpoints.iter().all(|endpoint| matches!(endpoint, Endpoint::Emulated { .. })) {
            return Err(OwnerError::WrongProvider { expected: "emulated".into() });
        }
        let tokens = endpoints.iter().map(|_| table::random()).collect::<Result<Vec<[u8; 16]>, _>>()?;
        let (directory, _) =
            DirectoryWriter::create().map_err(|error| OwnerError::Device(error.to_string()))?;
        let directory = self.shared.write().admit(monitor, slot, &tokens, directory)?;
        let endpoint = |token| Endpoint::Emulated { address: Some(self.advertised), token };
        Ok(Admission { slot, endpoints: tokens.into_iter().map(endpoint).collect(), directory })
    }

    fn dismiss(&mut self, monitor: &str) -> Result<(), OwnerError> {
        self.shared.write().dismiss(monitor)
    }

    fn monitors(&mut self) -> Result<Vec<String>, OwnerError> {
        Ok(self.shared.read().monitors())
    }

    fn regions(&mut self) -> Result<Vec<(RegionId, RegionRequest)>, OwnerError> {
        Ok(self.shared.read().regions())
    }
}

impl Drop for Nic {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the thread.
        let woken = rustix::net::shutdown(&self.listener, Shutdown::Both);
        if let (Ok(()), Some(serving)) = (woken, self.serving.take()) {
            // It fails only if the thread panicked, and that was printed.
            let _ = serving.join();
        }
        self.shared.write().end_all();
    }
}
