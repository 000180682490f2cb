//! What the lease asks for and tells.

use backdoors_sensor_box::{Candidacy, LeaseWord};
use std::time::Duration;

/// What to do next. Answer each but [`Action::Wait`]; an answer that does not come counts as lost after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the lease table; then [`super::Lease::read`], or [`super::Lease::failed`].
    Read,
    /// Compare-and-swap the lease word; then [`super::Lease::swapped`], or [`super::Lease::failed`].
    CompareAndSwap {
        /// The word it must be.
        expected: LeaseWord,
        /// The word it gets.
        new: LeaseWord,
    },
    /// Write this monitor's candidacy ([`backdoors_sensor_box::LeaseView::candidacy_offset`]); then [`super::Lease::announced`], or
    /// [`super::Lease::failed`].
    Announce(Candidacy),
    /// Nothing before this time.
    Wait(Duration),
}

/// Something worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// This monitor holds the lease now.
    Took {
        /// In this term.
        term: u32,
        /// Slot of the one whose lease had run out; `None` if it was free, or this monitor's own before it restarted.
        from: Option<u32>,
    },
    /// This monitor gave the lease up.
    Released(Release),
    /// Another took it, or it is nobody's.
    Lost {
        /// Slot of the new holder, if there is one.
        to: Option<u32>,
    },
}

/// Why a holder gives the lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is not fit, and the monitor of this slot is.
    HandOver(u32),
    /// The monitor of this slot is preferred, and fit again.
    TakeBack(u32),
    /// It stops.
    Resignation,
}

/// How things stand, for screens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Slot of the holder, as last read; `None` if there is none or nothing was read.
    pub holder: Option<u32>,
    /// Term of the lease, as last read.
    pub term: u32,
    /// Until when this monitor holds it, on the monotonic clock.
    pub held_until: Option<Duration>,
}
