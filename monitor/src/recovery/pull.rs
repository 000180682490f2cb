//! Pulling sessions out of a target's memory: in batches, and in an order that gives one consistent picture of each session
//! even if the target, which is fenced, still runs.
//!
//! Heads of boxes, records of connections, heads again with what they point at, heads and records once more: a snapshot is one
//! that was there before the record, so the connection had received what it had read; what was written is read behind the
//! record, so it is no less than was sent; and what was overwritten meanwhile shows in the last reading.
//!
//! What was written and never sent is read later, when the sessions speak: where clients are slow that is by far the most.

mod unsent;

pub use unsent::{Unsent, fetch_unsent};

use crate::link::{Link, Region};
use backdoors_continuation_box::connection::streams;
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{BoxView, BoxesView, Ring, Shape, ViewError};
use backdoors_rdma::{AccessError, Operation};
use backdoors_sensor_box::FetchError;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_sensor_box::session::{Received, SessionView, SessionsView, fetch_sessions};
use std::collections::HashMap;
use std::mem::size_of;
use std::ops::Range;
use zerocopy::FromBytes;

/// Most operations of a batch.
const OPERATIONS: usize = 48;
/// Most bytes of a batch, so that none outlasts the deadline of a slow path.
const BYTES: usize = 256 << 10;
const HEAD: usize = size_of::<BoxHead>();

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
    pub boxes: Option<Region>,
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
    let boxes = regions.boxes.map(|region| Boxes::open(link, region)).transpose()?;
    let before = boxes.as_ref().map(|boxes| boxes.heads(link)).transpose()?.unwrap_or_default();
    let table = table(link, &regions.sessions)?;
    let heads = boxes.as_ref().map(|boxes| boxes.heads(link)).transpose()?.unwrap_or_default();
    let mut by_cookie = HashMap::new();
    for (index, head) in heads.iter().enumerate().filter(|(_, head)| head.cookie != 0) {
        by_cookie.entry(head.cookie).and_modify(|known| *known = Err(ViewError::Twice)).or_insert(Ok(index));
    }

    let mut wanted: Vec<&SessionView> =
        table.sessions.iter().filter(|session| session.record.service == service).collect();
    wanted.sort_by_key(|session| std::cmp::Reverse(session.record.changed_at));
    let mut drafts: Vec<Draft<'_>> = wanted
        .into_iter()
        .map(|session| Draft::new(session, &table, &heads, &before, &by_cookie, boxes.as_ref()))
        .collect();
    let mut from_rings = Vec::new();
    let mut from_boxes = Vec::new();
    for draft in &mut drafts {
        draft.received.wanted(&mut from_rings);
        if let Some(Ok(part)) = &mut draft.boxed {
            part.wanted(&mut from_boxes);
        }
    }
    fetch(link, &regions.received, from_rings)?;
    if let Some(boxes) = &boxes {
        fetch(link, &boxes.region, from_boxes)?;
    }
    let after = boxes.as_ref().map(|boxes| boxes.heads(link)).transpose()?.unwrap_or_default();
    let later = self::table(link, &regions.sessions)?;
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

/// The number by which the target knows a service, and the boxes of it.
///
/// # Errors
/// [`PullError::NoService`] if it keeps boxes for no service of that name.
pub fn service_number(link: &mut dyn Link, name: &str) -> Result<(u32, Region), PullError> {
    for number in 0..RegionKind::BOXES {
        let Some(region) = link.region(RegionKind::BOXES_FIRST + number) else { continue };
        let mut head = [0; Shape::HEADER_BYTES];
        crate::link::read(link, &region, 0, &mut head)?;
        if BoxesView::decode(&head).is_ok_and(|boxes| boxes.name == name) {
            return Ok((number, region));
        }
    }
    Err(PullError::NoService(name.to_owned()))
}

fn table(link: &mut dyn Link, region: &Region) -> Result<SessionsView, PullError> {
    let read = |offset, into: &mut [u8]| crate::link::read(link, region, offset, into);
    fetch_sessions(region.range.length, read).map_err(|error| match error {
        FetchError::Access(error) => PullError::Access(error),
        FetchError::Decode(error) => PullError::Table(error),
    })
}

/// Bytes to be read from an offset of a region.
struct Piece<'a> {
    offset: u64,
    into: &'a mut [u8],
}

/// Reads all pieces, in no order, several at once.
fn fetch(link: &mut dyn Link, region: &Region, pieces: Vec<Piece<'_>>) -> Result<(), AccessError> {
    let outside = || AccessError::Invalid("the bytes asked for lie outside the region");
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for Piece { offset, into } in pieces {
        for (part, into) in (0..).zip(into.chunks_mut(BYTES)) {
            let length = into.len();
            if batch.len() == OPERATIONS || (bytes + length > BYTES && !batch.is_empty()) {
                batches.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            let at = offset.saturating_add(part * BYTES as u64);
            let from = region.range.slice(at, length as u64).ok_or_else(outside)?;
            bytes += length;
            batch.push(Operation::Read { from, into });
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    link.submit_all(batches)
}

/// The boxes of a service.
struct Boxes {
    region: Region,
    shape: Shape,
}

impl Boxes {
    fn open(link: &mut dyn Link, region: Region) -> Result<Boxes, PullError> {
        let mut head = [0; Shape::HEADER_BYTES];
        crate::link::read(link, &region, 0, &mut head)?;
        let shape = Shape::decode(&head).map_err(PullError::Boxes)?;
        if shape.region_bytes() as u64 > region.range.length {
            let have = usize::try_from(region.range.length).unwrap_or(usize::MAX);
            return Err(PullError::Boxes(ViewError::Short { have, need: shape.region_bytes() }));
        }
        Ok(Boxes { region, shape })
    }

    fn heads(&self, link: &mut dyn Link) -> Result<Vec<BoxHead>, AccessError> {
        let mut bytes = vec![0; self.shape.capacity as usize * HEAD];
        let heads = (0..).zip(bytes.chunks_exact_mut(HEAD));
        let pieces = heads.map(|(index, into)| Piece { offset: self.shape.box_position(index), into });
        fetch(link, &self.region, pieces.collect())?;
        Ok(bytes.chunks_exact(HEAD).filter_map(|bytes| BoxHead::read_from_bytes(bytes).ok()).collect())
    }
}

/// A session that is being fetched.
struct Draft<'t> {
    session: &'t SessionView,
    received: Stretch,
    boxed: Option<Result<DraftBox, ViewError>>,
}

/// Consecutive bytes of a ring, which go on at its beginning where it ends.
struct Stretch {
    /// Position of the first one.
    start: u64,
    at: [u64; 2],
    /// Bytes before the ring's end.
    upper: usize,
    bytes: Vec<u8>,
}

impl Stretch {
    /// `length` bytes from position `start` on, which lies `first` bytes behind the beginning of a ring of `size` at `ring`.
    fn new(start: u64, length: usize, ring: u64, first: u64, size: u64) -> Stretch {
        let upper = length.min(usize::try_from(size.saturating_sub(first)).unwrap_or(length));
        Stretch { start, at: [ring + first, ring], upper, bytes: vec![0; length] }
    }

    /// `length` written bytes from position `start` on, of a box that holds them.
    fn of_box(shape: Shape, index: usize, start: u64, length: usize) -> Stretch {
        let size = u64::from(shape.ring_bytes);
        let first = if size > 0 { start % size } else { 0 };
        // A box's number is that of its head, which was read, so it is small.
        let ring = shape.box_position(index as u32) + shape.ring_offset() as u64;
        Stretch::new(start, length, ring, first, size)
    }

    fn wanted<'a>(&'a mut self, pieces: &mut Vec<Piece<'a>>) {
        let (upper, lower) = self.bytes.split_at_mut(self.upper);
        for (offset, into) in self.at.into_iter().zip([upper, lower]) {
            if !into.is_empty() {
                pieces.push(Piece { offset, into });
            }
        }
    }
}

impl<'t> Draft<'t> {
    fn new(
        session: &'t SessionView,
        table: &SessionsView,
        heads: &[BoxHead],
        before: &[BoxHead],
        by_cookie: &HashMap<u64, Result<usize, ViewError>>,
        boxes: Option<&Boxes>,
    ) -> Draft<'t> {
        let held = session.held().unwrap_or(0..0);
        let sent = streams(session, &Received { start: held.start, bytes: Vec::new() });
        let sent = sent.acknowledged..sent.sent;
        let boxed = by_cookie.get(&session.cookie).zip(boxes).and_then(|(index, boxes)| match *index {
            Ok(index) => {
                Some(DraftBox::new(boxes.shape, index, before.get(index)?, heads.get(index)?, sent.clone()))
            }
            Err(ref error) => Some(Err(error.clone())),
        });
        // What its application had read as of the snapshot nobody reads again.
        let read = boxed.as_ref().and_then(|boxed| boxed.as_ref().ok()).map_or(0, DraftBox::read);
        let start = held.start.max(read.min(held.end));
        let length = usize::try_from(held.end - start).unwrap_or(0);
        let ring = session.index as u64 * u64::from(table.rings.stride);
        let first = session.received_sequence(start) & (table.rings.bytes - 1);
        let received = Stretch::new(start, length, ring, u64::from(first), u64::from(table.rings.bytes));
        Draft { session, received, boxed }
    }

    fn finish(self, later: &SessionsView, after: &[BoxHead]) -> Found {
        let session = *self.session;
        let received = match (session.held(), later.session(session.cookie)) {
            (None, _) => Err("received bytes of it were missed"),
            (_, None) => Err("it ended meanwhile"),
            (Some(_), Some(now)) => match now.held() {
                None => Err("received bytes of it were missed"),
                Some(held) => {
                    let Stretch { start, mut bytes, .. } = self.received;
                    let overwritten = held.start.saturating_sub(start).min(bytes.len() as u64);
                    bytes.drain(..usize::try_from(overwritten).unwrap_or(usize::MAX).min(bytes.len()));
                    Ok(Received { start: start + overwritten, bytes })
                }
            },
        };
        let unsent = self.boxed.as_ref().and_then(|part| part.as_ref().ok()?.unsent);
        let boxed = self.boxed.map(|part| part.and_then(|part| part.finish(after)));
        Found { session, received, boxed, unsent }
    }
}

/// A box that is being fetched.
struct DraftBox {
    index: usize,
    head: BoxHead,
    /// Number of the snapshot that is taken.
    newest: u64,
    snapshot_at: u64,
    snapshot: Vec<u8>,
    /// What was sent and not acknowledged.
    written: Stretch,
    /// Position behind the last written byte that is held and needed.
    end: u64,
    unsent: Option<Unsent>,
    ring: u64,
}

impl DraftBox {
    /// `sent` are the positions of what was sent and not acknowledged.
    fn new(
        shape: Shape,
        index: usize,
        before: &BoxHead,
        head: &BoxHead,
        sent: Range<u64>,
    ) -> Result<DraftBox, ViewError> {
        // If it was made meanwhile there was no snapshot before.
        let newest = if before.cookie == head.cookie { before.newest } else { 0 };
        let export = head.exports[(newest % 2) as usize];
        let room = shape.snapshot_bytes;
        if newest > 0 && export.length > u64::from(room) {
            return Err(ViewError::Length { length: export.length, room });
        }
        if shape.ring_bytes > 0 && head.filled < head.written {
            return Err(ViewError::Filled { filled: head.filled, written: head.written });
        }
        let length = if newest > 0 { usize::try_from(export.length).unwrap_or(0) } else { 0 };
        // A box's number is that of its head, which was read, so it is small.
        let offset = shape.box_position(index as u32);
        let ring = u64::from(shape.ring_bytes);
        // What was written after the snapshot and never sent is written again, unless the application is done.
        let needed = sent.end.max(match (head.ended, newest) {
            (0, 0) => 0,
            (0, _) => export.written,
            _ => head.written,
        });
        let is_held = head.filled.saturating_sub(sent.start) <= ring;
        // What does not fit the ring was overwritten: the plan finds that.
        let end = if is_held { head.filled.min(needed).max(sent.start) } else { sent.start };
        let from = end.min(sent.end);
        let flight = usize::try_from(from - sent.start).unwrap_or(0);
        let written = Stretch::of_box(shape, index, sent.start, flight);
        let unsent = (from < end).then_some(Unsent { index, cookie: head.cookie, from, to: end });
        let head = BoxHead { written: head.written.min(needed), ..*head };
        let snapshot_at = offset + shape.buffer_offset(newest) as u64;
        Ok(DraftBox {
            index,
            head,
            newest,
            snapshot_at,
            snapshot: vec![0; length],
            written,
            end,
            unsent,
            ring,
        })
    }

    /// Position up to which nothing that was received is needed.
    fn read(&self) -> u64 {
        match (self.head.ended, self.newest) {
            (0, 0) => 0,
            (0, newest) => self.head.exports[(newest % 2) as usize].read,
            _ => u64::MAX,
        }
    }

    fn wanted<'a>(&'a mut self, pieces: &mut Vec<Piece<'a>>) {
        if !self.snapshot.is_empty() {
            pieces.push(Piece { offset: self.snapshot_at, into: &mut self.snapshot });
        }
        self.written.wanted(pieces);
    }

    fn finish(self, after: &[BoxHead]) -> Result<BoxView, ViewError> {
        let now =
            after.get(self.index).filter(|now| now.cookie == self.head.cookie).ok_or(ViewError::Replaced)?;
        let Stretch { start, bytes, .. } = self.written;
        if now.filled.saturating_sub(self.ring) > start && self.end > start {
            return Err(ViewError::Replaced);
        }
        // Exported over while it was read.
        if now.exports[(self.newest % 2) as usize].number != self.newest {
            return Err(ViewError::Replaced);
        }
        let ring = (self.ring > 0).then(|| Ring { start, end: self.end, bytes: bytes.into() });
        BoxView::of(&self.head, self.newest, &self.snapshot, ring)
    }
}

#[cfg(test)]
mod tests;
