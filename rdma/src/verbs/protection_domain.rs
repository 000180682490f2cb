//! Protection domains: keys of one open nothing to the queue pairs of another.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::verbs::device::Device;
use rdma_mummy_sys as ffi;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

/// A protection domain. What is made in it holds it.
#[derive(Debug)]
pub(super) struct ProtectionDomain {
    domain: NonNull<ffi::ibv_pd>,
    device: Arc<Device>,
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the domain belongs to this value.
unsafe impl Send for ProtectionDomain {}
// SAFETY: libibverbs promises that calls on one domain may be made from several threads at once.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    pub(super) fn new(device: Arc<Device>) -> io::Result<ProtectionDomain> {
        // SAFETY: the context is open as long as `device` is held.
        let domain = unsafe { ffi::ibv_alloc_pd(device.context()) };
        let domain = NonNull::new(domain).ok_or_else(io::Error::last_os_error)?;
        Ok(ProtectionDomain { domain, device })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_pd {
        self.domain.as_ptr()
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: regions and queue pairs of the domain hold it, so none is left; it is freed once.
        if unsafe { ffi::ibv_dealloc_pd(self.domain.as_ptr()) } != 0 {
            tracing::warn!("a protection domain could not be freed: {}", io::Error::last_os_error());
            std::mem::forget(Arc::clone(&self.device));
        }
    }
}
