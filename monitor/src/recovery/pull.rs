//! Pulling sessions out of a target's memory: in batches, and in an order that gives one consistent picture of each session
//! even if the target, which is fenced, still runs.
//!
//! Heads of boxes, records of connections, twice, heads again with what they point at, heads and records once more. A record that
//! is the same twice was not being written; a snapshot is one that was there before the record, so the connection had received
//! what it had read; what was written is read behind the record, so it is no less than was sent; and what was overwritten
//! meanwhile shows in the last reading. Where that is little, it takes two round trips: the operations of a batch are carried out
//! in their order.
//!
//! What was written and never sent is read later, when the sessions speak: where clients are slow that is by far the most.

mod draft;
mod reading;
mod survey;
mod unsent;

pub use reading::Boxes;
pub use survey::{Ages, BoxCounts, Surveyed, SurveyedSession, survey};
pub use unsent::{Unsent, fetch_unsent};

use crate::link::{Link, Region};
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{BoxView, BoxesView, Shape, ViewError};
use backdoors_rdma::AccessError;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::session::{
    Received, SessionView, SessionsView, session_table_room, settle_sessions,
};
use draft::Draft;
use reading::{Heads, fetch_in_order, pieces};
use std::collections::HashMap;

/// Why nothing can be pulled. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The memory cannot be read.
    #[error("the target's memory cannot be read: {0}; nothing was changed, try again")]
    Access(#[from] AccessError),
    /// The target captures no connections.
    #[error(
        "the target captures no live connections: its agent needs a [[service]], and a kernel half that can capture"
    )]
    NotCaptured,
    /// What is there is no session table.
    #[error("the target's session table cannot be read: {0}; nothing was changed")]
    Table(backdoors_sensor_box::DecodeError),
    /// No such service.
    #[error(
        "the target keeps no boxes for a service `{0}`: add it to its agent's configuration, with that name"
    )]
    NoService(String),
    /// What is there are no boxes.
    #[error("the boxes of the service cannot be read: {0}; nothing was changed")]
    Boxes(ViewError),
}

/// The regions that sessions are in.
#[derive(Clone, Copy, Debug)]
pub struct Regions {
    /// Records of connections.
    pub sessions: Region,
    /// Rings of what they received.
    pub received: Region,
    /// Boxes of the service's application; none if no application ever attached.
    pub boxes: Option<Boxes>,
}

/// A session as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The connection.
    pub session: SessionView,
    /// What it received and is held; why nothing is, if nothing is.
    pub received: Result<Received, &'static str>,
    /// Its box, if it has one. Of what was written it holds what the session needs to go on, and what was sent of that is here.
    pub boxed: Option<Result<BoxView, ViewError>>,
    /// What was written and never sent, and is still to be fetched.
    pub unsent: Option<Unsent>,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Sessions, the ones that changed last first.
    pub sessions: Vec<Found>,
    /// Why records could not be read: they make no sense, or stayed torn. Which service's they are is not known.
    pub unreadable: Vec<&'static str>,
    /// Connections that found no free record, ever.
    pub unrecorded: u64,
}

/// Pulls the sessions of the service that is number `service` in the target's configuration.
///
/// # Errors
/// [`PullError`]. What is wrong with one session is told with that session.
pub fn pull(link: &mut dyn Link, regions: &Regions, service: u32) -> Result<Pulled, PullError> {
    let First { before, table, heads } = first_look(link, regions)?;
    let mut by_cookie = HashMap::new();
    for (index, head) in heads.iter().enumerate().filter(|(_, head)| head.cookie != 0) {
        by_cookie.entry(head.cookie).and_modify(|known| *known = Err(ViewError::Twice)).or_insert(Ok(index));
    }

    let mut wanted: Vec<&SessionView> =
        table.sessions.iter().filter(|session| session.record.service == service).collect();
    wanted.sort_by_key(|session| std::cmp::Reverse(session.record.changed_at));
    let mut drafts: Vec<Draft<'_>> = wanted
        .into_iter()
        .map(|session| Draft::new(session, &table, &heads, &before, &by_cookie, regions.boxes.as_ref()))
        .collect();
    let mut bytes = Vec::new();
    for draft in &mut drafts {
        draft.wanted(regions, &mut bytes)?;
    }
    let mut after = Heads::room(regions);
    let mut later = vec![0; session_table_room(regions.sessions.range.length)];
    let last = [after.wanted(regions)?, pieces(&regions.sessions, [(0, &mut later[..])])?];
    let [heads_after, table_after] = last;
    fetch_in_order(link, [bytes, heads_after, table_after])?;
    let (after, later) = (after.read(), settled(link, &regions.sessions, &later)?);
    Ok(Pulled {
        sessions: drafts.into_iter().map(|draft| draft.finish(&later, &after)).collect(),
        unreadable: table
            .refused
            .iter()
            .map(|refused| refused.why)
            .chain(table.torn.iter().map(|_| "it was being written at every reading"))
            .collect(),
        unrecorded: table.unrecorded,
    })
}

/// What is read before anything that it points at.
struct First {
    before: Vec<BoxHead>,
    table: SessionsView,
    heads: Vec<BoxHead>,
}

fn first_look(link: &mut dyn Link, regions: &Regions) -> Result<First, PullError> {
    let (mut before, mut heads) = (Heads::room(regions), Heads::room(regions));
    let [mut first, mut second] =
        [(); 2].map(|()| vec![0; session_table_room(regions.sessions.range.length)]);
    let table = |bytes| pieces(&regions.sessions, [(0, bytes)]);
    let (once, twice) = (table(&mut first)?, table(&mut second)?);
    fetch_in_order(link, [before.wanted(regions)?, once, twice, heads.wanted(regions)?])?;
    let mut table = SessionsView::decode_twice(&first, &second).map_err(PullError::Table)?;
    if !table.torn.is_empty() || !table.refused.is_empty() {
        settle(link, &regions.sessions, &mut table)?;
        // They must be of after the records.
        fetch_in_order(link, [heads.wanted(regions)?])?;
    }
    Ok(First { before: before.read(), table, heads: heads.read() })
}

fn settle(link: &mut dyn Link, region: &Region, table: &mut SessionsView) -> Result<(), AccessError> {
    settle_sessions(table, |offset, into: &mut [u8]| crate::link::read(link, region, offset, into))
}

fn settled(link: &mut dyn Link, region: &Region, bytes: &[u8]) -> Result<SessionsView, PullError> {
    let mut table = SessionsView::decode(bytes).map_err(PullError::Table)?;
    settle(link, region, &mut table)?;
    Ok(table)
}

/// The number by which the target knows a service, and the boxes of it.
///
/// # Errors
/// [`PullError::NoService`] if it keeps boxes for no service of that name.
pub fn service_number(link: &mut dyn Link, name: &str) -> Result<(u32, Boxes), PullError> {
    for number in 0..RegionKind::BOXES {
        if let Some(service) = service(link, number)?.filter(|service| service.name == name) {
            return Ok((number, service.boxes()?));
        }
    }
    Err(PullError::NoService(name.to_owned()))
}

/// A service that the target keeps boxes for.
struct Service {
    name: String,
    region: Region,
    header: [u8; Shape::HEADER_BYTES],
}

impl Service {
    fn boxes(&self) -> Result<Boxes, PullError> {
        Boxes::new(self.region, &self.header)
    }
}

/// The service with this number, if there is one. A region that is just being made is none yet.
fn service(link: &mut dyn Link, number: u32) -> Result<Option<Service>, AccessError> {
    let Some(region) = link.region(RegionKind::BOXES_FIRST + number) else { return Ok(None) };
    let mut header = [0; Shape::HEADER_BYTES];
    crate::link::read(link, &region, 0, &mut header)?;
    Ok(BoxesView::decode(&header).ok().map(|boxes| Service { name: boxes.name, region, header }))
}

#[cfg(test)]
mod tests;
