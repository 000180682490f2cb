//! A target that is looked after, wherever it is.

use crate::sampler::{Request, Sampler};
use rustix::event::epoll;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// A sampler, and what others ask of it.
pub(super) struct Patient {
    pub(super) sampler: Sampler,
    /// When to glance at it again.
    pub(super) wake: Duration,
    requests: Receiver<Request>,
    /// The link whose descriptors are watched, by the number of links before it.
    watched: u64,
}

/// What others asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nothing,
    Something,
    /// And never will.
    NoMore,
}

impl Patient {
    pub(super) fn new(sampler: Sampler, requests: Receiver<Request>) -> Patient {
        Patient { sampler, wake: Duration::ZERO, requests, watched: 0 }
    }

    /// Hands requests to the sampler.
    pub(super) fn take_requests(&mut self) -> Asked {
        let mut asked = Asked::Nothing;
        loop {
            match self.requests.try_recv() {
                Ok(request) => self.sampler.request(request),
                Err(TryRecvError::Empty) => return asked,
                Err(TryRecvError::Disconnected) => return Asked::NoMore,
            }
            asked = Asked::Something;
        }
    }

    /// Watches the descriptors of a link that is new. Those of an earlier link were closed with it.
    pub(super) fn watch(&mut self, epoll: &OwnedFd, number: u64) {
        if self.watched == self.sampler.links() {
            return;
        }
        self.watched = self.sampler.links();
        self.sampler.watch(&mut |descriptor| {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            if let Err(error) = epoll::add(epoll, descriptor, epoll::EventData::new_u64(number), flags) {
                // Its answers are seen when the next sample is due.
                tracing::warn!("a connection cannot be watched: {error}");
            }
        });
    }
}
