use super::*;
use crate::access::RemoteRange;
use rustix::net::Shutdown;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(10);

fn hello() -> Hello {
    let endpoint = Endpoint::Emulated { address: None, token: [0; 16] };
    Hello { version: VERSION, provider: ProviderKind::Emulated, endpoints: vec![endpoint; 3] }
}

fn welcome(slot: u32) -> Welcome {
    let directory = RemoteRange { address: 1 << 60, length: 2, key: 3 };
    let admission = Admission { slot, endpoints: Vec::new(), directory };
    Welcome { target: "target".into(), admission, secret: Secret::from_bytes([slot as u8; 16]) }
}

struct Host {
    listener: Arc<TcpListener>,
    address: SocketAddr,
    identity: Identity,
    acceptor: Arc<Acceptor>,
}

impl Host {
    fn knowing(monitors: &[&Identity]) -> Host {
        let identity = Identity::generate("target").unwrap();
        let monitors = monitors.iter().map(|it| (it.name().to_owned(), it.certificate().clone())).collect();
        let acceptor = Arc::new(Acceptor::new(&identity, monitors).unwrap());
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        // A peer that fails before it connects must not leave the test waiting for it.
        set_socket_timeout(&listener, Timeout::Recv, Some(TIME)).unwrap();
        let address = listener.local_addr().unwrap();
        Host { listener, address, identity, acceptor }
    }

    /// Accepts one peer while `peer` runs, and lets `answer` deal with it.
    fn accept_one<T: Send>(
        &self,
        peer: impl FnOnce() -> T + Send,
        answer: impl FnOnce(Pending),
    ) -> (T, Result<(), AcceptError>) {
        std::thread::scope(|scope| {
            let peer = scope.spawn(peer);
            let (stream, _) = self.listener.accept().unwrap();
            let accepted = self.acceptor.accept(stream).map(answer);
            (peer.join().unwrap(), accepted)
        })
    }

    fn request(
        &self,
        identity: &Identity,
        target: &Identity,
        hello: &Hello,
    ) -> Result<Welcome, HandshakeError> {
        request(self.address, identity, target.certificate(), hello, TIME)
    }
}

#[test]
fn a_known_monitor_is_welcomed_under_its_name() {
    let monitors = [Identity::generate("first").unwrap(), Identity::generate("second").unwrap()];
    let host = Host::knowing(&[&monitors[0], &monitors[1]]);
    for (slot, monitor) in monitors.iter().enumerate() {
        let slot = slot as u32;
        let (answer, accepted) = host.accept_one(
            || host.request(monitor, &host.identity, &hello()),
            |pending| {
                assert_eq!(pending.monitor, monitor.name());
                assert_eq!(pending.hello, hello());
                pending.welcome(welcome(slot)).unwrap();
            },
        );
        accepted.unwrap();
        assert_eq!(answer.unwrap(), welcome(slot));
    }
}

#[test]
fn a_refusal_arrives_with_its_reason() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let (answer, accepted) = host.accept_one(
        || host.request(&monitor, &host.identity, &hello()),
        |pending| pending.refuse("no slot is free").unwrap(),
    );
    accepted.unwrap();
    assert!(matches!(answer, Err(HandshakeError::Refused { reason }) if reason == "no slot is free"));
}

#[test]
fn a_monitor_without_the_right_key_is_told_that_it_is_unknown() {
    let known = Identity::generate("monitor").unwrap();
    let namesake = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&known]);
    let (answer, accepted) = host.accept_one(
        || host.request(&namesake, &host.identity, &hello()),
        |_| panic!("a stranger was accepted"),
    );
    assert!(matches!(accepted, Err(AcceptError::Stranger)), "{accepted:?}");
    assert!(matches!(answer, Err(HandshakeError::Stranger)), "{answer:?}");
}

#[test]
fn a_target_with_another_key_is_told_nothing() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let namesake = Identity::generate("target").unwrap();
    let (answer, accepted) = host.accept_one(
        || host.request(&monitor, &namesake, &hello()),
        |_| panic!("a distrusted target was asked"),
    );
    assert!(matches!(answer, Err(HandshakeError::WrongTarget)), "{answer:?}");
    // The alert that says why may be lost with the connection.
    assert!(matches!(accepted, Err(AcceptError::Distrusted | AcceptError::Connection(_))), "{accepted:?}");
}

#[test]
fn a_stolen_certificate_without_its_key_is_worth_nothing() {
    let known = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&known]);
    let folder = tempfile::tempdir().unwrap();
    Identity::generate("monitor").unwrap().save(folder.path()).unwrap();
    std::fs::write(folder.path().join("monitor.crt"), known.certificate_pem()).unwrap();
    let loaded = Identity::load(folder.path(), "monitor");
    assert!(matches!(loaded, Err(IdentityError::Mismatch { .. })), "{loaded:?}");

    let thief = Identity::generate("thief").unwrap();
    let mut config = (*client_config(&thief, host.identity.certificate()).unwrap()).clone();
    let key = any_supported_type(&thief.key()).unwrap();
    let stolen = CertifiedKey::new(vec![known.certificate().0.clone()], key);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(stolen));
    let ask = || {
        let session = ClientConnection::new(Arc::new(config), host.address.ip().into()).unwrap();
        let stream = TcpStream::connect(host.address).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        stream::write_message(&mut stream, &hello())
            .and_then(|()| stream::read_message::<Answer>(&mut stream))
    };
    let (answer, accepted) = host.accept_one(ask, |_| panic!("a thief was accepted"));
    assert!(answer.is_err() && accepted.is_err(), "{answer:?} {accepted:?}");
}

#[test]
fn another_version_is_refused_in_words() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let newer = Hello { version: VERSION + 1, ..hello() };
    let (answer, accepted) =
        host.accept_one(|| host.request(&monitor, &host.identity, &newer), |_| panic!("accepted"));
    assert!(matches!(accepted, Err(AcceptError::Version(version)) if version == VERSION + 1), "{accepted:?}");
    let Err(HandshakeError::Refused { reason }) = answer else { panic!("{answer:?}") };
    assert!(reason.contains("update the older one"), "{reason}");
}

#[test]
fn who_speaks_no_tls_is_turned_away() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let speak = |words: &'static [u8]| {
        move || {
            let mut stream = TcpStream::connect(host.address).unwrap();
            stream.write_all(words).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = stream.read(&mut [0; 100]);
        }
    };
    let (_, accepted) = host.accept_one(speak(b"GET / HTTP/1.0\r\n\r\n"), |_| panic!("accepted"));
    assert!(matches!(accepted, Err(AcceptError::Protocol(_))), "{accepted:?}");
    let (_, accepted) = host.accept_one(speak(b""), |_| panic!("accepted"));
    assert!(matches!(accepted, Err(AcceptError::Connection(_))), "{accepted:?}");
}

#[test]
fn stuck_peers_hold_up_nobody() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let (listener, acceptor) = (Arc::clone(&host.listener), Arc::clone(&host.acceptor));
    let serving = std::thread::spawn(move || {
        serve(&listener, &acceptor, |name, _, hello| {
            assert_eq!(name, "monitor");
            if hello.endpoints.is_empty() { Err("no endpoints".into()) } else { Ok(welcome(4)) }
        });
    });
    let _stuck: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(host.address).unwrap()).collect();
    let start = Instant::now();
    assert_eq!(host.request(&monitor, &host.identity, &hello()).unwrap(), welcome(4));
    let none = Hello { endpoints: Vec::new(), ..hello() };
    let refused = host.request(&monitor, &host.identity, &none);
    assert!(matches!(refused, Err(HandshakeError::Refused { .. })), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    rustix::net::shutdown(&host.listener, Shutdown::Both).unwrap();
    serving.join().unwrap();
}

#[test]
fn a_silent_target_is_given_up_in_time() {
    let monitor = Identity::generate("monitor").unwrap();
    let host = Host::knowing(&[&monitor]);
    let start = Instant::now();
    let time = Duration::from_millis(200);
    let answer = request(host.address, &monitor, host.identity.certificate(), &hello(), time);
    let Err(HandshakeError::Unreachable(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((time..time * 10).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn an_identity_is_the_same_after_save_and_load_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::generate("node-1.example_x").unwrap();
    identity.save(folder.path()).unwrap();
    let loaded = Identity::load(folder.path(), "node-1.example_x").unwrap();
    assert_eq!(loaded.certificate(), identity.certificate());
    let certificate = Certificate::load(&folder.path().join("node-1.example_x.crt")).unwrap();
    assert_eq!(&certificate, identity.certificate());
    let again = Identity::generate("node-1.example_x").unwrap().save(folder.path());
    assert!(
        matches!(again, Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists)
    );

    use std::os::unix::fs::PermissionsExt;
    let key = folder.path().join("node-1.example_x.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = Identity::load(folder.path(), "node-1.example_x");
    assert!(matches!(exposed, Err(IdentityError::Exposed { mode: 0o640, .. })), "{exposed:?}");
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    for name in ["", ".", "..", "../x", "a/b", "-x", ".x", "a b", "ä", &"a".repeat(65)] {
        assert!(matches!(Identity::generate(name), Err(IdentityError::Name(_))), "{name:?}");
    }
}

#[test]
fn messages_are_bounded() {
    let long = [&(64 * 1024 + 1u32).to_le_bytes()[..], &[b' '; 70_000]].concat();
    let error = stream::read_message::<Answer>(&mut long.as_slice()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let nonsense = [&2u32.to_le_bytes()[..], b"{}"].concat();
    let error = stream::read_message::<Answer>(&mut nonsense.as_slice()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let error = stream::write_message(&mut Vec::new(), &"x".repeat(64 * 1024)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
