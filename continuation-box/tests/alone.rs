//! Servers without an agent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_continuation_box::service::{AttachError, Listener, Service};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

fn listen(service: Service) -> (Listener, TcpStream) {
    let listener = service.listen(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener, client)
}

#[test]
fn sessions_without_an_agent_are_plain_connections_that_say_so() {
    let nowhere = tempfile::tempdir().unwrap().path().join("services.sock");
    for service in [Service::alone(), Service::attach_at(nowhere, "web").unwrap()] {
        let (listener, mut client) = listen(service);
        let mut session = listener.accept().unwrap();
        assert!(!session.is_protected() && session.recovered().is_none() && !session.has_replay());
        client.write_all(b"ping").unwrap();
        session.read_exact(&mut [0; 4]).unwrap();
        session.hold_back().unwrap();
        session.write_all(b"pong").unwrap();
        session.export(&[0; 1 << 20]).unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        // Not read by anybody, and still no reason to break the connection off.
        client.write_all(b"unread").unwrap();
        while session.peer_addr().is_ok() && rustix::io::ioctl_fionread(&session).unwrap() < 6 {
            std::thread::yield_now();
        }
        session.write_all(b"bye").unwrap();
        session.end().unwrap();
        let mut last = String::new();
        client.read_to_string(&mut last).unwrap();
        assert_eq!(last, "bye");
    }
}

#[test]
fn a_listener_that_is_not_to_wait_does_not() {
    let listener = Service::alone().listen(TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    listener.set_nonblocking(true);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut session = listener.accept().unwrap();
    session.set_nonblocking(true).unwrap();
    assert_eq!(session.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_name_that_no_service_has_is_refused_before_anybody_is_asked() {
    for name in [String::new(), "n".repeat(49)] {
        assert!(matches!(Service::attach_at("/nowhere", &name), Err(AttachError::Name(_))));
    }
}
