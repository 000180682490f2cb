//! Reading many pieces of a target's memory, in order where that matters.

use super::{PullError, Regions};
use crate::link::{Link, Region};
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{Shape, ViewError};
use backdoors_rdma::{AccessError, Operation, RemoteRange};
use std::mem::size_of;
use zerocopy::FromBytes;

/// Most operations of a batch.
pub(super) const OPERATIONS: usize = 48;
/// Most bytes of a batch, so that none outlasts the deadline of a slow path.
const BYTES: usize = 256 << 10;
const HEAD: usize = size_of::<BoxHead>();

/// Remote bytes, and where they go to.
pub(super) struct Piece<'a> {
    from: RemoteRange,
    into: &'a mut [u8],
}

/// Pieces of a region, each with its offset, none of them too long for a batch.
pub(super) fn pieces<'a>(
    region: &Region,
    wanted: impl IntoIterator<Item = (u64, &'a mut [u8])>,
) -> Result<Vec<Piece<'a>>, AccessError> {
    let outside = || AccessError::Invalid("the bytes asked for lie outside the region");
    let cut = wanted.into_iter().flat_map(|(offset, into)| {
        (0..)
            .zip(into.chunks_mut(BYTES))
            .map(move |(part, into)| (offset.saturating_add(part * BYTES as u64), into))
    });
    cut.map(|(at, into)| {
        let from = region.range.slice(at, into.len() as u64).ok_or_else(outside)?;
        Ok(Piece { from, into })
    })
    .collect()
}

/// Reads all pieces, those of one phase after those of the phase before. In one round trip, if that is little.
pub(super) fn fetch_in_order<const PHASES: usize>(
    link: &mut dyn Link,
    phases: [Vec<Piece<'_>>; PHASES],
) -> Result<(), AccessError> {
    let all = || phases.iter().flatten();
    if all().count() <= OPERATIONS && all().map(|piece| piece.into.len()).sum::<usize>() <= BYTES {
        let mut batch: Vec<Operation<'_>> = phases.into_iter().flatten().map(Piece::operation).collect();
        return if batch.is_empty() { Ok(()) } else { link.submit(&mut batch) };
    }
    phases.into_iter().try_for_each(|phase| fetch(link, phase))
}

/// Reads all pieces, in no order, several at once.
fn fetch(link: &mut dyn Link, pieces: Vec<Piece<'_>>) -> Result<(), AccessError> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for piece in pieces {
        let length = piece.into.len();
        if batch.len() == OPERATIONS || (bytes + length > BYTES && !batch.is_empty()) {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += length;
        batch.push(piece.operation());
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    link.submit_all(batches)
}

impl<'a> Piece<'a> {
    fn operation(self) -> Operation<'a> {
        Operation::Read { from: self.from, into: self.into }
    }
}

/// The boxes of a service.
#[derive(Clone, Copy, Debug)]
pub struct Boxes {
    pub(super) region: Region,
    pub(super) shape: Shape,
}

impl Boxes {
    /// What of a region's header must be known to read them.
    ///
    /// # Errors
    /// [`PullError::Boxes`].
    pub fn new(region: Region, header: &[u8]) -> Result<Boxes, PullError> {
        let shape = Shape::decode(header).map_err(PullError::Boxes)?;
        if shape.region_bytes() as u64 > region.range.length {
            let have = usize::try_from(region.range.length).unwrap_or(usize::MAX);
            return Err(PullError::Boxes(ViewError::Short { have, need: shape.region_bytes() }));
        }
        Ok(Boxes { region, shape })
    }

    /// Reads a region's header.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn open(link: &mut dyn Link, region: Region) -> Result<Boxes, PullError> {
        let mut header = [0; Shape::HEADER_BYTES];
        crate::link::read(link, &region, 0, &mut header)?;
        Boxes::new(region, &header)
    }
}

/// Heads of all boxes.
pub(super) struct Heads {
    bytes: Vec<u8>,
}

impl Heads {
    pub fn room(regions: &Regions) -> Heads {
        Heads::of(regions.boxes.as_ref())
    }

    pub fn of(boxes: Option<&Boxes>) -> Heads {
        Heads { bytes: vec![0; boxes.map_or(0, |boxes| boxes.shape.capacity as usize) * HEAD] }
    }

    pub fn wanted(&mut self, regions: &Regions) -> Result<Vec<Piece<'_>>, AccessError> {
        regions.boxes.as_ref().map_or(Ok(Vec::new()), |boxes| self.wanted_of(boxes))
    }

    pub fn wanted_of(&mut self, boxes: &Boxes) -> Result<Vec<Piece<'_>>, AccessError> {
        let heads = (0..).zip(self.bytes.chunks_exact_mut(HEAD));
        pieces(&boxes.region, heads.map(|(index, into)| (boxes.shape.box_position(index), into)))
    }

    pub fn read(&self) -> Vec<BoxHead> {
        self.bytes.chunks_exact(HEAD).filter_map(|bytes| BoxHead::read_from_bytes(bytes).ok()).collect()
    }
}
