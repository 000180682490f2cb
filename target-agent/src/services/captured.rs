//! What the kernel half has of the sessions' connections.

use crate::memory::TargetMemory;
use crate::words::Words;
use backdoors_rdma::memory::OutOfRange;
use backdoors_sensor_box::session::Received;
use backdoors_sensor_box::{SessionsView, fetch_received, fetch_sessions};
use std::collections::BTreeMap;
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
}

impl CapturedSessions {
    /// Reads this memory.
    #[must_use]
    pub fn new(memory: Arc<TargetMemory>) -> CapturedSessions {
        CapturedSessions { memory, view: SessionsView::default(), places: BTreeMap::new() }
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
