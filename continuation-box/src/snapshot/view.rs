//! What is read of a box from outside: of a machine that stands still, or of one that lives and changes it meanwhile.

use super::layout::{
    BEING_MADE, BoxHead, BoxesHeader, ExportHead, LEAST_RING, MAGIC, Shape, ShapeError, VERSION,
};
use bytes::Bytes;
use core::mem::size_of;
use core::ops::Range;
use std::borrow::Cow;
use zerocopy::{FromBytes, IntoBytes};

/// Why bytes are no boxes, or a box makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Fewer bytes than there must be.
    #[error("{have} bytes where {need} are needed")]
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes there must be.
        need: usize,
    },
    /// It does not begin as boxes do.
    #[error("this is no memory of boxes")]
    Magic,
    /// Boxes of another version.
    #[error("boxes of layout {0}, and this is for layout {VERSION}")]
    Version(u32),
    /// Boxes of a senseless size.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Sizes that do not fit together.
    #[error("boxes of {0} bytes, which is not what their parts need")]
    BoxBytes(u32),
    /// A server that is neither attached nor not.
    #[error("attachment {0}, which nothing has")]
    Attachment(u32),
    /// The snapshot was exported over while it was read. A new reading can help.
    #[error("the snapshot was replaced while it was read")]
    Replaced,
    /// Two boxes of one connection.
    #[error("another box is of the same connection, and nobody knows which is right")]
    Twice,
    /// A snapshot larger than its buffer.
    #[error("a snapshot of {length} bytes in a buffer of {room}")]
    Length {
        /// What it says.
        length: u64,
        /// Bytes of the buffer.
        room: u32,
    },
    /// A ring that was filled less far than was written.
    #[error("the ring was filled up to {filled}, and {written} bytes were written")]
    Filled {
        /// What the ring has.
        filled: u64,
        /// What the box says.
        written: u64,
    },
    /// A snapshot that is ahead of the application.
    #[error("a snapshot after {snapshot} bytes {done}, of an application that has {done} {live}")]
    Ahead {
        /// `read` or `written`.
        done: &'static str,
        /// What the snapshot says.
        snapshot: u64,
        /// What the box says.
        live: u64,
    },
}

/// A snapshot, and where in the connection it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Export {
    /// Counts from 1; 0 if there never was one, which is the beginning of the session.
    pub number: u64,
    /// Bytes of the connection that the application had read.
    pub read: u64,
    /// And written.
    pub written: u64,
    /// The application's own.
    pub bytes: Vec<u8>,
}

/// What was seen of a box before and after its bytes were read, if its application may have run meanwhile: readings over a
/// network are in no order within themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// [`BoxHead::newest`], before.
    pub newest: u64,
    /// Numbers of both buffers, after.
    pub numbers: [u64; 2],
}

/// A box of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxView {
    /// Cookie of its socket.
    pub cookie: u64,
    /// The newest snapshot.
    pub newest: Export,
    /// Bytes that the application has read, or one read less.
    pub read: u64,
    /// Bytes that it has written, or was about to.
    pub written: u64,
    /// Whether the application is done with it: nothing more is read or written.
    pub is_ended: bool,
    /// What was written last, if the box holds it.
    pub ring: Option<Ring>,
}

/// Bytes that were written last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Position of the first one that is held.
    pub start: u64,
    /// Position behind the last one that is held.
    pub end: u64,
    /// Those from the first one on that were fetched: all, unless the last are fetched later. Whoever needs some of them
    /// shares them.
    pub bytes: Bytes,
}

impl Ring {
    /// Bytes that are held from this position on, all of them.
    #[must_use]
    pub fn whole(start: u64, bytes: Bytes) -> Ring {
        Ring { start, end: start + bytes.len() as u64, bytes }
    }
}

/// A box as [`BoxView::decode`] reads it, in pieces.
#[derive(Clone, Debug)]
pub struct OldBox<'a> {
    /// How large it is.
    pub shape: Shape,
    /// What is not all zero of it, and where that begins.
    pub pieces: Vec<(usize, Cow<'a, [u8]>)>,
}

impl Shape {
    /// The shape of the boxes that a region with this beginning holds.
    ///
    /// # Errors
    /// Why it holds none.
    pub fn decode(bytes: &[u8]) -> Result<Shape, ViewError> {
        Ok(BoxesView::decode(bytes)?.shape)
    }

    /// Where box `index` begins in the region.
    #[must_use]
    pub fn box_position(self, index: u32) -> u64 {
        self.box_offset(index) as u64
    }
}

/// Whether the server of a service is attached to its machine's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Attachment {
    /// None ever was.
    Never = 0,
    /// It is.
    Attached = 1,
    /// It ended without a goodbye: its sessions wait for another one.
    Died = 2,
    /// It left on purpose.
    Left = 3,
}

/// What a region of boxes says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxesView {
    /// How large the boxes are.
    pub shape: Shape,
    /// Tells this memory from earlier one.
    pub generation: u64,
    /// The service, counted from 0 in the order of the target's configuration.
    pub service: u32,
    /// Its name.
    pub name: String,
    /// Whether its server is attached.
    pub attachment: Attachment,
    /// Since when, nanoseconds of the target's monotonic clock.
    pub since: u64,
    /// Process id of the server that is attached, or was last.
    pub pid: u64,
    /// Sessions whose server ended and that could not go on, ever.
    pub lost: u64,
}

impl BoxesView {
    /// Reads the beginning of a region, its header.
    ///
    /// # Errors
    /// Why it holds no boxes.
    pub fn decode(bytes: &[u8]) -> Result<BoxesView, ViewError> {
        let short = ViewError::Short { have: bytes.len(), need: size_of::<BoxesHeader>() };
        let (header, _) = BoxesHeader::read_from_prefix(bytes).map_err(|_| short)?;
        if header.magic != MAGIC {
            return Err(ViewError::Magic);
        }
        if header.version != VERSION {
            return Err(ViewError::Version(header.version));
        }
        let BoxesHeader { capacity, snapshot_bytes, ring_bytes, .. } = header;
        let shape = Shape { capacity, snapshot_bytes, ring_bytes }.check()?;
        if header.box_bytes as usize != shape.box_bytes()
            || header.header_bytes as usize != size_of::<BoxesHeader>()
        {
            return Err(ViewError::BoxBytes(header.box_bytes));
        }
        let attachments = [Attachment::Never, Attachment::Attached, Attachment::Died, Attachment::Left];
        let attachment = attachments.into_iter().find(|known| *known as u32 == header.attachment);
        let attachment = attachment.ok_or(ViewError::Attachment(header.attachment))?;
        let name = header.name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).chars().filter(|letter| !letter.is_control()).collect();
        let BoxesHeader { generation, service, since, pid, lost, .. } = header;
        Ok(BoxesView { shape, generation, service, name, attachment, since, pid, lost })
    }
}

impl BoxView {
    /// Reads a box of this shape; `None` if it is nobody's. If the application may still run it takes what was seen
    /// [`Around`] the bytes, so that no mixture of two snapshots is taken for one.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn decode(shape: Shape, bytes: &[u8], around: Option<Around>) -> Result<Option<BoxView>, ViewError> {
        let short = ViewError::Short { have: bytes.len(), need: shape.box_bytes() };
        let bytes = bytes.get(..shape.box_bytes()).ok_or(short)?;
        let (head, _) = BoxHead::read_from_prefix(bytes).map_err(|_| ViewError::Magic)?;
        if head.cookie == 0 || head.cookie == BEING_MADE {
            return Ok(None);
        }
        let newest = match around {
            None => head.newest,
            Some(around) => around.newest_whole()?,
        };
        let room = shape.snapshot_bytes as usize;
        let snapshot = &bytes[shape.buffer_offset(newest)..][..room];
        let ring = &bytes[shape.ring_offset()..][..shape.ring_bytes as usize];
        let ring = (!ring.is_empty()).then(|| unroll(ring, head.filled));
        BoxView::of(&head, newest, snapshot, ring).map(Some)
    }

    /// A box that has this head and holds these written bytes, if any, and this buffer for snapshot number `newest`.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn of(head: &BoxHead, newest: u64, buffer: &[u8], ring: Option<Ring>) -> Result<BoxView, ViewError> {
        let newest = export(newest, head, buffer)?;
        for (done, snapshot, live) in
            [("read", newest.read, head.read), ("written", newest.written, head.written)]
        {
            if snapshot > live {
                return Err(ViewError::Ahead { done, snapshot, live });
            }
        }
        if ring.is_some() && head.filled < head.written {
            return Err(ViewError::Filled { filled: head.filled, written: head.written });
        }
        let BoxHead { cookie, read, written, ended, .. } = *head;
        Ok(BoxView { cookie, newest, read, written, is_ended: ended != 0, ring })
    }

    /// A box of nobody else that has what is in this view, and is no larger than it must be.
    #[must_use]
    pub fn to_old_box(&self) -> OldBox<'_> {
        let mut head = BoxHead {
            cookie: self.cookie,
            newest: self.newest.number,
            read: self.read,
            written: self.written,
            ended: u64::from(self.is_ended),
            ..BoxHead::EMPTY
        };
        head.exports[(self.newest.number % 2) as usize] = ExportHead {
            number: self.newest.number,
            length: self.newest.bytes.len() as u64,
            read: self.newest.read,
            written: self.newest.written,
        };
        // Neither is longer than the largest: they come out of a box.
        let snapshot_bytes = (self.newest.bytes.len() as u32).next_multiple_of(8).max(8);
        let held = self.ring.as_ref().map_or(0, |ring| ring.bytes.len() as u32);
        let ring_bytes = self.ring.as_ref().map_or(0, |_| held.next_power_of_two().max(LEAST_RING));
        let shape = Shape { capacity: 1, snapshot_bytes, ring_bytes };
        let mut pieces = vec![(shape.buffer_offset(self.newest.number), Cow::from(&self.newest.bytes))];
        if let Some(Ring { start, bytes, .. }) = &self.ring {
            head.filled = start + bytes.len() as u64;
            let first = (start % u64::from(ring_bytes)) as usize;
            let (now, then) = bytes.split_at(bytes.len().min(ring_bytes as usize - first));
            pieces.extend([(shape.ring_offset() + first, now.into()), (shape.ring_offset(), then.into())]);
        }
        pieces.push((0, head.as_bytes().to_vec().into()));
        OldBox { shape, pieces }
    }

    /// Positions of the written bytes that the box holds; none if it holds none.
    #[must_use]
    pub fn held(&self) -> Range<u64> {
        match &self.ring {
            Some(Ring { start, end, .. }) => *start..self.written.min(*end),
            None => self.written..self.written,
        }
    }

    /// The written bytes at these positions; `None` if the box does not hold them all, or they were not fetched.
    #[must_use]
    pub fn written_bytes(&self, positions: Range<u64>) -> Option<Bytes> {
        if positions.is_empty() {
            return Some(Bytes::new());
        }
        let held = self.held();
        let Ring { start, bytes, .. } = self.ring.as_ref()?;
        let fetched = start + bytes.len() as u64;
        if positions.start < held.start || positions.end > held.end.min(fetched) {
            return None;
        }
        let from = usize::try_from(positions.start - start).ok()?;
        let to = usize::try_from(positions.end - start).ok()?;
        Some(bytes.slice(from..to))
    }
}

impl Around {
    /// The newest snapshot that was whole all the time.
    fn newest_whole(&self) -> Result<u64, ViewError> {
        let is_whole = self.numbers[(self.newest % 2) as usize] == self.newest;
        if is_whole { Ok(self.newest) } else { Err(ViewError::Replaced) }
    }
}

/// What a ring holds that was filled up to a position, in order.
fn unroll(ring: &[u8], filled: u64) -> Ring {
    let start = filled.saturating_sub(ring.len() as u64);
    // No more than the ring has.
    let length = (filled - start) as usize;
    let first = (start % ring.len() as u64) as usize;
    let upper = length.min(ring.len() - first);
    Ring::whole(start, [&ring[first..first + upper], &ring[..length - upper]].concat().into())
}

pub(super) fn export(number: u64, head: &BoxHead, buffer: &[u8]) -> Result<Export, ViewError> {
    if number == 0 {
        return Ok(Export::default());
    }
    let export = head.exports[(number % 2) as usize];
    if export.number != number {
        return Err(ViewError::Replaced);
    }
    let too_long = ViewError::Length { length: export.length, room: buffer.len() as u32 };
    let length = usize::try_from(export.length).map_err(|_| too_long.clone())?;
    let snapshot = buffer.get(..length).ok_or(too_long)?;
    Ok(Export { number, read: export.read, written: export.written, bytes: snapshot.to_vec() })
}

#[cfg(test)]
mod tests;
