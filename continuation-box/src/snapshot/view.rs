//! What is read of a box from outside: of a machine that stands still, or of one that lives and changes it meanwhile.

use super::layout::{BEING_MADE, BoxHead, BoxesHeader, MAGIC, Shape, ShapeError, VERSION};
use core::mem::size_of;
use core::ops::Range;
use zerocopy::FromBytes;

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
    /// The byte at position p is at p % length.
    pub bytes: Vec<u8>,
    /// Bytes up to this position were put in.
    pub filled: u64,
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
            None => export(shape, head.newest, &head, bytes)?,
            Some(around) if around.numbers[(around.newest % 2) as usize] == around.newest => {
                export(shape, around.newest, &head, bytes)?
            }
            Some(_) => return Err(ViewError::Replaced),
        };
        for (done, snapshot, live) in
            [("read", newest.read, head.read), ("written", newest.written, head.written)]
        {
            if snapshot > live {
                return Err(ViewError::Ahead { done, snapshot, live });
            }
        }
        let ring = &bytes[shape.ring_offset()..][..shape.ring_bytes as usize];
        let ring = (!ring.is_empty()).then(|| Ring { bytes: ring.to_vec(), filled: head.filled });
        if ring.is_some() && head.filled < head.written {
            return Err(ViewError::Filled { filled: head.filled, written: head.written });
        }
        let BoxHead { cookie, read, written, ended, .. } = head;
        Ok(Some(BoxView { cookie, newest, read, written, is_ended: ended != 0, ring }))
    }

    /// Positions of the written bytes that the box holds; none if it holds none.
    #[must_use]
    pub fn held(&self) -> Range<u64> {
        match &self.ring {
            Some(Ring { bytes, filled }) => filled.saturating_sub(bytes.len() as u64)..self.written,
            None => self.written..self.written,
        }
    }

    /// The written bytes at these positions; `None` if the box does not hold them all.
    #[must_use]
    pub fn written_bytes(&self, positions: Range<u64>) -> Option<Vec<u8>> {
        if positions.is_empty() {
            return Some(Vec::new());
        }
        let held = self.held();
        let Ring { bytes, .. } = self.ring.as_ref()?;
        if positions.start < held.start || positions.end > held.end {
            return None;
        }
        let first = (positions.start % bytes.len() as u64) as usize;
        let length = usize::try_from(positions.end - positions.start).ok()?;
        let upper = length.min(bytes.len() - first);
        Some([bytes.get(first..first + upper)?, bytes.get(..length - upper)?].concat())
    }
}

fn export(shape: Shape, number: u64, head: &BoxHead, bytes: &[u8]) -> Result<Export, ViewError> {
    if number == 0 {
        return Ok(Export::default());
    }
    let export = head.exports[(number % 2) as usize];
    if export.number != number {
        return Err(ViewError::Replaced);
    }
    let room = shape.snapshot_bytes;
    if export.length > u64::from(room) {
        return Err(ViewError::Length { length: export.length, room });
    }
    let snapshot = &bytes[shape.buffer_offset(number)..][..export.length as usize];
    Ok(Export { number, read: export.read, written: export.written, bytes: snapshot.to_vec() })
}

#[cfg(test)]
mod tests;
