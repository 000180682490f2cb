use super::*;
use crate::handshake::{AcceptError, Acceptor};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

const TIME: Duration = Duration::from_secs(10);
const MOST: usize = 1000;

/// Two identities that know each other, and what becomes of a call from the first to the second.
struct Two {
    first: Identity,
    second: Identity,
}

impl Two {
    fn new() -> Two {
        Two { first: Identity::generate("first").unwrap(), second: Identity::generate("second").unwrap() }
    }

    /// Runs `called` and `calling` at the two ends.
    fn talk<A: Send, B: Send>(
        &self,
        caller: &Identity,
        expected: &Identity,
        called: impl FnOnce(Result<(String, Framed), AcceptError>) -> A + Send,
        calling: impl FnOnce(Result<Framed, FramedError>) -> B + Send,
    ) -> (A, B) {
        let known = vec![("first".to_owned(), self.first.certificate().clone())];
        let acceptor = Acceptor::new(&self.second, known).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(move || called(acceptor.accept_framed(listener.accept().unwrap().0)));
            let here = calling(Framed::connect(address, caller, expected.certificate(), TIME));
            (there.join().unwrap(), here)
        })
    }

    fn friends<A: Send, B: Send>(
        &self,
        called: impl FnOnce(Framed) -> A + Send,
        calling: impl FnOnce(Framed) -> B + Send,
    ) -> (A, B) {
        let called = |accepted: Result<(String, Framed), AcceptError>| {
            let (name, framed) = accepted.unwrap();
            assert_eq!(name, "first");
            called(framed)
        };
        self.talk(&self.first, &self.second, called, |connected| calling(connected.unwrap()))
    }
}

#[test]
fn frames_arrive_whole_and_in_order_both_ways() {
    let frames: Vec<Vec<u8>> = vec![vec![], vec![1], vec![7; MOST], b"last".to_vec()];
    let echo = |mut framed: Framed| {
        let mut body = Vec::new();
        for _ in 0..4 {
            framed.receive(&mut body, MOST, TIME).unwrap();
            framed.send(&body, TIME).unwrap();
        }
    };
    Two::new().friends(echo, |mut framed| {
        for frame in &frames {
            framed.send(frame, TIME).unwrap();
        }
        let mut body = Vec::new();
        for frame in &frames {
            framed.receive(&mut body, MOST, TIME).unwrap();
            assert_eq!(&body, frame);
        }
        assert!(matches!(framed.receive(&mut body, MOST, TIME), Err(FramedError::HungUp)));
    });
}

#[test]
fn a_frame_that_is_too_long_is_refused_before_there_is_memory_for_it() {
    let announce = |framed: &mut Framed, length: u32| {
        let Stream::Calling(stream) = &mut framed.stream else { panic!("the calling end") };
        stream.write_all(&length.to_le_bytes()).and_then(|()| stream.flush()).unwrap();
    };
    for length in [MOST as u32 + 1, u32::MAX] {
        let called = |mut framed: Framed| {
            let mut body = Vec::new();
            let refused = framed.receive(&mut body, MOST, TIME);
            assert!(matches!(refused, Err(FramedError::TooLong(claimed)) if claimed == length as usize));
            assert_eq!(body.capacity(), 0);
        };
        Two::new().friends(called, |mut framed| announce(&mut framed, length));
    }
}

#[test]
fn a_peer_that_stops_in_the_middle_or_drips_is_given_up_in_time() {
    let patience = Duration::from_millis(200);
    let wait = move |mut framed: Framed| {
        let begun = Instant::now();
        let result = framed.receive(&mut Vec::new(), MOST, patience);
        (result, begun.elapsed())
    };
    for drips in [0, 1000] {
        let ((result, took), ()) = Two::new().friends(wait, |mut framed| {
            let Stream::Calling(stream) = &mut framed.stream else { panic!("the calling end") };
            stream.write_all(&500u32.to_le_bytes()).unwrap();
            for _ in 0..drips {
                if stream.write_all(&[0]).and_then(|()| stream.flush()).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            // It hangs for as long as it is waited for.
            drop(stream.read(&mut [0]));
        });
        assert!(matches!(result, Err(FramedError::TimedOut)), "{result:?}");
        assert!((patience..patience * 5).contains(&took), "{took:?}");
    }
}

#[test]
fn a_conversation_can_be_ended_from_another_thread() {
    Two::new().friends(
        |mut framed| {
            let hang_up = framed.hang_up().unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(move || framed.receive(&mut Vec::new(), MOST, TIME));
                hang_up.now();
                assert!(matches!(waiting.join().unwrap(), Err(FramedError::HungUp)));
            });
        },
        |mut framed| {
            let ended = framed.receive(&mut Vec::new(), MOST, TIME);
            assert!(matches!(ended, Err(FramedError::HungUp)), "{ended:?}");
        },
    );
}

#[test]
fn a_namesake_is_told_that_it_is_unknown_and_gets_no_conversation() {
    let two = Two::new();
    let namesake = Identity::generate("first").unwrap();
    let (accepted, told) = two.talk(
        &namesake,
        &two.second,
        |accepted| accepted.map(drop),
        |connected| connected.and_then(|mut framed| framed.receive(&mut Vec::new(), MOST, TIME)),
    );
    assert!(matches!(accepted, Err(AcceptError::Stranger)), "{accepted:?}");
    assert!(matches!(told, Err(FramedError::Stranger)), "{told:?}");
}

#[test]
fn who_shows_another_certificate_than_the_peers_is_told_nothing() {
    let two = Two::new();
    let namesake = Identity::generate("second").unwrap();
    let (accepted, connected) =
        two.talk(&two.first, &namesake, |accepted| accepted.map(drop), |connected| connected.map(drop));
    assert!(matches!(connected, Err(FramedError::WrongPeer)), "{connected:?}");
    // The alert that says why may be lost with the connection.
    assert!(matches!(accepted, Err(AcceptError::Distrusted | AcceptError::Connection(_))), "{accepted:?}");
}
