use super::reading::OPERATIONS;
use super::*;
use crate::link::LinkError;
use backdoors_continuation_box::connection::streams;
use backdoors_continuation_box::resume::{Output, Resumption};
use backdoors_continuation_box::snapshot::{BoxMemory, SessionBox};
use backdoors_rdma::memory::Protection;
use backdoors_rdma::{Operation, RemoteRange, Request, SharedMemory, Ticket};
use backdoors_sensor_box::session::layout::{LEAST_RING, SessionRecord, ring_stride, session_table_bytes};
use backdoors_sensor_box::writer::SessionTable;
use backdoors_sensor_box::{CommandKey, LocalWords, TcpState};
use std::mem::size_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const RECORDS: usize = 70;
const SHAPE: Shape = Shape { capacity: 70, snapshot_bytes: 64, ring_bytes: 8192 };
const IRS: u32 = u32::MAX - 500;
const ISS: u32 = u32::MAX - 300;

/// Is given the number of the batch, and the session table.
type Meanwhile = Box<dyn FnMut(usize, &mut Vec<u8>) + Send>;

/// A target that lives in this process; `between` runs before each batch, as a target that is not dead would.
struct Target {
    table: Vec<u8>,
    rings: Vec<u8>,
    boxes: SharedMemory,
    shape: Shape,
    live: Arc<BoxMemory>,
    batches: usize,
    most: usize,
    between: Meanwhile,
}

fn byte(position: u64) -> u8 {
    (position % 251) as u8
}

fn record(index: usize, received: u64, acknowledged: u64, sent: u64) -> SessionRecord {
    let at = |first: u32, count: u64| first.wrapping_add(1).wrapping_add(count as u32);
    SessionRecord {
        sequence: 2,
        cookie: 100 + index as u64,
        held_end: u64::from(at(IRS, received)),
        local: std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
        remote: std::net::Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets(),
        family: 2,
        local_port: 80,
        remote_port: 5000 + index as u16,
        state: TcpState::Established as u32,
        irs: IRS,
        iss: ISS,
        snd_una: at(ISS, acknowledged),
        snd_nxt: at(ISS, sent),
        write_seq: at(ISS, sent),
        rcv_nxt: at(IRS, received),
        copied_seq: at(IRS, received),
        rcv_wup: at(IRS, received),
        bytes_received: received,
        bytes_acked: acknowledged,
        mss_clamp: 1460,
        changed_at: index as u64,
        ..SessionRecord::new_zeroed()
    }
}

impl Target {
    /// Sessions that each received and sent so much.
    fn new(sessions: usize) -> (Target, Vec<SessionBox>) {
        Target::with(SHAPE, sessions)
    }

    fn with(shape: Shape, sessions: usize) -> (Target, Vec<SessionBox>) {
        let words = LocalWords::zeroed(session_table_bytes(RECORDS));
        SessionTable::lay_out(&words, 7, LEAST_RING, LEAST_RING / 2).unwrap();
        let (live, fd) = BoxMemory::create(shape).unwrap();
        let boxes = SharedMemory::map(fd.as_fd(), 0, shape.region_bytes(), Protection::ReadWrite).unwrap();
        let rings = vec![0; RECORDS * ring_stride(LEAST_RING) as usize];
        let between = Box::new(|_, _: &mut Vec<u8>| {});
        let mut target =
            Target { table: words.bytes(), rings, boxes, shape, live, batches: 0, most: 0, between };
        let kept = (0..sessions).map(|index| target.add(index)).collect();
        (target, kept)
    }

    /// A session that received 3000 bytes, snapshotted after 1000 of them, wrote 9000, of which 2000 are not acknowledged.
    fn add(&mut self, index: usize) -> SessionBox {
        let record = record(index, 3000, 7000, 8990);
        self.put(index, &record);
        for position in 0..3000 {
            let sequence = IRS.wrapping_add(1).wrapping_add(position as u32);
            let at = index * ring_stride(LEAST_RING) as usize + (sequence & (LEAST_RING - 1)) as usize;
            self.rings[at] = byte(position);
        }
        let mut kept = self.live.take(record.cookie).unwrap();
        kept.has_read(1000);
        kept.export(format!("snapshot of {index}").as_bytes()).unwrap();
        kept.has_read(2000);
        let stream: Vec<u8> = (0..9000).map(byte).collect();
        for piece in stream.chunks(1000) {
            assert_eq!(kept.will_write(piece), piece.len());
            kept.has_written(piece.len());
        }
        kept
    }

    fn put(&mut self, index: usize, record: &SessionRecord) {
        let at = 256 + index * size_of::<SessionRecord>();
        self.table[at..][..size_of::<SessionRecord>()].copy_from_slice(record.as_bytes());
    }

    /// Has a box say something else.
    fn alter(&self, index: u32, alter: impl FnOnce(&mut BoxHead)) {
        let at = SHAPE.box_position(index) as usize;
        let mut bytes = [0; size_of::<BoxHead>()];
        self.boxes.read_bytes(at, &mut bytes).unwrap();
        let mut head = BoxHead::read_from_bytes(&bytes).unwrap();
        alter(&mut head);
        self.boxes.write_bytes(at, head.as_bytes()).unwrap();
    }

    fn regions(&self) -> Regions {
        let region = |address, length: usize| Region {
            range: RemoteRange { address, length: length as u64, key: 1 },
            generation: 7,
        };
        Regions {
            sessions: region(0, self.table.len()),
            received: region(1 << 40, self.rings.len()),
            boxes: Some(Boxes { region: region(2 << 40, self.shape.region_bytes()), shape: self.shape }),
        }
    }
}

impl Link for Target {
    fn slot(&self) -> u32 {
        0
    }
    fn command_key(&self) -> CommandKey {
        CommandKey::from_bytes([1; 16])
    }
    fn connections(&self) -> usize {
        1
    }
    fn region(&self, kind: u32) -> Option<Region> {
        let Regions { sessions, boxes, .. } = self.regions();
        match kind {
            RegionKind::SESSIONS => Some(sessions),
            RegionKind::BOXES_FIRST => boxes.map(|boxes| boxes.region),
            _ => None,
        }
    }
    fn kinds(&self) -> Vec<u32> {
        Vec::new()
    }
    fn directory_sequence(&self) -> Option<(RemoteRange, u64)> {
        None
    }
    fn start(&mut self, _: Request<'_>, _: Duration) -> Result<Ticket, AccessError> {
        Err(AccessError::Busy)
    }
    fn poll(&mut self, _: &mut Vec<u8>) -> Option<(Ticket, Result<(), AccessError>)> {
        None
    }
    fn watch(&self, _: &mut dyn FnMut(BorrowedFd<'_>)) {}
    fn submit(&mut self, batch: &mut [Operation<'_>]) -> Result<(), AccessError> {
        (self.between)(self.batches, &mut self.table);
        self.batches += 1;
        self.most = self.most.max(batch.len());
        for operation in batch {
            let Operation::Read { from, into } = operation else { panic!("nothing is written") };
            let at = (from.address & ((1 << 40) - 1)) as usize;
            match from.address >> 40 {
                0 => into.copy_from_slice(&self.table[at..][..into.len()]),
                1 => into.copy_from_slice(&self.rings[at..][..into.len()]),
                _ => self.boxes.read_bytes(at, into).unwrap(),
            }
        }
        Ok(())
    }
    fn refresh(&mut self) -> Result<(), LinkError> {
        Ok(())
    }
}

fn pulled(target: &mut Target) -> Pulled {
    let regions = target.regions();
    pull(target, &regions, 0).unwrap()
}

/// The box of the session with this cookie.
fn box_of(pulled: &Pulled, cookie: u64) -> Result<BoxView, ViewError> {
    pulled.sessions.iter().find(|found| found.session.cookie == cookie).unwrap().boxed.clone().unwrap()
}

#[test]
fn sessions_come_whole_in_few_batches_and_the_hottest_first() {
    let (mut target, _kept) = Target::new(70);
    let pulled = pulled(&mut target);
    assert_eq!(pulled.sessions.len(), 70);
    assert!(pulled.sessions.is_sorted_by_key(|found| std::cmp::Reverse(found.session.cookie)));
    for found in &pulled.sessions {
        let received = found.received.as_ref().unwrap();
        // Nobody reads again what was read as of the snapshot.
        assert_eq!((received.start, &received.bytes), (1000, &(1000..3000).map(byte).collect()));
        let view = found.boxed.as_ref().unwrap().as_ref().unwrap();
        assert_eq!(view.newest.bytes, format!("snapshot of {}", found.session.index).into_bytes());
        let plan = Resumption::plan(&streams(&found.session, received), view).unwrap();
        assert_eq!((plan.unread, plan.unacknowledged.clone()), (1000..3000, 7000..8990));
        assert_eq!(plan.output, Output::Discard(8990));
        let unacknowledged = view.written_bytes(plan.unacknowledged).unwrap();
        assert_eq!(unacknowledged, (7000..8990).map(byte).collect::<Vec<_>>());
        // What was written and never sent is written again.
        assert_eq!((view.held(), view.written), (7000..8990, 8990));
    }
    assert!(target.most <= OPERATIONS);
    assert!(target.batches < 30, "{} batches", target.batches);
}

#[test]
fn a_few_sessions_come_in_two_batches() {
    let (mut target, _kept) = Target::with(Shape { capacity: 16, ..SHAPE }, 3);
    let pulled = pulled(&mut target);
    assert!(
        pulled.sessions.iter().all(|found| found.received.is_ok() && found.boxed.as_ref().unwrap().is_ok())
    );
    assert_eq!((pulled.sessions.len(), target.batches), (3, 2));
    assert_eq!(box_of(&pulled, 101).unwrap().newest.bytes, b"snapshot of 1");
}

#[test]
fn a_record_that_was_being_written_is_read_again_and_the_heads_of_boxes_after_it() {
    let (mut target, _kept) = Target::with(Shape { capacity: 16, ..SHAPE }, 1);
    let sound = record(0, 3000, 7000, 8990);
    target.put(0, &SessionRecord { sequence: 3, ..sound });
    target.between = Box::new(move |batch, table| {
        if batch == 1 {
            table[256..][..size_of::<SessionRecord>()].copy_from_slice(sound.as_bytes());
        }
    });
    let pulled = pulled(&mut target);
    // First look, the record twice, the heads, all the rest.
    assert_eq!((pulled.sessions.len(), pulled.unreadable.len(), target.batches), (1, 0, 5));
}

#[test]
fn a_snapshot_that_is_exported_over_while_it_is_read_is_told_as_replaced_and_the_next_reading_has_it() {
    let (mut target, mut kept) = Target::new(2);
    let mut one = kept.remove(0);
    // The application exports twice between the first look at the heads and the end.
    target.between = Box::new(move |batch, _| {
        if batch == 5 {
            one.export(b"newer").unwrap();
            one.export(b"newest").unwrap();
        }
    });
    let first = pulled(&mut target);
    assert_eq!(box_of(&first, 100).unwrap_err(), ViewError::Replaced);
    assert_eq!(box_of(&first, 101).unwrap().newest.bytes, b"snapshot of 1");
    let second = pulled(&mut target);
    assert_eq!(box_of(&second, 100).unwrap().newest.bytes, b"newest");
}

#[test]
fn received_bytes_that_are_overwritten_while_they_are_read_are_left_out() {
    let (mut target, _kept) = Target::new(1);
    let later = record(0, u64::from(LEAST_RING) + 1500, 7000, 8990);
    target.between = Box::new(move |batch, table| {
        if batch == 6 {
            table[256..][..size_of::<SessionRecord>()].copy_from_slice(later.as_bytes());
        }
    });
    let pulled = pulled(&mut target);
    assert!(target.batches > 6, "{} batches", target.batches);
    let received = pulled.sessions[0].received.clone().unwrap();
    assert_eq!((received.start, received.bytes.len()), (1500, 1500));
    assert_eq!(received.bytes[0], byte(1500));
}

#[test]
fn written_bytes_that_are_not_held_any_more_make_the_session_lost_and_not_wrong() {
    let (mut target, mut kept) = Target::new(1);
    kept[0].will_write(&[0; 4000]);
    kept[0].has_written(4000);
    // 7000 is acknowledged, and the ring holds what follows 4808 only.
    let mut wrong = record(0, 3000, 4000, 8990);
    target.put(0, &wrong);
    let found = pulled(&mut target).sessions.remove(0);
    let view = found.boxed.unwrap().unwrap();
    let plan = Resumption::plan(&streams(&found.session, &found.received.unwrap()), &view);
    assert!(plan.unwrap_err().to_string().contains("written bytes"));
    // A record that says more was acknowledged than ever written.
    wrong.bytes_acked = u64::from(u32::MAX);
    wrong.snd_una = ISS;
    wrong.snd_nxt = ISS;
    wrong.write_seq = ISS;
    target.put(0, &wrong);
    let found = pulled(&mut target).sessions.remove(0);
    let view = found.boxed.unwrap().unwrap();
    assert!(Resumption::plan(&streams(&found.session, &found.received.unwrap()), &view).is_err());
}

#[test]
fn a_connection_without_a_box_and_one_with_missed_bytes_are_told_as_such() {
    let (mut target, _kept) = Target::new(2);
    target.put(0, &SessionRecord { gaps: 1, ..record(0, 3000, 7000, 8990) });
    target.put(5, &record(5, 10, 0, 0));
    let pulled = pulled(&mut target);
    let of = |index| pulled.sessions.iter().find(|found| found.session.index == index).unwrap();
    assert_eq!(of(0).received, Err("received bytes of it were missed"));
    assert!(of(5).boxed.is_none());
    assert!(of(1).received.is_ok());
}

/// What was never sent of this session, as it is fetched when the session speaks.
fn fetched(target: &mut Target, found: &Found) -> Option<Vec<u8>> {
    let boxes = target.regions().boxes.unwrap();
    fetch_unsent(target, &boxes, &[found.unsent.unwrap()]).unwrap().remove(0)
}

#[test]
fn what_was_written_and_never_sent_is_fetched_later_unless_it_is_gone_by_then() {
    let (mut target, mut kept) = Target::new(1);
    assert_eq!(pulled(&mut target).sessions[0].unsent, None);
    // All of it is in the snapshot now, and 1500 bytes of it were sent.
    kept[0].export(b"later").unwrap();
    target.put(0, &record(0, 3000, 7000, 8500));
    let found = pulled(&mut target).sessions.remove(0);
    let view = found.boxed.as_ref().unwrap().as_ref().unwrap();
    let plan = Resumption::plan(&streams(&found.session, found.received.as_ref().unwrap()), view).unwrap();
    assert_eq!((plan.unacknowledged.clone(), plan.unsent.clone()), (7000..8500, 8500..9000));
    assert!(view.written_bytes(plan.unacknowledged).is_some() && view.written_bytes(plan.unsent).is_none());
    assert_eq!(fetched(&mut target, &found), Some((8500..9000).map(byte).collect()));
    // It is written over, and then the box is another's.
    assert_eq!(kept[0].will_write(&[0; 4000]), 4000);
    kept[0].has_written(4000);
    assert_eq!(fetched(&mut target, &found), Some((8500..9000).map(byte).collect()));
    assert_eq!(kept[0].will_write(&[0; 4000]), 4000);
    assert_eq!(fetched(&mut target, &found), None);
    drop(kept);
    let _other = target.live.take(7).unwrap();
    assert_eq!(fetched(&mut target, &found), None);
}

#[test]
fn of_a_session_that_was_ended_all_is_fetched_that_was_written_since_its_snapshot_too() {
    let (mut target, mut kept) = Target::new(1);
    kept[0].end();
    let found = pulled(&mut target).sessions.remove(0);
    let received = found.received.as_ref().unwrap();
    assert_eq!((received.start, received.bytes.len()), (3000, 0));
    let view = found.boxed.as_ref().unwrap().as_ref().unwrap();
    let plan = Resumption::plan(&streams(&found.session, received), view).unwrap();
    assert_eq!((plan.unacknowledged, plan.unsent), (7000..8990, 8990..9000));
    assert_eq!(fetched(&mut target, &found), Some((8990..9000).map(byte).collect()));
}

#[test]
fn of_two_boxes_of_one_connection_neither_is_believed() {
    let (mut target, _kept) = Target::new(2);
    let _other = target.live.take(100).unwrap();
    let pulled = pulled(&mut target);
    assert_eq!(box_of(&pulled, 100).unwrap_err(), ViewError::Twice);
    assert_eq!(box_of(&pulled, 101).unwrap().newest.bytes, b"snapshot of 1");
}

#[test]
fn a_box_that_makes_no_sense_is_told_and_the_others_are_pulled() {
    let (mut target, _kept) = Target::new(4);
    let most = u64::MAX;
    target.alter(0, |head| head.exports[(head.newest % 2) as usize].length = most);
    target.alter(1, |head| head.filled = head.written - 1);
    target.alter(2, |head| head.exports[(head.newest % 2) as usize].read = most);
    let pulled = pulled(&mut target);
    let of = |cookie| box_of(&pulled, cookie).unwrap_err();
    assert_eq!(of(100), ViewError::Length { length: most, room: SHAPE.snapshot_bytes });
    assert_eq!(of(101), ViewError::Filled { filled: 8999, written: 9000 });
    assert_eq!(of(102), ViewError::Ahead { done: "read", snapshot: most, live: 3000 });
    assert_eq!(box_of(&pulled, 103).unwrap().newest.bytes, b"snapshot of 3");
}

#[test]
fn a_record_with_impossible_numbers_is_told_and_the_others_are_pulled() {
    let (mut target, _kept) = Target::new(2);
    let sound = record(0, 3000, 7000, 8990);
    target.put(0, &SessionRecord { snd_nxt: sound.snd_una.wrapping_sub(1), ..sound });
    let pulled = pulled(&mut target);
    assert_eq!(pulled.unreadable, ["more acknowledged than sent"]);
    assert_eq!(pulled.sessions.len(), 1);
    assert!(box_of(&pulled, 101).is_ok());
}

#[test]
fn a_survey_tells_which_sessions_are_kept_and_since_when_boxes_are_behind() {
    let (mut target, mut kept) = Target::new(3);
    kept[1].export(b"now").unwrap();
    target.put(3, &record(3, 10, 10, 10));
    let seconds = Duration::from_secs;
    let mut ages = Ages::default();
    let mut look = |target: &mut Target, at| {
        let found = survey(target).unwrap();
        let [counts] = <[BoxCounts; 1]>::try_from(ages.take_in(at, &found)).unwrap();
        (counts.sessions, counts.kept, counts.behind, counts.longest_behind)
    };
    assert_eq!(look(&mut target, seconds(1)), (4, 3, 2, seconds(0)));
    assert!(target.batches < 6, "{} batches", target.batches);
    assert_eq!(look(&mut target, seconds(6)), (4, 3, 2, seconds(5)));
    // A new snapshot, and the application went on behind it at once.
    kept[0].export(b"later").unwrap();
    kept[0].has_read(2500);
    kept[2].export(b"later").unwrap();
    assert_eq!(look(&mut target, seconds(11)), (4, 3, 1, seconds(0)));
    kept[0].export(b"at last").unwrap();
    assert_eq!(look(&mut target, seconds(16)), (4, 3, 0, seconds(0)));
}
