//! Sessions that their servers are done with. Each is held until its connection is over, so that the rest of what was written and
//! its end reach the client, from here or, by what is in the box, from another machine.

use super::{Held, Kept, Now, Place, State, Told};
use backdoors_continuation_box::service::message::Boxed;
use backdoors_continuation_box::snapshot::BoxMemory;
use backdoors_continuation_box::tcp::{CountsError, Ending};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Time to the second look, which doubles from look to look: most clients answer at once.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// Longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of a ring that are written at once.
const PIECE: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Closing<S> {
    cookie: u64,
    socket: S,
    /// Written bytes that the connection has not taken. Its end goes behind them.
    rest: Range<u64>,
    /// Since when the client has all of it.
    has_all_since: Option<Instant>,
    next_look: Instant,
    pause: Duration,
}

impl<S: Held> Place<S> {
    /// The server is done with a session.
    pub(super) fn ended(&mut self, boxed: &Boxed, now: Now) -> Told {
        let is_marked = self.is_marked(boxed.index, boxed.cookie);
        if self.kept.get(&boxed.index).is_some_and(|kept| kept.cookie == boxed.cookie) {
            // What is not marked has no box any more, and was closed. This lets go.
            if let Some(kept) = self.kept.remove(&boxed.index).filter(|_| is_marked) {
                self.close(boxed.index, kept, now);
            }
        } else if is_marked && !self.is_held(boxed.index) {
            // It was not kept.
            self.boxes.free(boxed.index, boxed.cookie);
        }
        Told::default()
    }

    /// Whether the box is that of this session, whose application is done with it.
    fn is_marked(&self, index: u32, cookie: u64) -> bool {
        self.boxes.head(index).is_some_and(|head| head.cookie == cookie && head.ended != 0)
    }

    /// What the server had ended when it died, and could not say so.
    pub(super) fn close_marked(&mut self, now: Now) {
        let marked =
            |index: &u32, kept: &Kept<S>| kept.state == State::Served && self.is_marked(*index, kept.cookie);
        let marked: Vec<u32> =
            self.kept.iter().filter(|(index, kept)| marked(index, kept)).map(|(index, _)| *index).collect();
        for index in marked {
            if let Some(kept) = self.kept.remove(&index) {
                self.close(index, kept, now);
            }
        }
    }

    /// What the server ended while it had no agent has a box yet, though it has told of all sessions that it has.
    pub(super) fn free_marked(&mut self) {
        for index in 0..self.boxes.shape().capacity {
            if !self.is_held(index)
                && let Some(head) = self.boxes.head(index).filter(|head| head.ended != 0)
            {
                self.boxes.free(index, head.cookie);
            }
        }
    }

    /// Sees a session to its end, whose server is done with it and has said so in the box.
    fn close(&mut self, index: u32, kept: Kept<S>, now: Now) {
        match self.rest(index, &kept) {
            Ok(rest) => self.close_with(index, kept.cookie, kept.socket, rest, now),
            Err(reason) => {
                tracing::error!(
                    service = self.name,
                    cookie = kept.cookie,
                    reason,
                    "the rest of a session is lost"
                );
                self.boxes.count_lost();
                kept.socket.reset();
                self.boxes.free(index, kept.cookie);
            }
        }
    }

    /// The same, where it is known what the connection has not taken.
    pub(super) fn close_with(&mut self, index: u32, cookie: u64, socket: S, rest: Range<u64>, now: Now) {
        let (next_look, pause) = (now.instant, FIRST_PAUSE);
        self.closing.insert(index, Closing { cookie, socket, rest, has_all_since: None, next_look, pause });
    }

    /// What the server had no time or no room to write.
    fn rest(&self, index: u32, kept: &Kept<S>) -> Result<Range<u64>, String> {
        let head = self.boxes.head(index).ok_or("it has no box")?;
        let ring = u64::from(self.boxes.shape().ring_bytes);
        let nothing = head.written..head.written;
        // Where nothing is held back the server writes before it ends.
        if ring == 0 || kept.socket.ending() != Ending::Open {
            return Ok(nothing);
        }
        let counts = match kept.socket.counts() {
            Ok(counts) => counts,
            Err(CountsError::Closed) => return Ok(nothing),
            Err(error) => return Err(error.to_string()),
        };
        let taken = counts.written.wrapping_add(kept.bases.written);
        let is_held =
            taken <= head.written && head.written <= head.filled && taken >= head.filled.saturating_sub(ring);
        if is_held {
            Ok(taken..head.written)
        } else {
            Err(format!(
                "the connection took {taken} bytes, and its box holds some up to {}: all output must go through it",
                head.written
            ))
        }
    }

    /// When the next one is to be looked at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.closing.values().map(|closing| closing.next_look).min()
    }

    /// Looks at those whose time it is, and lets go of what is over, or of what its client has had for longer than `patience`.
    pub(super) fn look_at_closing(&mut self, now: Now, patience: Duration) {
        let due = |closing: &Closing<S>| now.instant >= closing.next_look;
        let due: Vec<u32> =
            self.closing.iter().filter(|(_, closing)| due(closing)).map(|(index, _)| *index).collect();
        for index in due {
            let Some(closing) = self.closing.get_mut(&index) else { continue };
            if closing.goes_on(index, &self.boxes, now, patience) {
                continue;
            }
            if let Some(Closing { cookie, socket, .. }) = self.closing.remove(&index) {
                // The box last: while there is a connection there is a box.
                socket.end();
                self.boxes.free(index, cookie);
            }
        }
    }
}

impl<S: Held> Closing<S> {
    /// Does what can be done now; `false` if there is nothing to be waited for.
    fn goes_on(&mut self, index: u32, boxes: &BoxMemory, now: Now, patience: Duration) -> bool {
        (self.next_look, self.pause) = (now.instant + self.pause, (2 * self.pause).min(LONGEST_PAUSE));
        self.socket.drain();
        if self.socket.ending() == Ending::Open {
            match self.write_rest(index, boxes) {
                Ok(()) => self.socket.close(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // The client is gone.
                Err(_) => return false,
            }
        }
        match self.socket.ending() {
            Ending::Open | Ending::Unacknowledged => true,
            Ending::Acknowledged => {
                let since = *self.has_all_since.get_or_insert(now.instant);
                self.next_look = self.next_look.min(since + patience);
                now.instant < since + patience
            }
            Ending::Over => false,
        }
    }

    fn write_rest(&mut self, index: u32, boxes: &BoxMemory) -> io::Result<()> {
        let mut piece = vec![0; if self.rest.is_empty() { 0 } else { PIECE }];
        while !self.rest.is_empty() {
            let length = boxes.copy_written(index, self.rest.clone(), &mut piece);
            let bytes = piece.get(..length).unwrap_or_default();
            match self.socket.write(bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => self.rest.start += count as u64,
            }
        }
        Ok(())
    }
}
