//! Memory regions: shared memory that the NIC may reach.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::access::RemoteRange;
use crate::memory::SharedMemory;
use crate::owner::Rights;
use crate::verbs::device::check;
use crate::verbs::protection_domain::ProtectionDomain;
use rdma_mummy_sys as ffi;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// Who may do what through the NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// This side's requests read and write it; nobody else can.
    Local,
    /// The other side's requests, by the region's key.
    Remote(Rights),
}

/// Shared memory registered in a protection domain.
#[derive(Debug)]
pub(super) struct Region {
    registration: NonNull<ffi::ibv_mr>,
    memory: Arc<SharedMemory>,
    domain: Arc<ProtectionDomain>,
    local_key: u32,
    remote_key: u32,
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the registration belongs to this value.
unsafe impl Send for Region {}
// SAFETY: shared use reads the keys and the mapping, which are shared memory in any case.
unsafe impl Sync for Region {}

impl Region {
    /// Registers all of `memory`, whose mapping must be writable even for keys that only read: kernels up to 6.1 pin
    /// nothing of a mapping that is not.
    pub(super) fn register(
        domain: Arc<ProtectionDomain>,
        memory: Arc<SharedMemory>,
        access: Access,
    ) -> io::Result<Region> {
        let mut flags = match access {
            Access::Local => ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE,
            Access::Remote(Rights::ReadOnly) => ffi::ibv_access_flags::IBV_ACCESS_REMOTE_READ,
            Access::Remote(Rights::Writable) => {
                ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE
                    | ffi::ibv_access_flags::IBV_ACCESS_REMOTE_READ
                    | ffi::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
            }
        };
        if access == Access::Remote(Rights::Writable) && domain.device().attributes().atomics {
            flags |= ffi::ibv_access_flags::IBV_ACCESS_REMOTE_ATOMIC;
        }
        // SAFETY: the domain is alive; the mapping is `len` bytes from `as_ptr` on and stays mapped while `memory` is
        // held, which is until the registration has ended. Its bytes are shared memory, so the NIC may change them.
        let registration = unsafe {
            ffi::ibv_reg_mr(domain.as_ptr(), memory.as_ptr().cast(), memory.len(), flags.0.cast_signed())
        };
        let registration = NonNull::new(registration).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: a registration is a valid structure that libibverbs does not change before it ends.
        let keys = unsafe { registration.as_ref() };
        let (local_key, remote_key) = (keys.lkey, keys.rkey);
        Ok(Region { registration, memory, domain, local_key, remote_key })
    }

    /// The memory under it.
    pub(super) fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// The protection domain it is in.
    pub(super) fn domain(&self) -> &Arc<ProtectionDomain> {
        &self.domain
    }

    /// The key of this side's requests.
    pub(super) fn local_key(&self) -> u32 {
        self.local_key
    }

    /// The region as the other side must name it.
    pub(super) fn remote_range(&self) -> RemoteRange {
        RemoteRange {
            address: self.memory.as_ptr() as u64,
            length: self.memory.len() as u64,
            key: self.remote_key,
        }
    }

    /// Ends the registration: afterwards its keys open nothing, and no access through them is under way.
    pub(super) fn deregister(self) -> io::Result<()> {
        let mut region = std::mem::ManuallyDrop::new(self);
        let done = region.end();
        // SAFETY: nothing uses the value after this; `ManuallyDrop` keeps `Drop` from ending it a second time.
        let memory = unsafe { std::ptr::read(&raw const region.memory) };
        // SAFETY: as above.
        let domain = unsafe { std::ptr::read(&raw const region.domain) };
        if done.is_err() {
            // The NIC may still reach the memory.
            std::mem::forget((memory, domain));
        }
        done
    }

    fn end(&mut self) -> io::Result<()> {
        // SAFETY: called once, by `deregister` or by `drop`, on a registration that has not ended.
        check(unsafe { ffi::ibv_dereg_mr(self.registration.as_ptr()) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("a memory region could not be deregistered, its memory is leaked: {error}");
            std::mem::forget((Arc::clone(&self.memory), Arc::clone(&self.domain)));
        }
    }
}
