//! One session on its way here: what of it must be read, and what that says.

use super::reading::{Boxes, Piece, pieces};
use super::{Found, Regions, Unsent};
use crate::link::Region;
use backdoors_continuation_box::connection::streams;
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{BoxView, Ring, Shape, ViewError};
use backdoors_rdma::AccessError;
use backdoors_sensor_box::session::{Received, SessionView, SessionsView};
use std::collections::HashMap;
use std::ops::Range;

/// A session that is being fetched.
pub(super) struct Draft<'t> {
    session: &'t SessionView,
    received: Stretch,
    boxed: Option<Result<DraftBox, ViewError>>,
}

/// Consecutive bytes of a ring, which go on at its beginning where it ends.
pub(super) struct Stretch {
    /// Position of the first one.
    start: u64,
    at: [u64; 2],
    /// Bytes before the ring's end.
    upper: usize,
    pub bytes: Vec<u8>,
}

impl Stretch {
    /// `length` bytes from position `start` on, which lies `first` bytes behind the beginning of a ring of `size` at `ring`.
    fn new(start: u64, length: usize, ring: u64, first: u64, size: u64) -> Stretch {
        let upper = length.min(usize::try_from(size.saturating_sub(first)).unwrap_or(length));
        Stretch { start, at: [ring + first, ring], upper, bytes: vec![0; length] }
    }

    /// `length` written bytes from position `start` on, of a box that holds them.
    pub fn of_box(shape: Shape, index: usize, start: u64, length: usize) -> Stretch {
        let size = u64::from(shape.ring_bytes);
        let first = if size > 0 { start % size } else { 0 };
        // A box's number is that of its head, which was read, so it is small.
        let ring = shape.box_position(index as u32) + shape.ring_offset() as u64;
        Stretch::new(start, length, ring, first, size)
    }

    pub fn wanted<'a>(&'a mut self, region: &Region, all: &mut Vec<Piece<'a>>) -> Result<(), AccessError> {
        let (upper, lower) = self.bytes.split_at_mut(self.upper);
        let both = self.at.into_iter().zip([upper, lower]);
        all.extend(pieces(region, both.filter(|(_, into)| !into.is_empty()))?);
        Ok(())
    }
}

impl<'t> Draft<'t> {
    pub fn new(
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

    pub fn wanted<'a>(&'a mut self, regions: &Regions, all: &mut Vec<Piece<'a>>) -> Result<(), AccessError> {
        self.received.wanted(&regions.received, all)?;
        match (&mut self.boxed, &regions.boxes) {
            (Some(Ok(part)), Some(boxes)) => part.wanted(&boxes.region, all),
            _ => Ok(()),
        }
    }

    pub fn finish(self, later: &SessionsView, after: &[BoxHead]) -> Found {
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

    fn wanted<'a>(&'a mut self, region: &Region, all: &mut Vec<Piece<'a>>) -> Result<(), AccessError> {
        if !self.snapshot.is_empty() {
            all.extend(pieces(region, [(self.snapshot_at, &mut self.snapshot[..])])?);
        }
        self.written.wanted(region, all)
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
