//! The plan against a model: a client, a server's kernel and an application, in any interleaving, with a crash at any point.

use super::*;
use crate::snapshot::layout::BEING_MADE;
use crate::snapshot::{BoxMemory, RestoreError, SessionBox, Shape};
use proptest::prelude::*;
use std::sync::Arc;

const RING: u32 = 4096;
/// Bytes that the kernel's send buffer takes, unacknowledged ones included.
const SEND_BUFFER: u64 = 1500;
/// What the kernel half holds of received bytes.
const RECEIVE_RING: usize = 2048;
/// What the receive window lets the client send, at most.
const WINDOW: u64 = 700;
const SEGMENT: u64 = 300;

/// The client's stream.
fn sent_by_client(position: u64) -> u8 {
    (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// A deterministic application: what it writes depends on all that it has read, and not on how much at a time. For each byte
/// it reads it writes one or two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Application {
    sum: u8,
    pending: Vec<u8>,
}

impl Application {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(*byte);
            self.pending.push(self.sum);
            if self.sum & 1 == 1 {
                self.pending.push(!self.sum);
            }
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        [&[self.sum][..], &self.pending].concat()
    }

    fn resume(snapshot: &[u8]) -> Application {
        match snapshot {
            [] => Application::default(),
            [sum, pending @ ..] => Application { sum: *sum, pending: pending.to_vec() },
        }
    }

    /// All that it ever writes, given so many bytes.
    fn output(count: u64) -> Vec<u8> {
        let mut application = Application::default();
        application.read(&(0..count).map(sent_by_client).collect::<Vec<u8>>());
        application.pending
    }
}

/// What the kernel half keeps of a connection.
#[derive(Clone, Debug)]
struct Record {
    acknowledged: u64,
    sent: u64,
    received: u64,
    ring: Vec<u8>,
    /// Highest byte put in the ring, as a position.
    highest: u64,
}

#[derive(Debug)]
struct World {
    session: SessionBox,
    application: Application,
    /// In the server's kernel. Positions.
    received: u64,
    early: Vec<Range<u64>>,
    read: u64,
    /// Written bytes that are not acknowledged, from `acknowledged` on.
    send_queue: Vec<u8>,
    acknowledged: u64,
    sent: u64,
    record: Record,
    /// At the client.
    client_acknowledged: u64,
    client_received: Vec<u8>,
}

/// A step of the world.
#[derive(Clone, Debug)]
enum Step {
    /// The client sends a segment, from so far behind what was acknowledged on.
    Arrive {
        ahead: u64,
        length: u64,
    },
    Read(usize),
    Write {
        length: usize,
        taken: usize,
    },
    Export,
    /// The server sends from so far behind the first unacknowledged byte on; nothing is an acknowledgement alone.
    Send {
        ahead: u64,
        length: u64,
        lost: bool,
    },
    /// The client's acknowledgement arrives.
    Acknowledge,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop_oneof![Just(0), 0..WINDOW / 2], 1..SEGMENT).prop_map(|(ahead, length)| Step::Arrive { ahead, length }),
        4 => (1_usize..400).prop_map(Step::Read),
        4 => (1_usize..600, 0_usize..600).prop_map(|(length, taken)| Step::Write { length, taken }),
        2 => Just(Step::Export),
        5 => (0..SEND_BUFFER, 0..SEGMENT, any::<bool>())
            .prop_map(|(ahead, length, lost)| Step::Send { ahead, length, lost }),
        3 => Just(Step::Acknowledge),
    ]
}

impl World {
    fn new(memory: &Arc<BoxMemory>) -> World {
        World {
            session: memory.take(1).unwrap(),
            application: Application::default(),
            received: 0,
            early: Vec::new(),
            read: 0,
            send_queue: Vec::new(),
            acknowledged: 0,
            sent: 0,
            record: Record { acknowledged: 0, sent: 0, received: 0, ring: vec![0; RECEIVE_RING], highest: 0 },
            client_acknowledged: 0,
            client_received: Vec::new(),
        }
    }

    fn note(&mut self) {
        self.record.acknowledged = self.acknowledged;
        self.record.sent = self.sent;
        self.record.received = self.received;
    }

    /// `halfway` ends a step that has parts in its middle, as a crash does.
    fn take(&mut self, step: &Step, halfway: bool) {
        match *step {
            Step::Arrive { ahead, length } => {
                // What is old, or more than the window lets in, is not taken.
                let start = (self.client_acknowledged + ahead).max(self.received);
                let end = (self.client_acknowledged + ahead + length).min(self.read + WINDOW);
                if start >= end {
                    return;
                }
                for position in start..end {
                    self.record.ring[position as usize % RECEIVE_RING] = sent_by_client(position);
                }
                self.record.highest = self.record.highest.max(end);
                if halfway {
                    return;
                }
                self.early.push(start..end);
                self.early.sort_by_key(|range| range.start);
                for range in std::mem::take(&mut self.early) {
                    if range.start <= self.received {
                        self.received = self.received.max(range.end);
                    } else {
                        self.early.push(range);
                    }
                }
            }
            Step::Read(length) => {
                let length = length.min((self.received - self.read) as usize);
                // It exports before its snapshot falls behind further than is held, and has no boundless memory.
                let behind = self.read + length as u64 - self.session.exported().0;
                if behind > RECEIVE_RING as u64 - WINDOW || self.application.pending.len() > 2000 {
                    return;
                }
                let bytes: Vec<u8> = (self.read..self.read + length as u64).map(sent_by_client).collect();
                self.read += length as u64;
                self.note();
                if !halfway {
                    self.session.has_read(length);
                    self.application.read(&bytes);
                }
            }
            Step::Write { length, taken } => {
                let length = length.min(self.application.pending.len());
                let bytes = self.application.pending[..length].to_vec();
                let count = self.session.will_write(&bytes);
                let room = (SEND_BUFFER as usize).saturating_sub(self.send_queue.len());
                let taken = taken.min(count).min(room);
                if halfway && length.is_multiple_of(2) {
                    return;
                }
                self.send_queue.extend(&bytes[..taken]);
                if !halfway {
                    self.session.has_written(taken);
                    self.application.pending.drain(..taken);
                }
            }
            Step::Export => {
                if !halfway {
                    self.session.export(&self.application.snapshot()).unwrap();
                }
            }
            Step::Send { ahead, length, lost } => {
                let queued = self.acknowledged + self.send_queue.len() as u64;
                let start = (self.acknowledged + ahead).min(self.sent);
                let end = (start + length).min(queued);
                self.sent = self.sent.max(end);
                self.note();
                if lost || halfway {
                    return;
                }
                self.client_acknowledged = self.received;
                let known = self.client_received.len() as u64;
                if start <= known && end > known {
                    let from = (known - self.acknowledged) as usize;
                    let until = (end - self.acknowledged) as usize;
                    self.client_received.extend(&self.send_queue[from..until]);
                }
            }
            Step::Acknowledge => {
                let acknowledged = self.client_received.len() as u64;
                self.send_queue.drain(..(acknowledged - self.acknowledged) as usize);
                self.acknowledged = acknowledged;
            }
        }
    }

    /// What another node makes of what is left, and whether the client and the application get all there is to get.
    fn recover(&self, view: &BoxView) -> Result<(), TestCaseError> {
        let Record { acknowledged, sent, received, ref ring, highest } = self.record;
        let streams = Streams {
            acknowledged,
            sent,
            received,
            held: highest.saturating_sub(RECEIVE_RING as u64)..received,
        };
        let plan = Resumption::plan(&streams, view);
        prop_assert!(plan.is_ok(), "{plan:?} {streams:?}");
        let plan = plan.unwrap();

        // The box it gets here holds as much as the one it had there.
        let shape = Shape {
            capacity: 1,
            snapshot_bytes: 4096,
            ring_bytes: if view.ring.is_some() { RING } else { 0 },
        };
        let (memory, _fd) = BoxMemory::create(shape).unwrap();
        let mut session = restored(&memory, 2, view, &plan).unwrap();
        let again = BoxView::decode(shape, &memory.read(0).unwrap(), None).unwrap().unwrap();
        prop_assert_eq!(again.cookie, 2);
        prop_assert_eq!(&again.newest, &view.newest);
        prop_assert_eq!(Resumption::plan(&streams, &again), Ok(plan.clone()));
        let stream = plan.unacknowledged.start..plan.unsent.end;
        prop_assert_eq!(again.written_bytes(stream.clone()), view.written_bytes(stream.clone()));

        let mut application = Application::resume(&view.newest.bytes);
        let unread: Vec<u8> =
            plan.unread.clone().map(|position| ring[position as usize % RECEIVE_RING]).collect();
        application.read(&unread);
        // What the client may have forgotten is there, and it knows of nothing that was not sent.
        prop_assert!(received >= self.client_acknowledged);
        prop_assert!(streams.sent >= self.client_received.len() as u64);
        // The client sends the rest.
        const REST: u64 = 1000;
        application.read(&(received..received + REST).map(sent_by_client).collect::<Vec<u8>>());

        let mut wire =
            view.written_bytes(plan.unacknowledged.start..plan.unsent.end).map(|bytes| bytes.to_vec());
        match plan.output {
            Output::Discard(count) => {
                wire.as_mut().unwrap().extend(&application.pending[count as usize..]);
            }
            Output::Regenerate { back, discard, sent } => {
                prop_assert_eq!(sent, plan.unacknowledged.end - plan.unacknowledged.start);
                let all = Application::output(received + REST);
                let from = view.newest.written - back + discard;
                prop_assert_eq!(from, streams.acknowledged);
                wire = Some(all[from as usize..].to_vec());
            }
        }
        let wire = wire.unwrap();
        // Where it has come again to half of what it had written, a snapshot says so.
        let (ahead, passed) = (session.ahead(), session.ahead() / 2);
        session.has_passed(passed as usize);
        session.export(b"").unwrap();
        let again = BoxView::decode(shape, &memory.read(0).unwrap(), None).unwrap().unwrap();
        prop_assert_eq!(again.newest.written, stream.end.max(view.newest.written) - ahead + passed);
        prop_assert!(Resumption::plan(&streams, &again).is_ok());
        let known = self.client_received.len() as u64 - streams.acknowledged;
        let whole = [&self.client_received[..], &wire[known as usize..]].concat();
        prop_assert_eq!(whole, Application::output(received + REST));
        // And what it has already, it has the same.
        prop_assert_eq!(&self.client_received[streams.acknowledged as usize..], &wire[..known as usize]);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn after_a_crash_at_any_point_client_and_application_get_every_byte_once(
        steps in proptest::collection::vec(step(), 1..500),
        halfway: bool,
        is_held: bool,
    ) {
        let shape = Shape { capacity: 1, snapshot_bytes: 4096, ring_bytes: if is_held { RING } else { 0 } };
        let (memory, _fd) = BoxMemory::create(shape).unwrap();
        let mut world = World::new(&memory);
        let (last, rest) = steps.split_last().unwrap();
        for step in rest {
            world.take(step, false);
        }
        world.take(last, halfway);
        let view = BoxView::decode(shape, &memory.read(0).unwrap(), None).unwrap().unwrap();
        world.recover(&view)?;
    }
}

fn streams(acknowledged: u64, sent: u64, received: u64) -> Streams {
    Streams { acknowledged, sent, received, held: received.saturating_sub(RECEIVE_RING as u64)..received }
}

/// A box of this memory for a session, with what is left of its old one.
fn restored(
    memory: &Arc<BoxMemory>,
    cookie: u64,
    old: &BoxView,
    plan: &Resumption,
) -> Result<SessionBox, RestoreError> {
    let index = memory.reserve_for(old.newest.bytes.len() as u64, old.is_ended, plan)?;
    assert_eq!(memory.cookie(index), Some(BEING_MADE));
    memory.restore(index, cookie, old, plan)
}

/// A box after so much read and written, with a snapshot at such a point.
fn session(read: u64, written: u64, snapshot: (u64, u64), is_held: bool) -> BoxView {
    let held = vec![7; written.min(RING.into()) as usize];
    let ring =
        is_held.then(|| crate::snapshot::Ring::whole(written.saturating_sub(RING.into()), held.into()));
    let newest =
        crate::snapshot::Export { number: 1, read: snapshot.0, written: snapshot.1, bytes: Vec::new() };
    BoxView { cookie: 1, newest, read, written, is_ended: false, ring }
}

#[test]
fn what_was_sent_after_the_snapshot_is_sent_again_as_it_was_and_discarded_when_it_comes_anew() {
    let plan = Resumption::plan(&streams(100, 300, 50), &session(50, 300, (20, 150), true)).unwrap();
    assert_eq!((plan.unread, plan.unacknowledged, plan.unsent), (20..50, 100..300, 300..300));
    assert_eq!(plan.output, Output::Discard(150));
}

#[test]
fn what_was_written_before_the_snapshot_and_never_sent_is_kept() {
    let plan = Resumption::plan(&streams(100, 120, 50), &session(50, 300, (50, 250), true)).unwrap();
    assert_eq!((plan.unread, plan.unacknowledged, plan.unsent), (50..50, 100..120, 120..250));
    assert_eq!(plan.output, Output::Discard(0));
}

#[test]
fn where_nobody_holds_the_output_the_application_goes_back_or_skips() {
    let plan = Resumption::plan(&streams(100, 120, 50), &session(50, 300, (50, 250), false)).unwrap();
    assert_eq!(plan.output, Output::Regenerate { back: 150, discard: 0, sent: 20 });
    let plan = Resumption::plan(&streams(100, 120, 50), &session(50, 300, (50, 30), false)).unwrap();
    assert_eq!(plan.output, Output::Regenerate { back: 0, discard: 70, sent: 20 });
}

#[test]
fn a_session_that_was_ended_needs_all_that_was_written_and_nothing_that_was_read() {
    let ended = |is_held| BoxView { is_ended: true, ..session(50, 300, (20, 150), is_held) };
    let nothing_held = |acknowledged, sent| Streams { held: 90..90, ..streams(acknowledged, sent, 90) };
    let plan = Resumption::plan(&nothing_held(100, 120), &ended(true)).unwrap();
    assert_eq!((plan.unread, plan.unacknowledged, plan.unsent), (90..90, 100..120, 120..300));
    assert_eq!(plan.output, Output::Discard(0));
    // Where nobody holds the output the client must have all of it.
    let lost = Resumption::plan(&nothing_held(100, 300), &ended(false)).unwrap_err();
    assert_eq!(lost, Lost::Ended { unacknowledged: 200 });
    let plan = Resumption::plan(&nothing_held(300, 300), &ended(false)).unwrap();
    assert_eq!((plan.unacknowledged, plan.unsent, plan.output), (300..300, 300..300, Output::Discard(0)));
    let over = BoxView { is_ended: true, ..session(0, 5000, (0, 0), true) };
    let lost = Resumption::plan(&nothing_held(100, 5000), &over).unwrap_err();
    assert_eq!(lost, Lost::Written { missing: 100..904 });
}

#[test]
fn a_session_that_was_ended_may_fill_the_whole_ring_of_its_new_box_and_stays_ended() {
    let old = BoxView { is_ended: true, ..session(50, 4096, (50, 0), true) };
    let plan = Resumption::plan(&streams(0, 4096, 50), &old).unwrap();
    let shape = Shape { capacity: 1, snapshot_bytes: 8, ring_bytes: 4096 };
    let (memory, _fd) = BoxMemory::create(shape).unwrap();
    restored(&memory, 1, &old, &plan).unwrap().leave();
    let view = BoxView::decode(shape, &memory.read(0).unwrap(), None).unwrap().unwrap();
    assert!(view.is_ended);
    assert_eq!(Resumption::plan(&streams(0, 4096, 50), &view), Ok(plan));
}

#[test]
fn what_was_sent_and_what_waits_behind_it_may_each_fill_half_of_the_ring() {
    // An acknowledgement of 1500 bytes freed room for as many, and is not noted yet.
    let old = session(50, 4000, (50, 4000), true);
    let plan = Resumption::plan(&streams(500, 2400, 50), &old).unwrap();
    assert_eq!((plan.unacknowledged.clone(), plan.unsent.clone()), (500..2400, 2400..4000));
    let shape = Shape { capacity: 1, snapshot_bytes: 8, ring_bytes: 4096 };
    let (memory, _fd) = BoxMemory::create(shape).unwrap();
    restored(&memory, 1, &old, &plan).unwrap().leave();
    let view = BoxView::decode(shape, &memory.read(0).unwrap(), None).unwrap().unwrap();
    assert_eq!(view.written_bytes(500..4000), old.written_bytes(500..4000));
    for sent in [600, 3000] {
        let too_much = Resumption::plan(&streams(500, sent, 50), &old).unwrap();
        let (memory, _fd) = BoxMemory::create(shape).unwrap();
        assert!(matches!(restored(&memory, 1, &old, &too_much), Err(RestoreError::Ring { ring: 4096, .. })));
    }
}

#[test]
fn a_session_with_more_than_the_boxes_here_have_room_for_is_not_restored() {
    use crate::snapshot::ExportError;
    let old = session(50, 3000, (50, 0), true);
    let plan = Resumption::plan(&streams(500, 3000, 50), &old).unwrap();
    let restore = |shape: Shape, old: &BoxView| {
        let (memory, _fd) = BoxMemory::create(shape).unwrap();
        let _other = memory.take(9);
        restored(&memory, 1, old, &plan).err()
    };
    let shape = Shape { capacity: 2, snapshot_bytes: 8, ring_bytes: 8192 };
    assert_eq!(restore(shape, &old), None);
    assert_eq!(restore(Shape { capacity: 1, ..shape }, &old), Some(RestoreError::Full(1)));
    let ring = RestoreError::Ring { needed: 2500, ring: 4096 };
    assert_eq!(restore(Shape { ring_bytes: 4096, ..shape }, &old), Some(ring));
    let mut larger = old;
    larger.newest.bytes = vec![0; 9];
    let error = ExportError::TooLarge { length: 9, room: 8 };
    assert_eq!(restore(shape, &larger), Some(error.into()));
}

#[test]
fn what_cannot_be_exact_is_lost_with_the_reason() {
    let plan = |streams: Streams, session| Resumption::plan(&streams, &session).unwrap_err();
    // The snapshot is from long ago.
    let old = plan(streams(0, 0, 5000), session(5000, 0, (100, 0), true));
    assert_eq!(old, Lost::Received { missing: 100..2952 });
    // A gap at the end.
    let gap = Streams { held: 0..40, ..streams(0, 0, 50) };
    assert_eq!(plan(gap, session(50, 0, (0, 0), true)), Lost::Received { missing: 40..50 });
    let written_over = plan(streams(100, 5000, 0), session(0, 5000, (0, 0), true));
    assert_eq!(written_over, Lost::Written { missing: 100..904 });
    let around_the_box = plan(streams(0, 10, 0), session(0, 5, (0, 0), true));
    assert_eq!(around_the_box, Lost::SentMore { sent: 10, written: 5 });
    let ahead = plan(streams(0, 0, 9), session(20, 0, (10, 0), true));
    assert_eq!(ahead, Lost::ReadMore { read: 10, received: 9 });
    let backwards = plan(streams(11, 10, 9), session(0, 20, (0, 0), true));
    assert_eq!(backwards, Lost::Impossible { acknowledged: 11, sent: 10 });
}
