mod endings;
mod offers;

use super::*;
use backdoors_continuation_box::resume::{Resumption, Streams};
use backdoors_continuation_box::service::message::{Begin, Offer};
use backdoors_continuation_box::snapshot::{SessionBox, Shape};
use backdoors_continuation_box::tcp::Sequences;
use backdoors_sensor_box::session::Received;
use std::cell::RefCell;
use std::rc::Rc;

const SHAPE: Shape = Shape { capacity: 3, snapshot_bytes: 64, ring_bytes: 4096 };
const KEEP: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that tells what becomes of it.
#[derive(Debug)]
struct Socket {
    cookie: u64,
    counts: Option<Counts>,
    fate: Rc<RefCell<Vec<(u64, &'static str)>>>,
    wire: Rc<RefCell<Wire>>,
}

/// Where all connections end that their servers are done with.
#[derive(Debug)]
struct Wire {
    ending: Ending,
    written: Vec<u8>,
    room: usize,
}

impl Held for Socket {
    fn cookie(&self) -> Option<u64> {
        Some(self.cookie)
    }
    fn counts(&self) -> Result<Counts, CountsError> {
        self.counts.ok_or(CountsError::Closed)
    }
    fn ending(&self) -> Ending {
        self.wire.borrow().ending
    }
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        let count = bytes.len().min(wire.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.room -= count;
        wire.written.extend(&bytes[..count]);
        Ok(count)
    }
    fn close(&self) {
        self.wire.borrow_mut().ending = Ending::Unacknowledged;
    }
    fn drain(&self) {}
    fn end(self) {
        self.fate.borrow_mut().push((self.cookie, "ended"));
    }
    fn reset(self) {
        self.fate.borrow_mut().push((self.cookie, "reset"));
    }
}

/// Ten bytes from position 0 on of every connection.
struct TenBytes;

impl Captured for TenBytes {
    fn look(&mut self) {}
    fn received(&self, _: u64) -> Option<Received> {
        Some(Received { start: 0, bytes: b"0123456789".to_vec() })
    }
}

struct Scene {
    desk: Desk<Socket>,
    boxes: Arc<BoxMemory>,
    fate: Rc<RefCell<Vec<(u64, &'static str)>>>,
    wire: Rc<RefCell<Wire>>,
    start: Instant,
}

impl Scene {
    fn new() -> Scene {
        Scene::after(None)
    }

    fn after(attached: Option<u32>) -> Scene {
        let (boxes, _fd) = BoxMemory::create(SHAPE).unwrap();
        let mut scene = Scene {
            desk: Desk::new(|pid| pid != 404, PATIENCE),
            boxes: Arc::clone(&boxes),
            fate: Rc::default(),
            wire: Rc::new(RefCell::new(Wire { ending: Ending::Open, written: Vec::new(), room: usize::MAX })),
            start: Instant::now(),
        };
        let now = scene.at(0);
        scene.desk.add("web", boxes, KEEP, attached, now);
        scene
    }

    fn at(&self, seconds: u64) -> Now {
        Now { instant: self.start + Duration::from_secs(seconds), shown: seconds }
    }

    fn socket(&self, cookie: u64, counts: Option<Counts>) -> Socket {
        Socket { cookie, counts, fate: Rc::clone(&self.fate), wire: Rc::clone(&self.wire) }
    }

    fn hello(&mut self, connection: ConnectionId, pid: u32, role: Role, seconds: u64) -> Option<Message> {
        let hello = Message::Hello(Hello { role, service: "web".into() });
        let now = self.at(seconds);
        self.desk.hear(connection, pid, hello, None, &[], now).answer
    }

    fn say(&mut self, connection: ConnectionId, message: Message, socket: Option<Socket>) -> Told {
        let now = self.at(0);
        self.desk.hear(connection, 1, message, socket, &[], now)
    }

    fn begin(&mut self, connection: ConnectionId, begin: Begin, old_box: &[u8]) -> Told {
        let now = self.at(0);
        self.desk.hear(connection, 1, Message::Begin(begin), None, old_box, now)
    }

    /// A session of the server on connection 1 that has read 4 bytes, exported, and read 3 more.
    fn session(&mut self, cookie: u64) -> SessionBox {
        let mut session = self.boxes.take(cookie).unwrap();
        session.has_read(4);
        session.export(b"state").unwrap();
        session.has_read(3);
        let keep = Keep { cookie, index: session.index(), reserved: 0, bases: Bases::default() };
        let socket = self.socket(cookie, Some(Counts { read: 7, written: 0 }));
        assert!(self.say(1, Message::Keep(keep), Some(socket)).answer.is_none());
        session
    }

    /// What a server is handed.
    fn handed(&mut self, connection: ConnectionId) -> Vec<(u64, Vec<u8>)> {
        let mut handed = Vec::new();
        self.desk.hand(connection, &mut TenBytes, &mut |recovered, _, replay| {
            assert_eq!(recovered.replay, replay.len() as u64);
            handed.push((recovered.keep.cookie, replay.to_vec()));
            Ok(())
        });
        handed
    }

    /// The server on connection 1 is done with a session.
    fn end(&mut self, mut session: SessionBox, cookie: u64) {
        let boxed = Boxed { cookie, index: session.index(), reserved: 0 };
        session.end();
        session.leave();
        self.say(1, Message::Ended(boxed), None);
    }

    fn look(&mut self, milliseconds: u64) {
        let instant = self.start + Duration::from_millis(milliseconds);
        self.desk.look_after(Now { instant, shown: 0 });
    }

    fn free_boxes(&self) -> usize {
        (0..SHAPE.capacity).filter(|index| self.boxes.cookie(*index) == Some(0)).count()
    }

    fn fate(&self) -> Vec<(u64, &'static str)> {
        self.fate.borrow().clone()
    }
}

fn is_welcome(answer: Option<Message>) -> bool {
    matches!(answer, Some(Message::Welcome(_)))
}

fn refusal(answer: Option<Message>) -> (String, bool) {
    let Some(Message::Refusal(Refusal { retry_helps, reason })) = answer else { panic!("{answer:?}") };
    (reason, retry_helps)
}

#[test]
fn the_sessions_of_a_server_that_died_are_handed_to_the_next_with_what_it_reads_again() {
    let mut scene = Scene::new();
    assert!(is_welcome(scene.hello(1, 10, Role::Server, 0)));
    for cookie in [7, 8] {
        scene.session(cookie).leave();
    }
    assert!(scene.desk.waiting().is_empty());
    scene.desk.lose(1, scene.at(1));
    assert!(is_welcome(scene.hello(2, 11, Role::Server, 2)));
    assert_eq!(scene.desk.waiting(), [2]);
    // Where there is no room it is tried again.
    let mut full = |_: &Recovered, _: &Socket, _: &[u8]| Err(io::ErrorKind::WouldBlock.into());
    scene.desk.hand(2, &mut TenBytes, &mut full);
    assert_eq!(scene.handed(2), [(7, b"456".to_vec()), (8, b"456".to_vec())]);
    assert_eq!((scene.handed(2), scene.fate()), (vec![], vec![]));
}

#[test]
fn a_session_that_cannot_go_on_is_reset_and_one_that_is_over_is_not_handed_on() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    // It read more than is held.
    let mut lost = scene.session(7);
    lost.has_read(1000);
    let keep = Keep { cookie: 7, index: lost.index(), reserved: 0, bases: Bases::default() };
    let socket = scene.socket(7, Some(Counts { read: 1007, written: 0 }));
    scene.say(1, Message::Keep(keep), Some(socket));
    lost.leave();
    let over = scene.session(8);
    let keep = Keep { cookie: 8, index: over.index(), reserved: 0, bases: Bases::default() };
    let socket = scene.socket(8, None);
    scene.say(1, Message::Keep(keep), Some(socket));
    over.leave();
    // The server had ended this one, and died before it said so.
    drop(scene.session(9));
    scene.desk.lose(1, scene.at(1));
    assert_eq!(scene.fate(), [(9, "ended")]);
    scene.hello(2, 11, Role::Server, 2);
    assert!(scene.handed(2).is_empty());
    assert_eq!(scene.fate(), [(9, "ended"), (7, "reset"), (8, "ended")]);
    assert!((0..3).all(|index| scene.boxes.cookie(index) == Some(0)), "all boxes are free");
}

#[test]
fn what_nobody_comes_for_is_ended_when_its_time_is_over_and_not_before() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    scene.session(7).leave();
    scene.desk.lose(1, scene.at(100));
    assert_eq!(scene.desk.next_deadline(), Some(scene.at(110).instant));
    scene.desk.look_after(scene.at(109));
    assert!(scene.fate().is_empty());
    scene.desk.look_after(scene.at(110));
    assert_eq!((scene.fate(), scene.desk.next_deadline()), (vec![(7, "ended")], None));
    assert_eq!(scene.boxes.cookie(0), Some(0));
}

#[test]
fn a_server_that_leaves_ends_its_sessions_and_one_that_lets_go_of_one_keeps_the_others() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let (first, second) = (scene.session(7), scene.session(8));
    let ended = |cookie, index| Message::Ended(Boxed { cookie, index, reserved: 0 });
    // Word of another session that had this box is no word of this.
    scene.say(1, ended(6, first.index()), None);
    scene.say(1, ended(8, second.index()), None);
    first.leave();
    assert!(scene.say(1, Message::Goodbye, None).hang_up);
    assert_eq!(scene.fate(), [(7, "ended")]);
    assert!(is_welcome(scene.hello(2, 11, Role::Server, 0)));
    assert!(scene.handed(2).is_empty());
}

#[test]
fn one_server_is_attached_at_a_time_and_the_one_of_before_a_restart_is_awaited() {
    let mut scene = Scene::new();
    assert!(is_welcome(scene.hello(1, 10, Role::Server, 0)));
    let (reason, retry_helps) = refusal(scene.hello(2, 11, Role::Server, 0));
    assert!(reason.contains("process 10") && retry_helps, "{reason}");
    let mut scene = Scene::after(Some(10));
    let (reason, retry_helps) = refusal(scene.hello(2, 11, Role::Server, 4));
    assert!(reason.contains("process 10") && retry_helps, "{reason}");
    assert!(is_welcome(scene.hello(3, 10, Role::ServerAgain, 4)));
    let mut scene = Scene::after(Some(10));
    assert!(is_welcome(scene.hello(2, 11, Role::Server, 5)));
    // There is nobody to be waited for.
    let mut scene = Scene::after(Some(404));
    assert!(is_welcome(scene.hello(2, 11, Role::Server, 0)));
}

#[test]
fn a_server_of_before_a_restart_keeps_its_boxes_and_another_ones_are_freed() {
    for (role, freed) in [(Role::ServerAgain, false), (Role::Server, true)] {
        let mut scene = Scene::after(Some(10));
        scene.boxes.take(7).unwrap().leave();
        scene.hello(1, 10, role, 0);
        assert_eq!(scene.boxes.cookie(0) == Some(0), freed, "{role:?}");
    }
}

#[test]
fn only_a_session_with_its_own_box_and_socket_is_kept() {
    let mut scene = Scene::new();
    scene.hello(1, 10, Role::Server, 0);
    let session = scene.boxes.take(7).unwrap();
    let mut keep = |cookie, index, socket: Option<u64>| {
        let socket = socket.map(|cookie| scene.socket(cookie, Some(Counts { read: 0, written: 0 })));
        let keep = Keep { cookie, index, reserved: 0, bases: Bases::default() };
        let answer = scene.say(1, Message::Keep(keep), socket).answer;
        matches!(answer, Some(Message::NotKept(..)))
    };
    assert!(keep(7, 0, None) && keep(7, 1, Some(7)) && keep(8, 0, Some(8)) && keep(7, 0, Some(8)));
    assert!(keep(7, 99, Some(7)) && keep(BEING_MADE, 1, Some(BEING_MADE)) && keep(0, 1, Some(0)));
    assert!(!keep(7, 0, Some(7)));
    drop(session);
}

#[test]
fn nobody_says_what_is_not_his_to_say() {
    let mut scene = Scene::new();
    for message in [Message::Ready, Message::Begun, Message::Goodbye] {
        assert!(scene.say(5, message, None).hang_up);
    }
    scene.hello(1, 10, Role::Server, 0);
    scene.hello(2, 12, Role::Adopter, 0);
    let hello = Message::Hello(Hello { role: Role::Server, service: "web".into() });
    let begin = Begin::new(Boxed { cookie: 7, index: 0, reserved: 0 }, 0, SHAPE);
    assert!(scene.say(1, hello, None).hang_up);
    assert!(scene.say(1, Message::Begin(begin), None).hang_up);
    assert!(scene.say(2, Message::Goodbye, None).hang_up);
    refusal(scene.say(2, Message::Begin(begin), None).answer);
}
