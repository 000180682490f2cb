use super::lab::*;
use crate::peers::protocol::{MOST_BYTES, MOST_TARGETS, Question, Reply, Said};
use crate::peers::*;
use backdoors_rdma::handshake::Framed;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn a_peer_with_another_certificate_is_neither_believed_nor_answered() {
    let (lab, mut sockets) = Lab::of(2);
    let (mut stranger, _) = Lab::of(2);
    // It has the peer's name and address, but keys of its own; it knows the true first monitor.
    stranger.monitors[1].1 = lab.monitors[1].1;
    stranger.monitors[0] = lab.monitors[0].clone();
    std::fs::copy(lab.peer(0).certificate, stranger.peer(0).certificate).unwrap();
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let second = stranger.start(1, sockets.pop(), &["web1"], &known);
    let first = lab.start(0, sockets.pop(), &["web1"], &known);
    let standing = wait_for_problem(&first.opinions(), "another certificate");
    assert_eq!((standing.reach, standing.asks), (PeerReach::Unreachable, false));
    assert_eq!(first.opinions().about("web1"), []);
    wait_for_problem(&second.opinions(), "does not know this side's certificate");
    assert_eq!(second.opinions().about("web1"), []);
}

/// What a liar answers to a question.
type Lie = fn(&Question) -> Vec<u8>;

#[test]
fn lies_about_the_protocol_end_the_conversation_and_change_no_opinion() {
    let lies: [(&str, Lie); 7] = [
        ("another question", |question| {
            Reply::Answers { number: question.number + 1, about: vec![Said::Unknown; 1] }.encode()
        }),
        ("2 answers to a question about 1", |question| {
            Reply::Answers { number: question.number, about: vec![Said::Unknown; 2] }.encode()
        }),
        ("does not speak the protocol", |_| b"{\"answers\":{\"number\":".to_vec()),
        ("does not speak the protocol", |_| vec![0xff; 1000]),
        ("does not speak the protocol", |_| Vec::new()),
        ("refused to answer: ??go away", |_| Reply::Refused { reason: "\r\ngo away".into() }.encode()),
        ("longer than agreed", |_| vec![b'['; MOST_BYTES + 1]),
    ];
    for (complaint, lie) in lies {
        let (lab, mut sockets) = Lab::of(2);
        let speak = move |_: usize, mut conversation: Framed| {
            let question = receive(&mut conversation).unwrap();
            let about = vec![Some(read_before(1)).into()];
            send(&mut conversation, &Reply::Answers { number: question.number, about });
            let question = receive(&mut conversation).unwrap();
            // It may be hung up on before all of it is sent.
            drop(conversation.send(&lie(&question), PATIENCE));
            assert_eq!(receive(&mut conversation), None);
        };
        let liar = lab.play(1, sockets.pop().unwrap(), 1, speak);
        let first = lab.start(0, None, &["web1"], &Arc::default());
        let opinions = first.opinions();
        let before = wait_for_opinion(&opinions, "web1", |_| true);
        opinions.ask("web1");
        wait_for_problem(&opinions, complaint);
        liar.join().unwrap();
        assert_eq!(opinions.about("web1"), [before]);
    }
}

#[test]
fn absurd_ages_are_taken_as_they_are() {
    let (lab, mut sockets) = Lab::of(2);
    let absurd = Answered { last_good_age: Some(Duration::from_nanos(u64::MAX)), ..read_before(0) };
    let known = Arc::new(Known::default());
    known.set("web1", absurd);
    let _second = lab.start(1, sockets.pop(), &["web1"], &known);
    let first = lab.start(0, None, &["web1"], &Arc::default());
    let heard = wait_for_opinion(&first.opinions(), "web1", |_| true);
    assert_eq!(heard.last_good(), Some(Duration::ZERO));
}

#[test]
fn a_peer_that_hangs_half_way_is_given_up_in_a_second_and_holds_up_nobody() {
    let (lab, mut sockets) = Lab::of(3);
    let hang = |call: usize, mut conversation: Framed| {
        let question = receive(&mut conversation).unwrap();
        if call > 0 {
            let about = vec![Some(read_before(9)).into()];
            send(&mut conversation, &Reply::Answers { number: question.number, about });
        }
        // The first time it says nothing, until it is hung up on.
        assert_eq!(receive(&mut conversation), None);
    };
    let hanging = lab.play(2, sockets.pop().unwrap(), 2, hang);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start_among(1, &[0], sockets.pop(), &["web1"], &known);
    let first = lab.start(0, None, &["web1"], &Arc::default());
    let opinions = first.opinions();
    let of = |opinions: &[Opinion], monitor: &str| opinions.iter().any(|opinion| opinion.monitor == monitor);
    wait_for("the other peer's opinion", || of(&opinions.about("web1"), "m1").then_some(()));
    // The one that hangs is asked, and the other answers at once.
    let begun = Instant::now();
    let before = opinions.about("web1")[0].at;
    opinions.ask("web1");
    wait_for_opinion(&opinions, "web1", |opinion| opinion.at > before);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(!of(&opinions.about("web1"), "m2"));

    wait_for("the end of the wait", || {
        let standing = opinions.standings().remove(1);
        (standing.problem.as_deref() == Some("nothing came in time")).then_some(())
    });
    wait_for("the answer to the second call", || of(&opinions.about("web1"), "m2").then_some(()));
    drop(first);
    hanging.join().unwrap();
}

#[test]
fn a_peer_that_floods_is_slowed_down_and_others_are_answered() {
    let (lab, mut sockets) = Lab::of(3);
    drop(sockets.pop());
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &[], &known);
    // It asks for as much as it can, and reads the answers, for half a second.
    let mut flood = lab.call(2, 1);
    let question = Question::new(1, vec!["web1".into(); MOST_TARGETS]).encode();
    let flooding = std::thread::spawn(move || {
        let (begun, mut answers, mut answer) = (Instant::now(), 0, Vec::new());
        while begun.elapsed() < Duration::from_millis(500) {
            flood.send(&question, PATIENCE).unwrap();
            flood.receive(&mut answer, MOST_BYTES, PATIENCE).unwrap();
            answers += 1;
        }
        (answers, begun.elapsed())
    });
    let first = lab.start(0, None, &["web1"], &Arc::default());
    let opinions = first.opinions();
    for _ in 0..20 {
        let begun = Instant::now();
        let before = now();
        opinions.ask("web1");
        wait_for_opinion(&opinions, "web1", |opinion| opinion.asked >= before);
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    let (answers, took) = flooding.join().unwrap();
    // 4096 targets at once, and 20 000 in a second.
    let most = 16.0 + took.as_secs_f64() * 20_000.0 / 256.0 + 2.0;
    assert!(f64::from(answers) <= most, "{answers} in {took:?}");
}

fn stranger(lab: &Lab, to: usize) -> TcpStream {
    TcpStream::connect(lab.monitors[to].1).unwrap()
}

fn is_hung_up_on(mut stranger: &TcpStream) -> bool {
    stranger.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    !matches!(stranger.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_crowd_of_strangers_that_say_nothing_keeps_no_peer_out() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &[], &known);
    let crowd: Vec<_> = (0..50).map(|_| stranger(&lab, 1)).collect();
    let begun = Instant::now();
    let first = lab.start(0, None, &["web1"], &Arc::default());
    wait_for_opinion(&first.opinions(), "web1", |_| true);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // Those who came first made room.
    let over = crowd.iter().filter(|stranger| is_hung_up_on(stranger)).count();
    assert!(over >= 50 - 16, "{over}");
}

#[test]
fn the_stranger_who_has_taken_longest_makes_room() {
    let (lab, mut sockets) = Lab::of(2);
    let _second = lab.start(1, sockets.pop(), &[], &Arc::default());
    let mut crowd: Vec<_> = (0..16).map(|_| stranger(&lab, 1)).collect();
    for made_room in 0..5 {
        assert!(!crowd[made_room..].iter().any(is_hung_up_on));
        crowd.push(stranger(&lab, 1));
        wait_for("room", || is_hung_up_on(&crowd[made_room]).then_some(()));
        assert!(!crowd[made_room + 1..].iter().any(is_hung_up_on));
    }
}

#[test]
fn a_peer_has_one_conversation_and_the_newest_counts() {
    let (lab, mut sockets) = Lab::of(2);
    let second = lab.start(1, sockets.pop(), &[], &Arc::default());
    let mut old = lab.call(0, 1);
    let question = Question::new(1, Vec::new()).encode();
    let mut answer = Vec::new();
    let mut ask = |conversation: &mut Framed| {
        conversation.send(&question, PATIENCE)?;
        conversation.receive(&mut answer, MOST_BYTES, PATIENCE)
    };
    ask(&mut old).unwrap();
    let mut new = lab.call(0, 1);
    ask(&mut new).unwrap();
    assert!(ask(&mut old).is_err());
    ask(&mut new).unwrap();
    assert!(second.opinions().standings()[0].asks);
    drop(new);
    wait_for("its end", || (!second.opinions().standings()[0].asks).then_some(()));
}

#[test]
fn certificates_that_do_not_tell_monitors_apart_are_refused() {
    let (lab, _sockets) = Lab::of(3);
    let start = |peers: &[PeerConfig]| {
        let known = Arc::new(Known::default());
        Peers::start_on(&lab.monitors[0].0, None, peers, &[], known).map(drop).unwrap_err().to_string()
    };
    let same = PeerConfig { certificate: lab.peer(1).certificate, ..lab.peer(2) };
    assert!(start(&[lab.peer(1), same]).contains("peer `m2` has the certificate of peer `m1`"));
    let own = PeerConfig { certificate: lab.peer(0).certificate, ..lab.peer(1) };
    assert!(start(&[own]).contains("peer `m1` has the certificate of this monitor itself"));
    let missing = PeerConfig { certificate: "/nonexistent.crt".into(), ..lab.peer(1) };
    assert!(start(&[missing]).contains("peer `m1`: /nonexistent.crt"));
    let address = lab.monitors[1].1;
    let taken = Peers::start(&lab.monitors[0].0, Some(address), &[], &[], Arc::new(Known::default()));
    assert!(matches!(taken, Err(PeersError::Listen { .. })));
}

#[test]
fn a_peer_that_asks_and_takes_no_answers_is_hung_up_on() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let second = lab.start(1, sockets.pop(), &[], &known);
    let mut greedy = lab.call(0, 1);
    let question = Question::new(1, vec!["web1".into(); MOST_TARGETS]).encode();
    let begun = Instant::now();
    while greedy.send(&question, PATIENCE).is_ok() {
        assert!(begun.elapsed() < PATIENCE * 3, "it is still listened to");
    }
    wait_for("its end", || (!second.opinions().standings()[0].asks).then_some(()));
}

#[test]
fn a_flood_of_strangers_is_let_in_slowly_and_peers_come_through() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &[], &known);
    let address = lab.monitors[1].1;
    let flooding = std::thread::spawn(move || {
        let (begun, mut strangers) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(2) {
            strangers += u32::from(TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_ok());
        }
        (strangers, begun.elapsed())
    });
    let first = lab.start(0, None, &["web1"], &Arc::default());
    wait_for_opinion(&first.opinions(), "web1", |_| true);
    let (strangers, took) = flooding.join().unwrap();
    // At once, in the long run, and in the queue.
    let most = 64.0 + took.as_secs_f64() * 200.0 + 200.0;
    assert!(f64::from(strangers) <= most, "{strangers} in {took:?}");
}
