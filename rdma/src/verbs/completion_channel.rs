//! Completion channels: file descriptors that become readable when a completion comes.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::verbs::device::Device;
use rdma_mummy_sys as ffi;
use rustix::fs::OFlags;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A channel for the events of one completion queue, which holds it. Taking an event never waits.
#[derive(Debug)]
pub(super) struct CompletionChannel {
    channel: NonNull<ffi::ibv_comp_channel>,
    device: Arc<Device>,
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the channel belongs to this value.
unsafe impl Send for CompletionChannel {}
// SAFETY: libibverbs promises that calls on one channel may be made from several threads at once.
unsafe impl Sync for CompletionChannel {}

impl CompletionChannel {
    pub(super) fn new(device: Arc<Device>) -> io::Result<CompletionChannel> {
        // SAFETY: the context is open as long as `device` is held.
        let channel = unsafe { ffi::ibv_create_comp_channel(device.context()) };
        let channel = NonNull::new(channel).ok_or_else(io::Error::last_os_error)?;
        let channel = CompletionChannel { channel, device };
        let flags = rustix::fs::fcntl_getfl(&channel)?;
        rustix::fs::fcntl_setfl(&channel, flags | OFlags::NONBLOCK)?;
        Ok(channel)
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_comp_channel {
        self.channel.as_ptr()
    }

    /// Takes an event of the queue it belongs to, and acknowledges it; `false` if there is none.
    ///
    /// The queue must be alive.
    pub(super) fn take_event(&self) -> io::Result<bool> {
        let (mut queue, mut context) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the channel is alive; the others are places for pointers.
        let code = unsafe { ffi::ibv_get_cq_event(self.channel.as_ptr(), &raw mut queue, &raw mut context) };
        if code != 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) };
        }
        // SAFETY: the queue is the one whose event was just taken, and it is alive. Destroying it waits for this call.
        unsafe { ffi::ibv_ack_cq_events(queue, 1) };
        Ok(true)
    }
}

impl AsFd for CompletionChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a channel is a valid structure.
        let fd = unsafe { (*self.channel.as_ptr()).fd };
        // SAFETY: its descriptor is open until the channel is destroyed, when `self` is dropped.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: the queue that uses it is destroyed before; it is destroyed once.
        if unsafe { ffi::ibv_destroy_comp_channel(self.channel.as_ptr()) } != 0 {
            tracing::warn!("a completion channel could not be destroyed: {}", io::Error::last_os_error());
            std::mem::forget(Arc::clone(&self.device));
        }
    }
}
