use super::lab::*;
use crate::peers::*;
use crate::verdict::State;
use std::time::{Duration, Instant};

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
fn an_answer_to_an_ask_takes_less_than_a_millisecond() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    known.set("web1", read_before(1));
    let _second = lab.start_among(1, &[0], sockets.pop(), &[], &known);
    let first = lab.start(0, None, &["web1"], &Arc::default());
    let opinions = first.opinions();
    wait_for_opinion(&opinions, "web1", |_| true);
    let mut took: Vec<Duration> = (0..100)
        .map(|_| {
            // The pause between two questions must not count.
            std::thread::sleep(Duration::from_millis(6));
            let asked = now();
            opinions.ask("web1");
            wait_for_opinion(&opinions, "web1", |opinion| opinion.asked >= asked).at - asked
        })
        .collect();
    took.sort();
    println!(
        "an ask is answered after {:?} at best, {:?} in the middle, {:?} at worst",
        took[0], took[50], took[99]
    );
    // Others may keep this machine busy, but not all the time.
    assert!(took[10] < Duration::from_millis(1), "{took:?}");
}

#[test]
fn a_thousand_targets_are_heard_of_in_a_second_and_one_of_them_at_once() {
    let (lab, mut sockets) = Lab::of(2);
    let known = Arc::new(Known::default());
    let names: Vec<String> = (0..1000).map(|number| format!("target{number}")).collect();
    for name in &names {
        known.set(name, read_before(1));
    }
    let _second = lab.start_among(1, &[0], sockets.pop(), &[], &known);
    let targets: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = lab.start(0, None, &targets, &Arc::default());
    let opinions = first.opinions();
    wait_for_opinion(&opinions, "target0", |_| true);
    let begun = Instant::now();
    wait_for("all opinions", || names.iter().all(|name| opinions.about(name).len() == 1).then_some(()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let before = now();
    opinions.ask("target999");
    let heard = wait_for_opinion(&opinions, "target999", |opinion| opinion.asked >= before);
    assert!(heard.at - before < Duration::from_millis(200), "{:?}", heard.at - before);
}
