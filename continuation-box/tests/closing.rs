//! Connections of which an end is closed go on at another host, as far closed as they were.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use backdoors_continuation_box::tcp::{ResumeError, SilentAddresses, rebuild};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use support::dump::{acknowledged, dump};
use support::scene::{Scene, bytes, read_stream};

const SERVICES: [&str; 2] = ["10.77.0.10", "fd77::10"];

/// The stream ends here, in good order, and soon.
fn ends(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    loop {
        match stream.read(&mut [0; 10]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => return assert_eq!(read.unwrap(), 0),
        }
    }
}

/// Time for what is written without a way out, and for a timer of the old host.
fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

#[test]
fn what_a_client_that_has_closed_sent_is_read_to_its_end_and_answered() {
    for service in SERVICES {
        // Whether the application has read the bytes, and then their end.
        for (read, end) in [(0, false), (3_000, false), (3_000, true)] {
            let mut scene = Scene::new(service);
            let (mut client, mut server) = scene.connect();
            client.write_all(&bytes(0, 3_000)).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            read_stream(&mut server, 0, read);
            if end {
                ends(&mut server);
            }
            acknowledged(&client);
            scene.cut_off_old();
            let taken = scene.take_over(server);
            assert!(taken.state.receive.closed && !taken.state.send.closed);
            let mut server = taken.stream;
            read_stream(&mut server, read, 3_000 - read);
            ends(&mut server);
            server.write_all(&bytes(0, 100_000)).unwrap();
            read_stream(&mut client, 0, 100_000);
            drop(server);
            ends(&mut client);
            scene.seen();
        }
    }
}

#[test]
fn an_answer_to_a_client_that_has_closed_goes_on_although_much_of_it_was_lost() {
    for lost in [4_000, 60_000] {
        let mut scene = Scene::new(SERVICES[0]);
        let (mut client, mut server) = scene.connect();
        for round in 0..20 {
            server.write_all(&bytes(round * 10_000, 10_000)).unwrap();
            read_stream(&mut client, round * 10_000, 10_000);
        }
        client.shutdown(Shutdown::Write).unwrap();
        acknowledged(&client);
        scene.cut_off_old();
        server.write_all(&bytes(200_000, lost)).unwrap();
        settle();
        let taken = scene.take_over(server);
        assert!(taken.state.receive.closed && !taken.state.send.unacknowledged.is_empty());
        let mut server = taken.stream;
        ends(&mut server);
        read_stream(&mut client, 200_000, lost);
        let wait = taken.resumed_at.elapsed();
        assert!(wait < Duration::from_millis(400), "{wait:?}");
        drop(server);
        ends(&mut client);
        scene.seen();
    }
}

#[test]
fn a_service_that_has_closed_still_reads_whether_or_not_the_client_knows() {
    for service in SERVICES {
        for known in [true, false] {
            let mut scene = Scene::new(service);
            let (mut client, mut server) = scene.connect();
            if known {
                server.write_all(&bytes(0, 3_000)).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
                acknowledged(&server);
                scene.cut_off_old();
            } else {
                scene.cut_off_old();
                server.write_all(&bytes(0, 3_000)).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
                settle();
            }
            let taken = scene.take_over(server);
            assert!(taken.state.send.closed);
            assert_eq!(taken.state.send.una == taken.state.send.next, known);
            let began = Instant::now();
            read_stream(&mut client, 0, 3_000);
            ends(&mut client);
            assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
            client.write_all(&bytes(0, 100_000)).unwrap();
            drop(client);
            let mut server = taken.stream;
            read_stream(&mut server, 0, 100_000);
            ends(&mut server);
            scene.seen();
        }
    }
}

#[test]
fn the_last_bytes_of_a_connection_that_both_have_closed_arrive() {
    for service in SERVICES {
        let mut scene = Scene::new(service);
        let (mut client, mut server) = scene.connect();
        client.write_all(&bytes(0, 3_000)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        acknowledged(&client);
        scene.cut_off_old();
        server.write_all(&bytes(0, 5_000)).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        settle();
        let taken = scene.take_over(server);
        assert!(taken.state.send.closed && taken.state.receive.closed);
        read_stream(&mut client, 0, 5_000);
        ends(&mut client);
        let mut server = taken.stream;
        read_stream(&mut server, 0, 3_000);
        ends(&mut server);
        scene.seen();
    }
}

#[test]
fn strict_checks_of_where_packets_come_from_do_not_matter() {
    let mut scene = Scene::new(SERVICES[0]);
    for place in ["all", "lo", "eth0", "default"] {
        scene.new.sysctl(&format!("ipv4/conf/{place}/rp_filter"), "1");
    }
    let (mut client, server) = scene.connect();
    client.shutdown(Shutdown::Write).unwrap();
    acknowledged(&client);
    scene.cut_off_old();
    let mut taken = scene.take_over(server);
    ends(&mut taken.stream);
    taken.stream.write_all(&bytes(0, 1_000)).unwrap();
    read_stream(&mut client, 0, 1_000);
    scene.seen();
}

#[test]
fn a_machine_that_cannot_hear_itself_says_so_and_the_client_hears_nothing() {
    let mut scene = Scene::new(SERVICES[0]);
    let (mut client, mut server) = scene.connect();
    client.shutdown(Shutdown::Write).unwrap();
    acknowledged(&client);
    scene.cut_off_old();
    server.write_all(&bytes(0, 1_000)).unwrap();
    settle();
    let state = dump(server);
    scene.new.run(|| {
        let _silent = SilentAddresses::take("eth0", &[scene.service]).unwrap();
        let rebuilt = rebuild(state.clone()).unwrap();
        scene.new.ip("link set lo down");
        let deaf = rebuilt.resume();
        assert!(matches!(deaf, Err(ResumeError::EndLost)), "{deaf:?}");
        scene.new.ip("link set lo up");
    });
    let mut taken = scene.go_on(state);
    read_stream(&mut client, 0, 1_000);
    ends(&mut taken.stream);
    scene.seen();
}
