//! Sessions that were recovered from another machine: a connection of this process, whose old box only it has, is rebuilt and handed
//! to a server.

use crate::dump;
use crate::host::{PATIENCE, eventually, inside_network};
use crate::segments::Segments;
use crate::served::{Client, Progress, Served, byte};
use backdoors_continuation_box::resume::{Output, Resumption, Streams};
use backdoors_continuation_box::service::{AdoptError, Adopter, Offered};
use backdoors_continuation_box::snapshot::{BoxMemory, BoxView, OldBox, Shape};
use backdoors_continuation_box::tcp::{self, Rebuilt, TcpState, rebuild};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;

/// Nobody captures it.
const OLD_PORT: u16 = 9000;
pub const SIZE: u64 = 200_000;
pub const SENT: u64 = 32_768;
pub const EXPORTED: u64 = 40_000;
pub const OLD: Shape = Shape { capacity: 3, snapshot_bytes: 64, ring_bytes: 256 << 10 };

/// What is left of a machine: a client of it waits for the rest of a download.
pub struct Old {
    pub client: Client,
    pub state: TcpState,
    pub old_box: Vec<u8>,
    pub plan: Resumption,
}

pub fn old_session(shape: Shape) -> Old {
    old_session_at((Ipv4Addr::LOCALHOST, OLD_PORT).into(), shape)
}

pub fn old_session_at(at: SocketAddr, shape: Shape) -> Old {
    let listener = TcpListener::bind(at).unwrap();
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut client, mut server) = (Client { stream }, listener.accept().unwrap().0);
    let (boxes, _fd) = BoxMemory::create(shape).unwrap();
    let mut session = boxes.take(tcp::cookie(server.as_fd()).unwrap()).unwrap();
    client.ask(b'd', SIZE);
    server.read_exact(&mut [0; 9]).unwrap();
    session.has_read(9);
    let bytes: Vec<u8> = (0..EXPORTED).map(byte).collect();
    server.write_all(&bytes[..SENT as usize]).unwrap();
    let written = if shape.ring_bytes > 0 { EXPORTED } else { SENT };
    let count = session.will_write(&bytes[..written as usize]);
    session.has_written(count);
    session.export(&Progress { request: b'd', size: SIZE, done: written, sum: 0 }.bytes()).unwrap();
    client.receive(0..SENT);
    // The next request, of which nothing was read.
    client.ask(b'p', 1);
    eventually("the next request", || (server.peek(&mut [0; 10]).unwrap() == 9).then_some(()));
    dump::acknowledged(&server);
    dump::acknowledged(&client.stream);
    let mut state = dump::dump(server);
    let old_box = boxes.read(0).unwrap();
    let view = BoxView::decode(shape, &old_box, None).unwrap().unwrap();
    let streams = Streams { acknowledged: SENT, sent: SENT, received: 18, held: 0..18 };
    let plan = Resumption::plan(&streams, &view).unwrap();
    // A part of it is written when the connection is resumed, the rest by the library.
    state.send.unsent = view.written_bytes(plan.unsent.clone()).unwrap();
    state.send.unsent.truncate(1000);
    Old { client, state, old_box, plan }
}

/// Offers a session with this box, and takes the answer.
pub fn offer(
    adopter: &mut Adopter,
    shape: Shape,
    old_box: &[u8],
    plan: &Resumption,
    cookie: u64,
    rebuilt: &Rebuilt,
) -> Result<Offered, AdoptError> {
    let view = BoxView::decode(shape, old_box, None).unwrap().unwrap();
    adopter.offer(&view, plan, cookie, rebuilt)?;
    adopter.offered()
}

/// Begins what was offered with a box, whatever that is, and takes the answer.
pub fn begin(
    adopter: &mut Adopter,
    offered: Offered,
    written: usize,
    shape: Shape,
    old_box: &[u8],
) -> Result<(), AdoptError> {
    adopter.begin(offered, written as u64, &OldBox { shape, pieces: vec![(0, old_box.into())] })?;
    adopter.begun()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, AdoptError>) -> (String, bool) {
    match outcome.unwrap_err() {
        AdoptError::Refused { reason, retry_helps } => (reason, retry_helps),
        error => panic!("{error}"),
    }
}

#[test]
fn a_recovered_session_goes_on_with_the_server_here_when_it_speaks_and_not_before() {
    inside_network(
        "adopted::a_recovered_session_goes_on_with_the_server_here_when_it_speaks_and_not_before",
        || {
            let mut served = Served::start("");
            assert!(served.connect_protected().is_protected());
            let Old { mut client, state, old_box, plan } = old_session(OLD);
            assert_eq!((plan.unread.clone(), plan.unsent.clone()), (9..18, SENT..EXPORTED));
            let segments = Segments::start(OLD_PORT);

            // Offered, not begun, and dropped: nobody hears anything of it, and nothing is left.
            let rebuilt = rebuild(state.clone()).unwrap();
            let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
            let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
            let offered = offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).unwrap();
            drop((offered, adopter, rebuilt));
            let rebuilt = eventually("a connection that is let go", || rebuild(state.clone()).ok());
            assert_eq!(segments.end().len(), 0);

            let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
            let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
            let offered = offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).unwrap();
            let resumed = rebuilt.resume().unwrap();
            assert_eq!(resumed.written, 1000);
            begin(&mut adopter, offered, resumed.written, OLD, &old_box).unwrap();
            drop((resumed, adopter));
            client.receive(SENT..SIZE);
            let mut answer = [0];
            client.stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer[0], 1);

            // It is one of the server's sessions, and outlives it, too.
            client.ask(b'd', 1 << 20);
            client.receive(0..100_000);
            served.kill();
            served.serve();
            client.receive(100_000..1 << 20);
        },
    );
}

#[test]
fn a_session_that_began_while_its_server_ended_waits_for_the_next() {
    inside_network("adopted::a_session_that_began_while_its_server_ended_waits_for_the_next", || {
        let mut served = Served::start("");
        assert!(served.connect_protected().is_protected());
        let Old { mut client, state, old_box, plan } = old_session(OLD);
        let rebuilt = rebuild(state.clone()).unwrap();
        let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
        let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
        let offered = offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).unwrap();
        served.kill();
        let resumed = rebuilt.resume().unwrap();
        begin(&mut adopter, offered, resumed.written, OLD, &old_box).unwrap();
        drop(resumed);
        served.serve();
        client.receive(SENT..SIZE);
    });
}

#[test]
fn what_cannot_go_on_here_is_refused_with_the_reason() {
    inside_network("adopted::what_cannot_go_on_here_is_refused_with_the_reason", || {
        let mut served = Served::start("output_ring = '256KiB'\nsessions = 2");
        assert!(served.connect_protected().is_protected());
        let Old { client, state, old_box, plan } = old_session(OLD);
        let rebuilt = rebuild(state.clone()).unwrap();
        let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
        let connect = |name: &str| Adopter::connect(served.socket(), name);
        let (reason, retry_helps) = refusal(connect("mail"));
        assert!(reason.contains("no service \"mail\"") && !retry_helps, "{reason}");
        let mut adopter = connect("web").unwrap();
        assert_eq!(adopter.shape().capacity, 2);
        let mut refused = |shape, old_box: &[u8], plan: &Resumption, cookie| {
            refusal(offer(&mut adopter, shape, old_box, plan, cookie, &rebuilt))
        };
        assert!(refused(OLD, &old_box, &plan, cookie + 1).0.contains("cookie"));
        let far = Resumption { unsent: SENT..SENT + (1 << 20), ..plan.clone() };
        assert!(refused(OLD, &old_box, &far, cookie).0.contains("in a ring of"));
        // All boxes are taken, and free again when their sessions end.
        let holders = [(); 2].map(|()| served.connect_protected());
        let (reason, retry_helps) = refused(OLD, &old_box, &plan, cookie);
        assert!(reason.contains("all 2 boxes") && retry_helps, "{reason}");
        drop(holders);
        let offered =
            eventually("a free box", || offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).ok());
        let (reason, _) = refusal(begin(&mut adopter, offered, 1_000_000, OLD, &old_box));
        assert!(reason.contains("more was written"), "{reason}");
        // What turns out otherwise when it speaks is lost, and its box is free again.
        let whole = old_box.clone();
        let mut refused = |shape, old_box: &[u8], plan: &Resumption| {
            let offered = offer(&mut adopter, OLD, &whole, plan, cookie, &rebuilt).unwrap();
            refusal(begin(&mut adopter, offered, 0, shape, old_box)).0
        };
        // It names a snapshot that is not there.
        let senseless = [&old_box[..8], &[3], &old_box[9..]].concat();
        assert!(refused(OLD, &senseless, &plan).contains("box makes no sense"));
        assert!(refused(Shape { capacity: 0, ..OLD }, &old_box, &plan).contains("0 boxes"));
        let other = Resumption { unread: 8..18, ..plan.clone() };
        assert!(refused(OLD, &old_box, &other).contains("plan"));
        let other = Resumption { output: Output::Discard(1), ..plan.clone() };
        assert!(refused(OLD, &old_box, &other).contains("plan"));
        let nobody = vec![0; old_box.len()];
        assert!(refused(OLD, &nobody, &plan).contains("nobody's"));
        served.kill();
        let no_server = || Adopter::connect(served.socket(), "web").err();
        let error = eventually("a server that is gone", no_server);
        assert!(matches!(error, AdoptError::Refused { retry_helps: true, .. }), "{error}");
        let error = Adopter::connect(Path::new("/nowhere"), "web").unwrap_err();
        assert!(matches!(error, AdoptError::NoAgent { .. }), "{error}");
        drop(client);
    });
}

#[test]
fn bytes_that_nobody_holds_and_the_client_may_lack_are_not_passed_over() {
    inside_network("adopted::bytes_that_nobody_holds_and_the_client_may_lack_are_not_passed_over", || {
        let served = Served::start("output = 'regenerated'");
        assert!(served.connect_protected().is_protected());
        let shape = Shape { ring_bytes: 0, ..OLD };
        let Old { mut client, state, old_box, plan } = old_session(shape);
        let rebuilt = rebuild(state.clone()).unwrap();
        let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
        let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
        let view = BoxView::decode(shape, &old_box, None).unwrap().unwrap();
        let streams = Streams { acknowledged: SENT - 100, sent: SENT, received: 18, held: 0..18 };
        let lacking = Resumption::plan(&streams, &view).unwrap();
        let (reason, _) = refusal(offer(&mut adopter, shape, &old_box, &lacking, cookie, &rebuilt));
        assert!(reason.contains("held by nobody"), "{reason}");
        let offered = offer(&mut adopter, shape, &old_box, &plan, cookie, &rebuilt).unwrap();
        let resumed = rebuilt.resume().unwrap();
        begin(&mut adopter, offered, resumed.written, shape, &old_box).unwrap();
        client.receive(SENT..SIZE);
    });
}
