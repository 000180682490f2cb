use super::*;
use crate::clock::{Clock, SystemClock};
use crate::verdict::State;
use backdoors_rdma::handshake::Framed;
use protocol::{MOST_BYTES, Question, Reply, Said};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

fn now() -> Duration {
    SystemClock.monotonic()
}

/// What a monitor of these tests knows, by target.
#[derive(Debug, Default)]
struct Known(Mutex<BTreeMap<String, Answered>>);

impl Known {
    fn set(&self, target: &str, answered: Answered) {
        self.0.lock().unwrap().insert(target.into(), answered);
    }
}

impl Knowledge for Known {
    fn about(&self, target: &str) -> Option<Answered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(target).copied()
    }
}

fn read_before(milliseconds: u64) -> Answered {
    let last_good_age = Some(Duration::from_millis(milliseconds));
    Answered { last_good_age, late: false, nic_answers: Some(true), kernel: Some(State::Healthy) }
}

/// Monitors that know each other, each with a socket of its own.
struct Lab {
    folder: tempfile::TempDir,
    monitors: Vec<(Identity, SocketAddr)>,
}

impl Lab {
    /// Names are `m0`, `m1`, ... Returns their sockets besides.
    fn of(count: usize) -> (Lab, Vec<TcpListener>) {
        let folder = tempfile::tempdir().unwrap();
        let sockets: Vec<_> =
            (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        let make = |(number, socket): (usize, &TcpListener)| {
            let identity = Identity::generate(&format!("m{number}")).unwrap();
            identity.save(folder.path()).unwrap();
            (identity, socket.local_addr().unwrap())
        };
        let monitors = sockets.iter().enumerate().map(make).collect();
        (Lab { folder, monitors }, sockets)
    }

    fn peer(&self, number: usize) -> PeerConfig {
        let (identity, address) = &self.monitors[number];
        let certificate = self.folder.path().join(format!("{}.crt", identity.name()));
        PeerConfig { name: identity.name().into(), address: address.to_string(), certificate }
    }

    /// Starts a monitor whose peers are all others.
    fn start(
        &self,
        number: usize,
        socket: Option<TcpListener>,
        targets: &[&str],
        known: &Arc<Known>,
    ) -> Peers {
        let others: Vec<usize> = (0..self.monitors.len()).filter(|other| *other != number).collect();
        self.start_among(number, &others, socket, targets, known)
    }

    fn start_among(
        &self,
        number: usize,
        peers: &[usize],
        socket: Option<TcpListener>,
        targets: &[&str],
        known: &Arc<Known>,
    ) -> Peers {
        let peers: Vec<PeerConfig> = peers.iter().map(|peer| self.peer(*peer)).collect();
        let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
        let known = Arc::clone(known) as Arc<dyn Knowledge>;
        Peers::start_on(&self.monitors[number].0, socket, &peers, &targets, known).unwrap()
    }

    /// Lets `speak` play monitor `number` towards the next `calls` of those who know it.
    fn play(
        &self,
        number: usize,
        socket: TcpListener,
        calls: usize,
        mut speak: impl FnMut(usize, Framed) + Send + 'static,
    ) -> JoinHandle<()> {
        let others: Vec<_> =
            self.monitors.iter().map(|(it, _)| (it.name().to_owned(), it.certificate().clone())).collect();
        let acceptor = Acceptor::new(&self.monitors[number].0, others).unwrap();
        std::thread::spawn(move || {
            for call in 0..calls {
                let (stream, _) = socket.accept().unwrap();
                let (_, conversation) = acceptor.accept_framed(stream).unwrap();
                speak(call, conversation);
            }
        })
    }

    /// Calls monitor `to` with the keys of monitor `from`.
    fn call(&self, from: usize, to: usize) -> Framed {
        let (identity, address) = &self.monitors[to];
        Framed::connect(*address, &self.monitors[from].0, identity.certificate(), PATIENCE).unwrap()
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_opinion(opinions: &Opinions, target: &str, right: impl Fn(&Opinion) -> bool) -> Opinion {
    wait_for(&format!("an opinion about {target}: {:?}", opinions.standings()), || {
        opinions.about(target).into_iter().find(|opinion| right(opinion))
    })
}

fn wait_for_problem(opinions: &Opinions, part: &str) -> Standing {
    wait_for(&format!("`{part}` in {:?}", opinions.standings()), || {
        let standing = opinions.standings().into_iter().next().unwrap();
        standing.problem.as_ref().is_some_and(|problem| problem.contains(part)).then_some(standing)
    })
}

fn receive(conversation: &mut Framed) -> Option<Question> {
    let mut bytes = Vec::new();
    conversation.receive(&mut bytes, MOST_BYTES, PATIENCE).ok()?;
    Some(Question::decode(&bytes).unwrap())
}

fn send(conversation: &mut Framed, reply: &Reply) {
    conversation.send(&reply.encode(), PATIENCE).unwrap();
}

#[test]
fn two_monitors_hear_of_each_other_what_each_knows() {
    let (lab, mut sockets) = Lab::of(2);
    let known = [Arc::new(Known::default()), Arc::new(Known::default())];
    known[0].set("web1", read_before(7));
    known[1]
        .set("web1", Answered { last_good_age: None, late: true, nic_answers: Some(false), kernel: None });
    let second = lab.start(1, sockets.pop(), &["web1"], &known[1]);
    let first = lab.start(0, sockets.pop(), &["web1"], &known[0]);

    let begun = now();
    let heard = wait_for_opinion(&second.opinions(), "web1", |_| true);
    assert_eq!((heard.monitor.as_str(), heard.late), ("m0", false));
    assert_eq!((heard.nic_answers, heard.kernel), (Some(true), Some(State::Healthy)));
    assert_eq!(heard.last_good_age, Some(Duration::from_millis(7)));
    assert_eq!(heard.last_good(), Some(heard.asked - Duration::from_millis(7)));
    assert!(heard.asked <= heard.at && heard.at <= now() && heard.at + PATIENCE > begun);

    let heard = wait_for_opinion(&first.opinions(), "web1", |_| true);
    assert_eq!((heard.monitor.as_str(), heard.late, heard.last_good()), ("m1", true, None));
    assert_eq!((heard.nic_answers, heard.kernel), (Some(false), None));
    let standing = &first.opinions().standings()[0];
    assert_eq!((standing.reach, &standing.problem), (PeerReach::Reachable, &None));
    wait_for("the peer's own questions", || first.opinions().standings()[0].asks.then_some(()));
}

#[test]
fn three_monitors_each_have_two_second_views() {
    let (lab, sockets) = Lab::of(3);
    let started: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(number, socket)| {
            let known = Arc::new(Known::default());
            known.set("web1", read_before(number as u64));
            lab.start(number, Some(socket), &["web1"], &known)
        })
        .collect();
    for (number, peers) in started.iter().enumerate() {
        let opinions = wait_for("two opinions", || {
            let opinions = peers.opinions().about("web1");
            (opinions.len() == 2).then_some(opinions)
        });
        let seen: Vec<u64> = opinions.iter().map(|it| it.last_good_age.unwrap().as_millis() as u64).collect();
        let others: Vec<u64> = (0..3).filter(|other| *other != number as u64).collect();
        assert_eq!(seen, others);
    }
}

#[test]
fn what_changed_is_heard_within_a_second_and_at_once_when_asked() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &["web1"], &known);
    let first = lab.start(0, sockets.pop(), &["web1"], &Arc::default());
    let opinions = first.opinions();
    wait_for_opinion(&opinions, "web1", |_| true);

    known.set("web1", read_before(2));
    let begun = Instant::now();
    wait_for_opinion(&opinions, "web1", |opinion| opinion.last_good_age == read_before(2).last_good_age);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());

    // Just after a round the next one is far.
    known.set("web1", read_before(3));
    let begun = Instant::now();
    opinions.ask("web1");
    wait_for_opinion(&opinions, "web1", |opinion| opinion.last_good_age == read_before(3).last_good_age);
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
}

#[test]
fn many_asks_are_few_questions() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &["web1"], &known);
    let first = lab.start(0, sockets.pop(), &["web1"], &Arc::default());
    let opinions = first.opinions();
    wait_for_opinion(&opinions, "web1", |_| true);
    let before = opinions.standings()[0].answers;
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_millis(200) {
        opinions.ask("web1");
        asked += 1;
    }
    let answers = opinions.standings()[0].answers - before;
    assert!(asked > 1000, "{asked}");
    let most = begun.elapsed().as_millis() as u64 / 5 + 3;
    assert!((2..=most).contains(&answers), "{answers} answers to {asked} asks");
}

#[test]
fn a_target_that_the_peer_knows_under_another_name_is_called_unknown() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("Web1", read_before(1));
    known.set("db1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &["Web1", "db1"], &known);
    let first = lab.start(0, sockets.pop(), &["web1", "db1"], &Arc::default());
    wait_for_opinion(&first.opinions(), "db1", |_| true);
    assert_eq!(first.opinions().standings()[0].unknown, ["web1"]);
    assert_eq!(first.opinions().about("web1"), []);
    // Nobody is asked about what this monitor does not look after itself.
    first.opinions().ask("nowhere");
    assert_eq!(first.opinions().about("nowhere"), []);
    // Once the peer looks after it, it has an opinion.
    known.set("web1", read_before(2));
    wait_for_opinion(&first.opinions(), "web1", |_| true);
    assert!(first.opinions().standings()[0].unknown.is_empty());
}

#[test]
fn a_peer_that_restarts_is_heard_again_and_its_old_opinion_keeps_its_age() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let second = lab.start(1, sockets.pop(), &["web1"], &known);
    let first = lab.start(0, sockets.pop(), &["web1"], &Arc::default());
    let opinions = first.opinions();
    wait_for_opinion(&opinions, "web1", |_| true);

    drop(second);
    let standing = wait_for_problem(&opinions, "");
    assert_eq!(standing.reach, PeerReach::Unreachable);
    let old = opinions.about("web1").remove(0);
    assert!(!standing.asks && old.at < now());

    known.set("web1", read_before(2));
    let socket = TcpListener::bind(lab.monitors[1].1).unwrap();
    let _second = lab.start(1, Some(socket), &["web1"], &known);
    let heard = wait_for_opinion(&opinions, "web1", |opinion| opinion.at > old.at);
    assert_eq!(heard.last_good_age, read_before(2).last_good_age);
    assert_eq!(opinions.standings()[0].reach, PeerReach::Reachable);
}

#[test]
fn a_peer_that_came_up_is_called_soon_if_its_opinion_is_wanted() {
    let (lab, mut sockets) = Lab::of(2);
    let address = lab.monitors[1].1;
    drop(sockets.pop());
    let first = lab.start(0, sockets.pop(), &["web1"], &Arc::default());
    let opinions = first.opinions();
    wait_for_problem(&opinions, "refused");
    // Long enough for the pauses to have become long.
    std::thread::sleep(Duration::from_secs(4));
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, Some(TcpListener::bind(address).unwrap()), &["web1"], &known);
    let begun = Instant::now();
    opinions.ask("web1");
    wait_for_opinion(&opinions, "web1", |_| true);
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
}

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

#[test]
fn lies_about_the_protocol_end_the_conversation_and_change_no_opinion() {
    let lies: Vec<(&str, fn(&Question) -> Vec<u8>)> = vec![
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
            let about = vec![Option::Some(read_before(1)).into()];
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
            let about = vec![Option::Some(read_before(9)).into()];
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
    let question = Question::new(1, vec!["web1".into(); protocol::MOST_TARGETS]).encode();
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

#[test]
fn a_crowd_of_strangers_that_say_nothing_keeps_no_peer_out() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start(1, sockets.pop(), &[], &known);
    let _crowd: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(lab.monitors[1].1).unwrap()).collect();
    let begun = Instant::now();
    let first = lab.start(0, None, &["web1"], &Arc::default());
    wait_for_opinion(&first.opinions(), "web1", |_| true);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
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
