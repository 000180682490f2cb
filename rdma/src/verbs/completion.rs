//! Completion queues, and waiting for them.
#![allow(unsafe_code, reason = "calls libibverbs")]

use crate::verbs::completion_channel::CompletionChannel;
use crate::verbs::device::{Device, check};
use rdma_mummy_sys as ffi;
use std::io;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks at the queue between two looks at the clock, which may be a call into the kernel.
const LOOKS: u32 = 256;
/// Until then the processor is kept: a small READ is answered within.
const SPIN: Duration = Duration::from_micros(200);
/// Until then it is offered to others between looks; later this thread sleeps.
const YIELD: Duration = Duration::from_millis(1);
/// A sleep is this part of the time already waited, so waiting adds no more than that.
const SLEEP_SHARE: u32 = 16;
/// Longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_millis(1);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// The number its poster gave it.
    pub(super) request: u64,
    /// An `ibv_wc_status`.
    pub(super) status: ffi::ibv_wc_status::Type,
}

/// A completion queue that is polled, and that can tell when to.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    queue: NonNull<ffi::ibv_cq>,
    channel: Option<Arc<CompletionChannel>>,
    device: Arc<Device>,
}

// SAFETY: libibverbs promises that its calls may be made from any thread; the queue belongs to this value.
unsafe impl Send for CompletionQueue {}
// SAFETY: libibverbs locks the queue in `ibv_poll_cq`, so several threads may poll it.
unsafe impl Sync for CompletionQueue {}

impl CompletionQueue {
    /// Makes a queue that holds `depth` completions; more at once would overrun it.
    pub(super) fn new(device: Arc<Device>, depth: u32) -> io::Result<CompletionQueue> {
        CompletionQueue::with_channel(device, depth, None)
    }

    /// The same, with a channel that tells when a completion comes.
    pub(super) fn that_tells(device: Arc<Device>, depth: u32) -> io::Result<CompletionQueue> {
        let channel = CompletionChannel::new(Arc::clone(&device))?;
        CompletionQueue::with_channel(device, depth, Some(Arc::new(channel)))
    }

    fn with_channel(
        device: Arc<Device>,
        depth: u32,
        channel: Option<Arc<CompletionChannel>>,
    ) -> io::Result<CompletionQueue> {
        let depth = i32::try_from(depth).map_err(|_| io::ErrorKind::InvalidInput)?;
        let told = channel.as_ref().map_or(std::ptr::null_mut(), |channel| channel.as_ptr());
        // SAFETY: the context is open as long as `device` is held; the channel, if any, is alive and of that context;
        // there is no context of ours.
        let queue = unsafe { ffi::ibv_create_cq(device.context(), depth, std::ptr::null_mut(), told, 0) };
        let queue = NonNull::new(queue).ok_or_else(io::Error::last_os_error)?;
        Ok(CompletionQueue { queue, channel, device })
    }

    /// The channel, if it has one.
    pub(super) fn channel(&self) -> Option<&Arc<CompletionChannel>> {
        self.channel.as_ref()
    }

    /// Has the next completion told through the channel, once. One that came before is not.
    pub(super) fn arm(&self) -> io::Result<()> {
        // SAFETY: the queue is alive.
        check(unsafe { ffi::ibv_req_notify_cq(self.queue.as_ptr(), 0) })
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_cq {
        self.queue.as_ptr()
    }

    /// Takes a completion, if there is one.
    #[inline]
    pub(super) fn poll(&self) -> io::Result<Option<Completion>> {
        let mut completion = MaybeUninit::<ffi::ibv_wc>::uninit();
        // SAFETY: the queue is alive; `completion` is a place for one.
        let taken = unsafe { ffi::ibv_poll_cq(self.queue.as_ptr(), 1, completion.as_mut_ptr()) };
        match taken {
            0 => Ok(None),
            1 => {
                let completion = completion.as_ptr();
                // SAFETY: the call says that it has filled one completion; number and status are always set.
                let request = unsafe { (*completion).wr_id };
                // SAFETY: as above.
                let status = unsafe { (*completion).status };
                Ok(Some(Completion { request, status }))
            }
            _ => Err(io::Error::other("the completion queue cannot be polled")),
        }
    }

    /// Waits for a completion, at most about as long as `deadline`. It keeps the processor for a short while only, so
    /// that neither a dead target nor soft-RoCE on a machine with one processor make it starve others.
    pub(super) fn wait(&self, deadline: Duration) -> io::Result<Waited> {
        let mut since = None;
        loop {
            for _ in 0..LOOKS {
                let completion = self.poll()?;
                if completion.is_some() {
                    return Ok(Waited { completion, since });
                }
                // No `spin_loop` here: in a virtual machine it can give the processor to the hypervisor.
            }
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            if waited >= deadline {
                return Ok(Waited { completion: None, since });
            }
            if waited >= YIELD {
                std::thread::sleep((waited / SLEEP_SHARE).min(LONGEST_SLEEP).min(deadline - waited));
            } else if waited >= SPIN {
                std::thread::yield_now();
            }
        }
    }
}

/// What came of waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waited {
    /// The completion, unless the deadline passed without one.
    pub(super) completion: Option<Completion>,
    /// When the clock was first looked at, if it was: what ends at once ends before that.
    since: Option<Instant>,
}

impl Waited {
    /// For how long, but for the first microseconds.
    pub(super) fn duration(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: queue pairs that use it hold it, so none is left; it is destroyed once, before its channel.
        if unsafe { ffi::ibv_destroy_cq(self.queue.as_ptr()) } != 0 {
            tracing::warn!("a completion queue could not be destroyed: {}", io::Error::last_os_error());
            std::mem::forget((self.channel.take(), Arc::clone(&self.device)));
        }
    }
}
