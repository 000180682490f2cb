//! The emulated NIC's sockets, with peers that misbehave at either end.
#![allow(clippy::unwrap_used, reason = "this file is nothing but tests")]

use backdoors_rdma::directory::Directory;
use backdoors_rdma::emulated::{self, Nic, client, wire};
use backdoors_rdma::owner::{Endpoint, MemoryOwner, RegionRequest, Rights};
use backdoors_rdma::{AccessError, Connection, DialError, Dialer, RemoteRange, Request, SharedMemory};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_millis(300);

fn nic() -> Nic {
    let mut nic = Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).unwrap();
    let (_memory, fd) = SharedMemory::create("test", 64).unwrap();
    let region =
        RegionRequest { kind: 1, generation: 1, offset: 0, length: 64, rights: Rights::ReadOnly, slot: None };
    nic.register(region, fd).unwrap();
    nic
}

fn dial(remote: &[Endpoint]) -> Result<Vec<Box<dyn Connection>>, DialError> {
    let mut dialer = emulated::Dialer::new(DEADLINE, None);
    dialer.prepare(remote.len()).unwrap();
    dialer.connect(remote)
}

fn admit(nic: &mut Nic, monitor: &str, slot: u32, count: usize) -> (Vec<Endpoint>, RemoteRange) {
    let local = emulated::Dialer::new(DEADLINE, None).prepare(count).unwrap();
    let admission = nic.admit(monitor, slot, &local).unwrap();
    (admission.endpoints, admission.directory)
}

/// Whether the NIC closes the connection, with or without a last word.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn who_does_not_speak_the_protocol_loses_its_own_connection_alone() {
    let mut nic = nic();
    let (endpoints, directory) = admit(&mut nic, "monitor", 0, 2);
    let good = dial(&endpoints[..1]).unwrap();
    let mut good = good.into_iter().next().unwrap();

    let mut stranger = TcpStream::connect(nic.advertised()).unwrap();
    stranger.write_all(b"GET / HTTP/1.0\r\n\r\n and what else a browser may say").unwrap();
    assert!(is_closed(&mut stranger));

    let Endpoint::Emulated { token, .. } = endpoints[1] else { panic!("{endpoints:?}") };
    let mut monitor = TcpStream::connect(nic.advertised()).unwrap();
    monitor.write_all(&client::hello(token)).unwrap();
    let mut greeting = [0; size_of::<wire::Greeting>()];
    monitor.read_exact(&mut greeting).unwrap();
    assert_eq!(client::is_welcome(&greeting), Some(true));
    monitor.write_all(&[0xff; 4096]).unwrap();
    assert!(is_closed(&mut monitor));

    assert_eq!(Directory::fetch(good.as_mut(), directory).unwrap().regions().len(), 1);
}

#[test]
fn who_says_nothing_is_closed_and_holds_up_nobody() {
    let mut nic = nic();
    let mut silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(nic.advertised()).unwrap()).collect();
    let (endpoints, directory) = admit(&mut nic, "monitor", 0, 1);
    let mut good = dial(&endpoints).unwrap().pop().unwrap();
    Directory::fetch(good.as_mut(), directory).unwrap();
    assert!(silent.iter_mut().all(is_closed));
    Directory::fetch(good.as_mut(), directory).unwrap();
}

#[test]
fn an_endpoint_is_good_for_one_connection_of_one_admission() {
    let mut nic = nic();
    let (endpoints, _) = admit(&mut nic, "monitor", 0, 1);
    let _connection = dial(&endpoints).unwrap();
    assert!(matches!(dial(&endpoints), Err(DialError::Refused)));
    let (endpoints, _) = admit(&mut nic, "monitor", 0, 1);
    nic.dismiss("monitor").unwrap();
    assert!(matches!(dial(&endpoints), Err(DialError::Refused)));
}

#[test]
fn an_endpoint_without_a_host_is_looked_for_where_the_dialer_was_told() {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let mut nic = Nic::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Some(any)).unwrap();
    let (endpoints, _) = admit(&mut nic, "monitor", 0, 1);
    assert!(matches!(dial(&endpoints), Err(DialError::Mismatch(_))));
    let mut dialer = emulated::Dialer::new(DEADLINE, Some(Ipv4Addr::LOCALHOST.into()));
    dialer.prepare(1).unwrap();
    assert_eq!(dialer.connect(&endpoints).unwrap().len(), 1);
}

#[test]
fn an_answer_that_trickles_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = Some(listener.local_addr().unwrap());
    let trickling = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; size_of::<wire::Hello>()]).unwrap();
        let greeting = wire::Greeting { magic: wire::MAGIC, version: wire::VERSION, status: wire::DONE };
        stream.write_all(zerocopy::IntoBytes::as_bytes(&greeting)).unwrap();
        let answer = wire::AnswerHeader { number: 1, status: wire::DONE, payload: 1000 };
        stream.write_all(zerocopy::IntoBytes::as_bytes(&answer)).unwrap();
        // Each byte comes well before the deadline; all of them together would not for a minute.
        while stream.write_all(&[0]).is_ok() {
            std::thread::sleep(DEADLINE / 5);
        }
    });
    let mut connection = dial(&[Endpoint::Emulated { address, token: [0; 16] }]).unwrap().pop().unwrap();
    let start = Instant::now();
    let range = RemoteRange { address: 0, length: 1000, key: 0 };
    let error = connection.read(range, &mut [0; 1000]).unwrap_err();
    assert!(matches!(error, AccessError::Unreachable { .. }), "{error}");
    let took = start.elapsed();
    assert!((DEADLINE..DEADLINE * 2).contains(&took), "{took:?}");
    drop(connection);
    trickling.join().unwrap();
}

/// Connects with a token, as a monitor that keeps to the protocol up to there.
fn greeted(nic: &Nic, endpoint: &Endpoint) -> TcpStream {
    let Endpoint::Emulated { token, .. } = endpoint else { panic!("{endpoint:?}") };
    let mut stream = TcpStream::connect(nic.advertised()).unwrap();
    stream.write_all(&client::hello(*token)).unwrap();
    let mut greeting = [0; size_of::<wire::Greeting>()];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(client::is_welcome(&greeting), Some(true));
    stream
}

#[test]
fn who_stops_in_the_middle_of_a_batch_or_takes_no_answer_holds_up_nobody_and_is_closed() {
    const LENGTH: usize = 1 << 20;
    let mut nic = nic();
    let (_memory, fd) = SharedMemory::create("test", LENGTH).unwrap();
    let (kind, length) = (2, LENGTH as u64);
    let region =
        RegionRequest { kind, generation: 1, offset: 0, length, rights: Rights::ReadOnly, slot: None };
    nic.register(region, fd).unwrap();
    let (endpoints, directory) = admit(&mut nic, "monitor", 0, 10);
    let mut good = dial(&endpoints[..1]).unwrap().pop().unwrap();
    let listed = Directory::fetch(good.as_mut(), directory).unwrap();
    let range = listed.region(kind).unwrap().range;

    let start = Instant::now();
    let mut half = client::Exchange::default();
    let request = half.begin_request(&Request::Read(&[range])).unwrap();
    let half = endpoints[1..5].iter().map(|endpoint| {
        let mut stream = greeted(&nic, endpoint);
        stream.write_all(&request[..request.len() - 1]).unwrap();
        stream
    });
    let half: Vec<TcpStream> = half.collect();
    let mut greedy: Vec<(TcpStream, client::Exchange)> = endpoints[5..]
        .iter()
        .map(|endpoint| (greeted(&nic, endpoint), client::Exchange::default()))
        .collect();
    let mut longest = Duration::ZERO;
    let mut reads = 0;
    while half.iter().chain(greedy.iter().map(|(stream, _)| stream)).any(|stream| !is_cut(stream)) {
        assert!(start.elapsed() < Duration::from_secs(20), "all are closed");
        for (stream, exchange) in &mut greedy {
            // Once it is closed, this fails.
            let _ = stream.write_all(exchange.begin_request(&Request::Read(&[range])).unwrap());
        }
        let asked = Instant::now();
        good.read(range.slice(0, 64).unwrap(), &mut [0; 64]).unwrap();
        longest = longest.max(asked.elapsed());
        reads += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(reads > 50 && start.elapsed() > Duration::from_secs(4), "they had their time");
    assert!(longest < DEADLINE, "{longest:?}");
    println!("closed after {:?}; longest read meanwhile {longest:?}", start.elapsed());
}

/// Whether the other side has closed or reset the connection, whatever waits to be read.
fn is_cut(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap();
    fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}
