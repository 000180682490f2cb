//! From what was found in the memory of a node to how a session goes on: which bytes are restored into its TCP connection,
//! and how much of what the application does again is discarded (thesis, section 3.6.5).
//!
//! The application is resumed at its newest snapshot, is given again what it had read since then, and writes again what it had
//! written since then, or from further back if nobody holds that. What the client has received, or could have, stays as it is.
//! A session that its application has ended needs no application: the client gets what was written, and its end.

use crate::snapshot::BoxView;
use core::ops::Range;

/// The two streams of a connection, as the kernel of the node knew them. All are positions: counts of bytes from a stream's first
/// one, of which TCP's sequence numbers are the low 32 bits, shifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Everything before it was acknowledged by the client.
    pub acknowledged: u64,
    /// Everything before it was sent to the client at least once.
    pub sent: u64,
    /// Everything before it was received, and may have been acknowledged.
    pub received: u64,
    /// Received bytes that are held.
    pub held: Range<u64>,
}

/// How a session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// Received bytes that the application reads first. Those before it had read as of its snapshot.
    pub unread: Range<u64>,
    /// Bytes that were sent and not acknowledged: the connection sends them again.
    pub unacknowledged: Range<u64>,
    /// Bytes that were written and never sent. The application has them behind it.
    pub unsent: Range<u64>,
    /// What becomes of what the application writes.
    pub output: Output,
}

/// What becomes of the application's output after it was resumed at its snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// So many bytes of it are discarded: they were sent.
    Discard(u64),
    /// It is not held by anybody. The application goes back so many bytes, or so many of what it writes are discarded, and the
    /// first `sent` bytes after that are what the connection sends again: [`Resumption::unacknowledged`].
    Regenerate {
        /// How far the application goes back behind its snapshot.
        back: u64,
        /// Discarded after that.
        discard: u64,
        /// Bytes after that which were sent before.
        sent: u64,
    },
}

/// Why a session cannot be resumed exactly. It is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The application has read more since its last snapshot than the ring holds.
    #[error(
        "received bytes {missing:?} are needed and not held any more: the application should export more often, or the ring be larger"
    )]
    Received {
        /// Positions.
        missing: Range<u64>,
    },
    /// Written bytes that are needed were written over.
    #[error(
        "written bytes {missing:?} are needed and not held any more: the ring should be larger than the send buffer"
    )]
    Written {
        /// Positions.
        missing: Range<u64>,
    },
    /// It was ended, and nobody holds what the client may lack.
    #[error(
        "its application has ended it, and {unacknowledged} bytes that the client may lack are held by nobody: let the service's \
         output be mirrored"
    )]
    Ended {
        /// How many.
        unacknowledged: u64,
    },
    /// More was sent than the application says it wrote.
    #[error(
        "{sent} bytes were sent, but only {written} written through the box: all output must go through it"
    )]
    SentMore {
        /// What the kernel sent.
        sent: u64,
        /// What the box knows of.
        written: u64,
    },
    /// The snapshot is ahead of the connection.
    #[error(
        "the snapshot was made after {read} bytes read, and {received} were received: all input must go through the box"
    )]
    ReadMore {
        /// What the snapshot says.
        read: u64,
        /// What the kernel received.
        received: u64,
    },
    /// Positions in an impossible order.
    #[error("impossible: {acknowledged} bytes acknowledged of {sent} sent")]
    Impossible {
        /// What the client acknowledged.
        acknowledged: u64,
        /// What was sent.
        sent: u64,
    },
}

impl Resumption {
    /// How a session goes on, from its connection's streams and its box.
    ///
    /// # Errors
    /// [`Lost`] if it cannot go on exactly.
    pub fn plan(streams: &Streams, session: &BoxView) -> Result<Resumption, Lost> {
        let Streams { acknowledged, sent, received, .. } = *streams;
        let (read, written) = (session.newest.read, session.newest.written);
        if acknowledged > sent {
            return Err(Lost::Impossible { acknowledged, sent });
        }
        if sent > session.written {
            return Err(Lost::SentMore { sent, written: session.written });
        }
        if session.is_ended {
            return Resumption::to_the_end(streams, session);
        }
        if read > received {
            return Err(Lost::ReadMore { read, received });
        }
        let unread = read..received;
        if let Some(missing) = missing(&unread, &streams.held) {
            return Err(Lost::Received { missing });
        }
        if session.ring.is_none() {
            let output = Output::Regenerate {
                back: written.saturating_sub(acknowledged),
                discard: acknowledged.saturating_sub(written),
                sent: sent - acknowledged,
            };
            return Ok(Resumption { unread, unacknowledged: acknowledged..sent, unsent: sent..sent, output });
        }
        // What was written before the snapshot is not written again; what was sent after it must not be sent again.
        let end = sent.max(written);
        if let Some(missing) = missing(&(acknowledged..end), &session.held()) {
            return Err(Lost::Written { missing });
        }
        Ok(Resumption {
            unread,
            unacknowledged: acknowledged..sent,
            unsent: sent..end,
            output: Output::Discard(sent.saturating_sub(written)),
        })
    }

    /// Of a session whose application is done with it.
    fn to_the_end(streams: &Streams, session: &BoxView) -> Result<Resumption, Lost> {
        let Streams { acknowledged, sent, received, .. } = *streams;
        let lacked = acknowledged..session.written;
        match missing(&lacked, &session.held()) {
            Some(_) if session.ring.is_none() => {
                return Err(Lost::Ended { unacknowledged: lacked.end - lacked.start });
            }
            Some(missing) => return Err(Lost::Written { missing }),
            None => {}
        }
        Ok(Resumption {
            unread: received..received,
            unacknowledged: acknowledged..sent,
            unsent: sent..session.written,
            output: Output::Discard(0),
        })
    }
}

/// What of the wanted is not held, from the first missing to the last.
fn missing(wanted: &Range<u64>, held: &Range<u64>) -> Option<Range<u64>> {
    if wanted.is_empty() {
        return None;
    }
    let before = wanted.start..wanted.end.min(held.start);
    let behind = wanted.start.max(held.end)..wanted.end;
    match (before.is_empty(), behind.is_empty()) {
        (true, true) => None,
        (false, true) => Some(before),
        (true, false) => Some(behind),
        (false, false) => Some(wanted.clone()),
    }
}

#[cfg(test)]
mod tests;
