//! From bytes to connections.

use super::layout::{
    LARGEST_RING, LEAST_RING, MAX_SESSIONS, SESSION_MAGIC, SessionFlags, SessionRecord, SessionTableHeader,
};
use super::{Range64, Rings, SessionView, TcpState};
use crate::decode::{DecodeError, check_beginning, check_sizes};
use core::mem::size_of;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use zerocopy::FromBytes;

const WHAT: &str = "session table";
const IPV4: u32 = 2;
const IPV6: u32 = 10;
/// The largest window TCP has, and the most that can lie between two numbers of one direction.
const LARGEST_WINDOW: u32 = 1 << 30;
const LARGEST_SCALE: u8 = 14;

/// A record that makes no sense. What it says must not be used; the others stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which record.
    pub index: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A session table as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsView {
    /// Generation of the table.
    pub generation: u64,
    /// Connections that found no free record, ever.
    pub unrecorded: u64,
    /// The receive buffer that every connection is given at most, bytes.
    pub receive_cap: u32,
    /// Records there are.
    pub capacity: usize,
    /// How the rings lie.
    pub rings: Rings,
    /// Connections, in the order of their records.
    pub sessions: Vec<SessionView>,
    /// Records that make no sense.
    pub refused: Vec<Refused>,
    /// Records that were being written; they are not among `sessions`.
    pub torn: Vec<usize>,
    pub(super) header_bytes: usize,
    pub(super) record_bytes: usize,
}

impl SessionsView {
    /// Reads a session table: header and records, as one stretch of bytes.
    ///
    /// # Errors
    /// See [`DecodeError`]. Single records that are torn or make no sense are no error; they are listed.
    pub fn decode(bytes: &[u8]) -> Result<SessionsView, DecodeError> {
        Self::decode_twice(bytes, bytes)
    }

    /// Reads a session table that was read twice, the first time before the second began. A record that is not the same in both
    /// is torn: one whose writer came or went while it was read may have an even `sequence` all the same.
    ///
    /// # Errors
    /// As [`SessionsView::decode`].
    pub fn decode_twice(before: &[u8], bytes: &[u8]) -> Result<SessionsView, DecodeError> {
        let mut view = Self::head(bytes)?;
        let need = view.need();
        let have = bytes.len().min(before.len());
        if have < need {
            return Err(DecodeError::Truncated { what: WHAT, have, need });
        }
        let records = |bytes| <[u8]>::chunks_exact(bytes, view.record_bytes);
        let [before, now] = [before, bytes].map(|bytes| records(&bytes[view.header_bytes..need]));
        for (index, (before, now)) in before.zip(now).enumerate() {
            view.take_record(index, before, now);
        }
        Ok(view)
    }

    /// The connection with this cookie.
    #[must_use]
    pub fn session(&self, cookie: u64) -> Option<&SessionView> {
        self.sessions.iter().find(|session| session.cookie == cookie)
    }

    fn need(&self) -> usize {
        self.header_bytes + self.capacity * self.record_bytes
    }

    fn head(bytes: &[u8]) -> Result<SessionsView, DecodeError> {
        let need = size_of::<SessionTableHeader>();
        let (header, _) = SessionTableHeader::read_from_prefix(bytes)
            .map_err(|_| DecodeError::Truncated { what: WHAT, have: bytes.len(), need })?;
        check_beginning(WHAT, (header.magic, SESSION_MAGIC), header.version)?;
        let header_size = ("header size", header.header_bytes, need);
        let record_size = ("record size", header.record_bytes, size_of::<SessionRecord>());
        let [header_bytes, record_bytes] = check_sizes(WHAT, [header_size, record_size])?;
        let layout = |why| DecodeError::Layout { what: WHAT, why };
        if header.capacity as usize > MAX_SESSIONS {
            return Err(layout("number of records"));
        }
        let Rings { bytes, stride } = Rings { bytes: header.ring_bytes, stride: header.ring_stride };
        if !bytes.is_power_of_two() || !(LEAST_RING..=LARGEST_RING).contains(&bytes) {
            return Err(layout("ring size"));
        }
        if stride < bytes || stride > 2 * LARGEST_RING {
            return Err(layout("distance of rings"));
        }
        Ok(SessionsView {
            generation: header.generation,
            unrecorded: header.unrecorded,
            receive_cap: header.receive_cap,
            capacity: header.capacity as usize,
            rings: Rings { bytes, stride },
            header_bytes,
            record_bytes,
            ..SessionsView::default()
        })
    }

    /// A record as read, and as read before that.
    pub(super) fn take_record(&mut self, index: usize, before: &[u8], now: &[u8]) {
        let [Ok((before, _)), Ok((record, _))] = [before, now].map(SessionRecord::read_from_prefix) else {
            return;
        };
        if record.sequence % 2 == 1 || settled(before) != settled(record) {
            self.torn.push(index);
        } else if record.cookie != 0 && record.flags & SessionFlags::REBUILDING == 0 {
            match SessionView::of(index, record, self.rings.bytes) {
                Ok(session) => self.sessions.push(session),
                Err(why) => self.refused.push(Refused { index, why }),
            }
        }
    }
}

/// A record without what changes at any time.
fn settled(record: SessionRecord) -> SessionRecord {
    SessionRecord { gaps: 0, held_end: 0, heard: 0, ..record }
}

/// How far `to` is ahead of `from`, if it is not behind and not farther than `most`.
fn ahead(from: u32, to: u32, most: u32) -> Option<u32> {
    let distance = to.wrapping_sub(from);
    (distance <= most).then_some(distance)
}

fn address(family: u32, bytes: [u8; 16], port: u16) -> Result<SocketAddr, &'static str> {
    let address = Ipv6Addr::from(bytes);
    match (family, address.to_ipv4_mapped()) {
        (IPV4 | IPV6, Some(address)) => Ok(SocketAddr::new(IpAddr::V4(address), port)),
        (IPV6, None) => Ok(SocketAddr::new(IpAddr::V6(address), port)),
        (IPV4, None) => Err("an IPv4 address that is none"),
        _ => Err("an address family that nobody knows"),
    }
}

impl SessionView {
    /// Believes a record if its numbers fit together.
    pub(super) fn of(index: usize, record: SessionRecord, ring: u32) -> Result<SessionView, &'static str> {
        let local = address(record.family, record.local, record.local_port)?;
        let remote = address(record.family, record.remote, record.remote_port)?;
        if local.is_ipv4() != remote.is_ipv4() {
            return Err("addresses of different families");
        }
        if record.local_port == 0 || record.remote_port == 0 {
            return Err("port 0");
        }
        let state = match TcpState::from_number(record.state) {
            Some(TcpState::SynSent | TcpState::Close | TcpState::Listen | TcpState::NewSynReceived)
            | None => {
                return Err("a state that no connection with a record is in");
            }
            Some(state) => state,
        };
        let has = |flag: u32| record.flags & flag != 0;
        let scales = [record.snd_wscale, record.rcv_wscale];
        if scales
            .iter()
            .any(|scale| *scale > LARGEST_SCALE || (*scale > 0 && !has(SessionFlags::WINDOW_SCALE)))
        {
            return Err("a window scale that cannot be");
        }
        ahead(record.snd_una, record.snd_nxt, LARGEST_WINDOW).ok_or("more acknowledged than sent")?;
        ahead(record.snd_nxt, record.write_seq, u32::MAX >> 1).ok_or("more sent than written")?;
        let unread =
            ahead(record.copied_seq, record.rcv_nxt, LARGEST_WINDOW).ok_or("more read than received")?;
        ahead(record.rcv_wup, record.rcv_nxt, LARGEST_WINDOW).ok_or("a window told for bytes to come")?;
        if record.rcv_wnd > LARGEST_WINDOW || record.snd_wnd > LARGEST_WINDOW {
            return Err("a window larger than TCP has");
        }
        // Counts and sequence numbers say the same twice.
        let at = |first: u32, count: u64| first.wrapping_add(1).wrapping_add(count as u32);
        if at(record.irs, record.bytes_received) != record.rcv_nxt {
            return Err("another number of bytes received than sequence numbers used");
        }
        if at(record.iss, record.bytes_acked) != record.snd_una {
            return Err("another number of bytes acknowledged than sequence numbers used");
        }
        if record.bytes_acked.checked_add(u64::from(LARGEST_WINDOW) + (u64::from(u32::MAX) >> 1)).is_none() {
            return Err("more bytes acknowledged than can be");
        }
        let end = record.bytes_received.checked_sub(u64::from(has(SessionFlags::PEER_FIN)));
        let end = end.ok_or("an end of the peer's that was not received")?;
        if u64::from(unread) > record.bytes_received {
            return Err("more unread than received");
        }
        let held = held(&record, end, ring)?;
        let record = heard(record);
        Ok(SessionView {
            index,
            cookie: record.cookie,
            gaps: record.gaps,
            local,
            remote,
            mapped: record.family == IPV6 && local.is_ipv4(),
            state,
            record,
            held,
        })
    }
}

/// A record with what the peer acknowledged since it was written. Our own FIN is left out, which is acknowledged when the
/// connection's state says so.
fn heard(mut record: SessionRecord) -> SessionRecord {
    let own_fin = u32::from(record.flags & SessionFlags::OWN_FIN != 0 && record.snd_nxt == record.write_seq);
    let flight = record.snd_nxt.wrapping_sub(record.snd_una).saturating_sub(own_fin);
    // Anything else is no news, or was never sent.
    if let Some(news @ 1..) = ahead(record.snd_una, record.heard as u32, flight) {
        record.snd_una = record.snd_una.wrapping_add(news);
        record.bytes_acked += u64::from(news);
        record.snd_wnd = u32::from((record.heard >> 32) as u16) << record.snd_wscale;
        record.max_window = record.max_window.max(record.snd_wnd);
    }
    record
}

/// The ring ends where the highest byte that ever came would lie, which may be far ahead of the last one in turn.
fn held(record: &SessionRecord, end: u64, ring: u32) -> Result<Range64, &'static str> {
    if record.gaps > 0 {
        return Ok(Range64 { start: end, end });
    }
    if record.held_end > u64::from(u32::MAX) {
        return Err("a sequence number longer than 32 bits");
    }
    let last = record.irs.wrapping_add(1).wrapping_add(end as u32);
    let beyond = ahead(last, record.held_end as u32, LARGEST_WINDOW).ok_or("less held than received")?;
    let written = end.checked_add(u64::from(beyond)).ok_or("more bytes received than can be")?;
    Ok(Range64 { start: written.saturating_sub(u64::from(ring)).max(record.held_from).min(end), end })
}
