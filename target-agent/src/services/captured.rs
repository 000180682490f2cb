//! What the kernel half has of the sessions' connections.

use crate::kernel::Move;
use crate::memory::TargetMemory;
use crate::words::Words;
use backdoors_continuation_box::service::message::Offer;
use backdoors_rdma::memory::OutOfRange;
use backdoors_sensor_box::session::{Received, Rings};
use backdoors_sensor_box::writer::SessionTable;
use backdoors_sensor_box::{SessionsView, fetch_received, fetch_sessions};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// What connections received.
pub trait Captured {
    /// Looks at which connections there are.
    fn look(&mut self);
    /// The bytes that the connection with this cookie received last, as far as they are held; `None` if nothing is sure.
    fn received(&self, cookie: u64) -> Option<Received>;
}

/// The kernel half's own memory; it has none where connections are not captured.
#[derive(Debug)]
pub struct CapturedSessions {
    memory: Arc<TargetMemory>,
    view: SessionsView,
    /// Places in the view, by cookie.
    places: BTreeMap<u64, usize>,
    rings: Rings,
    receive_cap: u32,
}

impl CapturedSessions {
    /// Reads this memory.
    #[must_use]
    pub fn new(memory: Arc<TargetMemory>) -> CapturedSessions {
        let table = memory.sessions.as_ref().and_then(|sessions| {
            SessionTable::adopt(sessions.table.words.clone()).ok().map(|table| table.header())
        });
        let (rings, receive_cap) = table.map_or((Rings::default(), 0), |header| {
            (Rings { bytes: header.ring_bytes, stride: header.ring_stride }, header.receive_cap)
        });
        CapturedSessions {
            memory,
            view: SessionsView::default(),
            places: BTreeMap::new(),
            rings,
            receive_cap,
        }
    }
}

/// Why a connection that was rebuilt here is not captured. It goes on all the same, unprotected.
#[derive(Debug, thiserror::Error)]
pub enum NotTakenIn {
    /// All records are taken, or it was made where nothing is captured.
    #[error(
        "the kernel half has no record for it: raise the service's `sessions`, and see that the monitor that rebuilds connections \
         is within `service_cgroup`"
    )]
    NoRecord,
    /// It had more unread than a ring holds.
    #[error("{0} bytes are to be read again, more than a ring holds: raise the service's `ring`")]
    TooMuch(u64),
    /// What it received and nobody has read did not come along, or not all of it.
    #[error("of {told} bytes that it received and nobody has read {came} came along")]
    Unread {
        /// By the plan.
        told: u64,
        /// Bytes that came.
        came: usize,
    },
    /// The kernel half cannot be told.
    #[error("the kernel half cannot be told: {0}")]
    Kernel(#[from] libbpf_rs::Error),
    /// The memory of the rings is not as it was laid out.
    #[error("its ring lies outside of the rings' memory")]
    Outside(#[from] OutOfRange),
}

impl CapturedSessions {
    /// Has a connection captured that was rebuilt here, and is silent yet: puts the received bytes that nobody has read, `unread`, into
    /// its ring, and tells the kernel half where in its streams it is. From its first packet on its record is shown.
    ///
    /// # Errors
    /// [`NotTakenIn`].
    pub fn take_in(&self, socket: BorrowedFd<'_>, offer: &Offer, unread: &[u8]) -> Result<(), NotTakenIn> {
        let Some((sessions, plan)) = self.memory.sessions.as_ref().zip(offer.plan()) else { return Ok(()) };
        let record = sessions.moves.record(socket)?.ok_or(NotTakenIn::NoRecord)?;
        let Rings { bytes: ring, stride } = self.rings;
        let count = plan.unread.end.saturating_sub(plan.unread.start);
        let Some(length) = usize::try_from(count).ok().filter(|length| *length <= ring as usize) else {
            return Err(NotTakenIn::TooMuch(count));
        };
        if unread.len() != length {
            return Err(NotTakenIn::Unread { told: count, came: unread.len() });
        }
        let at = offer.sequences();
        let first = (at.received & (ring - 1)) as usize;
        let (upper, lower) = unread.split_at(length.min(ring as usize - first));
        let start = record * stride as usize;
        let memory = sessions.rings.words.memory();
        memory.write_bytes(start + first, upper)?;
        memory.write_bytes(start, lower)?;
        Ok(sessions.moves.tell(
            socket,
            &Move {
                received: plan.unread.start,
                sent: plan.unacknowledged.start,
                received_sequence: at.received,
                sent_sequence: at.sent,
                held_end: at.received.wrapping_add(length as u32),
                reserved: 0,
            },
        )?)
    }

    /// The receive buffer that every captured connection is given at most, bytes; `None` where nothing is captured.
    #[must_use]
    pub fn receive_cap(&self) -> Option<usize> {
        self.memory.sessions.as_ref().map(|_| self.receive_cap as usize)
    }
}

impl Captured for CapturedSessions {
    fn look(&mut self) {
        self.places.clear();
        let Some(sessions) = &self.memory.sessions else { return };
        match fetch_sessions(sessions.table.len() as u64, reader(&sessions.table.words)) {
            Ok(view) => {
                let cookies = view.sessions.iter().map(|session| session.cookie);
                self.places = cookies.zip(0..).collect();
                self.view = view;
            }
            Err(error) => tracing::warn!(%error, "what sessions received is not known"),
        }
    }

    fn received(&self, cookie: u64) -> Option<Received> {
        let sessions = self.memory.sessions.as_ref()?;
        let session = self.view.sessions.get(*self.places.get(&cookie)?)?;
        let (table, rings) = (reader(&sessions.table.words), reader(&sessions.rings.words));
        let received = fetch_received(&self.view, session, table, rings);
        received
            .inspect_err(|error| tracing::info!(cookie, %error, "what a session received is not held"))
            .ok()
    }
}

fn reader(words: &Words) -> impl Fn(u64, &mut [u8]) -> Result<(), OutOfRange> {
    let memory = words.memory();
    move |offset, into| memory.read_bytes(usize::try_from(offset).map_err(|_| OutOfRange)?, into)
}
