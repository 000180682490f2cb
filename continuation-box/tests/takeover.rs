//! Downloads and uploads go on at another host, byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use backdoors_continuation_box::tcp::rebuild;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::capture::Seen;
use support::dump::{acknowledged, dump, info};
use support::scene::{PORT, Scene, TakenOver, bytes, fill, goes_on, read_stream};

const V4: &str = "10.77.0.10";
const V6: &str = "fd77::10";

/// A plain rebuild is silent for a second at least, and for four if the peer has received a part.
const AT_ONCE: Duration = Duration::from_millis(400);

/// How long after the connection had been resumed the first bytes came from the end at `port`.
fn first_data_after(seen: &[Seen], port: u16, taken: &TakenOver) -> Duration {
    let first = seen.iter().find(|it| it.from_port == port && it.payload > 0 && it.at >= taken.resumed_at);
    first.expect("nothing came").at - taken.resumed_at
}

/// The new host begins with what the old one has told the client that it may send, and takes nothing back.
fn the_offer_stands(seen: &[Seen], taken: &TakenOver) {
    let scale = taken.state.scales.map_or(0, |scales| scales.receive);
    let edge = |it: &Seen| it.acknowledged.wrapping_add(u32::from(it.window) << scale);
    // Nothing else has the number before the oldest unacknowledged one.
    let probe =
        |it: &Seen| it.from_port == PORT && !it.syn && it.sequence == taken.state.send.una.wrapping_sub(1);
    let at = seen.iter().position(probe).expect("the new host did not ask for an answer");
    let offers = seen[..at].iter().filter(|it| it.from_port == PORT && !it.syn).map(edge);
    // What is told is rounded.
    let taken_back = offers.map(|before| before.wrapping_sub(edge(&seen[at])) as i32).max();
    assert!(taken_back.is_some_and(|bytes| bytes < 1 << scale), "{taken_back:?} bytes were taken back");
}

/// What becomes of the last bytes of a download.
struct Last {
    /// The client gets these, and its acknowledgements are lost.
    received: usize,
    /// These are lost on their way.
    lost: usize,
}

const WARM: usize = 200_000;

/// A download whose congestion window takes what comes, and whose acknowledgements are not delayed.
fn warm(scene: &Scene) -> (TcpStream, TcpStream) {
    let (mut client, mut server) = scene.connect();
    for round in 0..20 {
        server.write_all(&bytes(round * 10_000, 10_000)).unwrap();
        read_stream(&mut client, round * 10_000, 10_000);
    }
    server.set_nodelay(true).unwrap();
    (client, server)
}

fn a_download_goes_on(scene: &mut Scene, last: Last) -> (TakenOver, Vec<Seen>) {
    let (mut client, mut server) = warm(scene);
    if last.received > 0 {
        scene.silence_client();
        server.write_all(&bytes(WARM, last.received)).unwrap();
        read_stream(&mut client, WARM, last.received);
    }
    scene.cut_off_old();
    server.write_all(&bytes(WARM + last.received, last.lost)).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let taken = scene.take_over(server);
    let under_way = taken.state.send.unacknowledged.len();
    assert!(under_way >= last.received.max(last.lost.min(10_000)), "only {under_way} bytes were under way");
    read_stream(&mut client, WARM + last.received, last.lost);
    let wait = taken.resumed_at.elapsed();
    let mut server = taken.stream.try_clone().unwrap();
    goes_on(&mut client, &mut server, 0, WARM + last.received + last.lost);
    let seen = scene.seen();
    let first = first_data_after(&seen, PORT, &taken);
    let [rebuilding, resuming] = taken.took;
    println!(
        "{under_way} bytes under way, {} received: rebuilt in {rebuilding:?}, resumed in {resuming:?}",
        last.received
    );
    println!("after that the first byte on the wire {first:?}, the last one read {wait:?}");
    assert!(wait < AT_ONCE && first < AT_ONCE, "first byte {first:?}, last {wait:?}");
    (taken, seen)
}

#[test]
fn a_download_whose_last_few_segments_were_lost_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V4), Last { received: 0, lost: 5_000 });
}

#[test]
fn a_download_that_lost_more_than_a_new_congestion_window_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V4), Last { received: 0, lost: 60_000 });
}

#[test]
fn downloads_go_on_at_once_under_any_congestion_control() {
    for control in ["reno", "cubic", "bbr"] {
        for last in [Last { received: 0, lost: 60_000 }, Last { received: 20_000, lost: 30_000 }] {
            let mut scene = Scene::new(V4);
            if scene.new.read("ipv4/tcp_available_congestion_control").contains(control) {
                scene.new.ip(&format!("route replace 10.77.0.0/24 dev eth0 congctl {control}"));
                let (taken, _) = a_download_goes_on(&mut scene, last);
                assert_eq!(getsockopt(&taken.stream, sockopt::TcpCongestion).unwrap(), control);
            } else {
                println!("this kernel does not have {control}");
            }
        }
    }
}

#[test]
fn a_download_of_which_a_part_was_received_and_its_acknowledgement_lost_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V4), Last { received: 20_000, lost: 30_000 });
    a_download_goes_on(&mut Scene::new(V4), Last { received: 2_000, lost: 3_000 });
}

#[test]
fn a_download_of_which_all_was_received_and_only_acknowledgements_were_lost_goes_on() {
    a_download_goes_on(&mut Scene::new(V4), Last { received: 40_000, lost: 0 });
    a_download_goes_on(&mut Scene::new(V4), Last { received: 100, lost: 0 });
}

/// The client acknowledges the end as soon as it has what was lost, when the new host may not have sent the end again yet.
#[test]
fn a_download_whose_end_was_received_and_what_is_before_it_lost_goes_on_at_once() {
    for [lost, received] in [[30_000, 3_000], [14_480, 4_344], [4_000, 3_000]] {
        let mut scene = Scene::new(V4);
        let (mut client, mut server) = warm(&scene);
        scene.silence_client();
        scene.cut_off_old();
        server.write_all(&bytes(WARM, lost)).unwrap();
        scene.switch.let_back("old");
        server.write_all(&bytes(WARM + lost, received)).unwrap();
        scene.cut_off_old();
        let taken = scene.take_over(server);
        assert_eq!(taken.state.send.unacknowledged.len(), lost + received);
        read_stream(&mut client, WARM, lost + received);
        let mut server = taken.stream.try_clone().unwrap();
        goes_on(&mut client, &mut server, 0, WARM + lost + received);
        let wait = taken.resumed_at.elapsed();
        assert!(wait < AT_ONCE, "{lost} lost, {received} received: {wait:?}");
        scene.seen();
    }
}

#[test]
fn a_download_over_ipv6_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V6), Last { received: 0, lost: 60_000 });
    a_download_goes_on(&mut Scene::new(V6), Last { received: 2_000, lost: 3_000 });
}

#[test]
fn a_download_without_timestamps_goes_on_at_once() {
    for last in [Last { received: 0, lost: 60_000 }, Last { received: 20_000, lost: 30_000 }] {
        let mut scene = Scene::new(V4);
        scene.client.sysctl("ipv4/tcp_timestamps", "0");
        let (taken, _) = a_download_goes_on(&mut scene, last);
        assert_eq!(taken.state.timestamps, None);
    }
}

#[test]
fn a_download_to_a_client_without_selective_acknowledgements_goes_on_at_once() {
    let mut scene = Scene::new(V4);
    scene.client.sysctl("ipv4/tcp_sack", "0");
    let (taken, _) = a_download_goes_on(&mut scene, Last { received: 0, lost: 12_000 });
    assert!(!taken.state.selective);
}

#[test]
fn segments_stay_as_small_as_the_client_asked_for() {
    let mut scene = Scene::new(V4);
    scene.client.ip("route replace 10.77.0.0/24 dev eth0 advmss 700");
    let (taken, seen) = a_download_goes_on(&mut scene, Last { received: 0, lost: 20_000 });
    assert_eq!(taken.state.segment_size, 700);
    assert_eq!(info(&taken.stream).sent_segment_size(), 688);
    // Cards take several segments at once, whole ones.
    let long = seen.iter().filter(|it| it.from_port == PORT && it.at > taken.resumed_at && it.payload >= 688);
    assert!(long.into_iter().any(|it| it.payload % 688 == 0));
}

#[test]
fn a_download_with_the_clients_window_full_goes_on_when_the_client_reads() {
    for service in [V4, V6] {
        let mut scene = Scene::new(service);
        let (mut client, mut server) = scene.connect();
        let written = fill(&mut server, 0);
        scene.cut_off_old();
        let taken = scene.take_over(server);
        let (sent, unsent) = (&taken.state.send.unacknowledged, &taken.state.send.unsent);
        assert!(!unsent.is_empty(), "the client's window was not full");
        println!("{written} bytes written, {} under way, {} unsent", sent.len(), unsent.len());
        let mut server = taken.stream.try_clone().unwrap();
        server.write_all(&unsent[taken.written..]).unwrap();
        let began = Instant::now();
        read_stream(&mut client, 0, written);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?} for {written} bytes", began.elapsed());
        goes_on(&mut client, &mut server, 0, written);
        scene.seen();
    }
}

#[test]
fn a_download_that_lost_all_of_the_clients_window_goes_on_at_once() {
    let mut scene = Scene::new(V4);
    scene.client.sysctl("ipv4/tcp_rmem", "4096 40000 40000");
    let (mut client, mut server) = scene.connect();
    for round in 0..20 {
        server.write_all(&bytes(round * 10_000, 10_000)).unwrap();
        read_stream(&mut client, round * 10_000, 10_000);
    }
    scene.cut_off_old();
    let written = fill(&mut server, 200_000);
    let taken = scene.take_over(server);
    let (send, mut server) = (&taken.state.send, taken.stream.try_clone().unwrap());
    // Of a whole segment there was no room left.
    assert!(send.window as usize - send.unacknowledged.len() < 1448, "the window was not full");
    assert!(!send.unsent.is_empty());
    assert_eq!(taken.written, send.unsent.len());
    read_stream(&mut client, 200_000, send.unacknowledged.len());
    let wait = taken.resumed_at.elapsed();
    println!("{} bytes under way, a full window: all there after {wait:?}", send.unacknowledged.len());
    assert!(wait < AT_ONCE, "{wait:?}");
    read_stream(&mut client, 200_000 + send.unacknowledged.len(), send.unsent.len());
    goes_on(&mut client, &mut server, 0, written);
    scene.seen();
}

#[test]
fn a_connection_goes_on_while_its_sequence_numbers_wrap() {
    for service in [V4, V6] {
        let mut scene = Scene::new(service);
        let (client, server) = scene.connect();
        // The same connection, with sequence numbers near their end: both ends are made anew of what they were.
        let (mut near, mut far) = (dump(server), dump(client));
        for state in [&mut near, &mut far] {
            (state.send.una, state.send.next) = (0xffff_e000, 0xffff_e000);
            (state.receive.copied, state.receive.next) = (0xffff_e000, 0xffff_e000);
            (state.receive.window_at, state.send.window_at) = (0xffff_e000, 0xffff_e000);
        }
        let near = scene.old.run(|| rebuild(near).unwrap());
        let far = scene.client.run(|| rebuild(far).unwrap());
        let mut server = near.resume().unwrap().stream;
        let mut client = far.resume().unwrap().stream;
        server.write_all(&bytes(0, 1_000)).unwrap();
        read_stream(&mut client, 0, 1_000);
        client.write_all(&bytes(0, 20_000)).unwrap();
        read_stream(&mut server, 0, 2_000);
        acknowledged(&client);
        scene.cut_off_old();
        server.write_all(&bytes(1_000, 12_000)).unwrap();
        let taken = scene.take_over(server);
        assert!(
            taken.state.send.next < taken.state.send.una
                && taken.state.receive.next < taken.state.receive.copied
        );
        read_stream(&mut client, 1_000, 12_000);
        let mut server = taken.stream;
        read_stream(&mut server, 2_000, 18_000);
        goes_on(&mut client, &mut server, 20_000, 13_000);
        scene.seen();
    }
}

#[test]
fn a_connection_that_was_taken_over_can_be_taken_over_again() {
    let mut scene = Scene::new(V4);
    let (mut client, mut server) = scene.connect();
    client.write_all(&bytes(0, 10_000)).unwrap();
    acknowledged(&client);
    scene.cut_off_old();
    server.write_all(&bytes(0, 9_000)).unwrap();
    let first = scene.take_over(server);
    scene.new.ip(&format!("address del {}/24 dev eth0", scene.service.address));
    let second = scene.take_over(first.stream);
    read_stream(&mut client, 0, 9_000);
    let mut server = second.stream;
    read_stream(&mut server, 0, 10_000);
    goes_on(&mut client, &mut server, 10_000, 9_000);
    scene.seen();
}

#[test]
fn bytes_that_were_received_and_not_read_are_read_at_the_new_host() {
    let mut scene = Scene::new(V4);
    let (mut client, mut server) = scene.connect();
    client.write_all(&bytes(0, 50_000)).unwrap();
    read_stream(&mut server, 0, 7_000);
    acknowledged(&client);
    scene.cut_off_old();
    let taken = scene.take_over(server);
    assert_eq!(taken.state.receive.unread.len(), 43_000);
    let mut server = taken.stream.try_clone().unwrap();
    read_stream(&mut server, 7_000, 43_000);
    goes_on(&mut client, &mut server, 50_000, 0);
    the_offer_stands(&scene.seen(), &taken);
}

#[test]
fn a_window_that_was_wide_open_stays_open() {
    const ROUND: usize = 1 << 20;
    let mut scene = Scene::new(V4);
    let (mut client, mut server) = scene.connect();
    let mut all = 0;
    // The window opens as bytes are read, sooner or later.
    while info(&server).receive_threshold() < 250_000 {
        assert!(all < 100 * ROUND, "the window does not open");
        let mut writing = client.try_clone().unwrap();
        let writer = std::thread::spawn(move || writing.write_all(&bytes(all, ROUND)).unwrap());
        read_stream(&mut server, all, ROUND);
        writer.join().unwrap();
        all += ROUND;
    }
    acknowledged(&client);
    scene.cut_off_old();
    let mut taken = scene.take_over(server);
    assert!(
        taken.state.receive.window > 150_000,
        "{} is less than a new socket offers",
        taken.state.receive.window
    );
    goes_on(&mut client, &mut taken.stream, all, 0);
    the_offer_stands(&scene.seen(), &taken);
}

/// Nor is anything taken back when its memory is bounded to not much more.
#[test]
fn an_upload_that_nobody_reads_yet_is_promised_little_more_than_it_was_and_goes_on_when_it_is_read() {
    let mut scene = Scene::new(V4);
    let (mut client, server) = warm(&scene);
    scene.cut_off_old();
    let state = dump(server);
    let mut taken = scene.go_on(state.clone());
    let written = fill(&mut client, 0);
    let read_at = Instant::now();
    let memory = state.receive.window as usize * 5 / 4 + 8192;
    assert_eq!(getsockopt(&taken.stream, sockopt::RcvBuf).unwrap(), memory);
    setsockopt(&taken.stream, sockopt::RcvBuf, &(memory / 2)).unwrap();
    read_stream(&mut taken.stream, 0, written);
    goes_on(&mut client, &mut taken.stream, written, WARM);
    let scale = state.scales.map_or(0, |scales| scales.receive);
    let mut last = 0;
    for it in scene.seen().iter().filter(|it| it.from_port == PORT && !it.syn && it.at >= taken.resumed_at) {
        let edge = it.acknowledged.wrapping_add(u32::from(it.window) << scale);
        let promised = edge.wrapping_sub(state.receive.next);
        assert!(it.at > read_at || promised as usize <= memory, "{promised} of {memory}");
        assert!(promised + (1 << scale) > last, "{} bytes were taken back: {it:?}", last - promised);
        last = promised;
    }
}

/// An upload in the middle of which its host is lost for as long as `outage`.
fn an_upload_goes_on(service: &str, outage: Duration) {
    const ALL: usize = 8 << 20;
    let mut scene = Scene::new(service);
    let (client, mut server) = scene.connect();
    let mut writing = client.try_clone().unwrap();
    let port = client.local_addr().unwrap().port();
    let writer = std::thread::spawn(move || {
        writing.write_all(&bytes(0, ALL)).unwrap();
    });
    read_stream(&mut server, 0, 1 << 20);
    scene.cut_off_old();
    let cut_off = Instant::now();
    std::thread::sleep(outage);
    let taken = scene.take_over(server);
    let mut server = taken.stream.try_clone().unwrap();
    read_stream(&mut server, 1 << 20, ALL - (1 << 20));
    writer.join().unwrap();
    let mut client = client;
    goes_on(&mut client, &mut server, ALL, 0);
    let seen = scene.seen();
    the_offer_stands(&seen, &taken);
    let first = first_data_after(&seen, port, &taken);
    println!("cut off for {:?}: the client spoke {first:?} after", taken.resumed_at - cut_off);
    // Its retransmission timer is 200 ms at least, and doubles each time that it rings in vain.
    assert!(first < Duration::from_millis(250) + 2 * (taken.resumed_at - cut_off), "{first:?}");
}

#[test]
fn an_upload_goes_on_with_the_clients_next_retransmission() {
    an_upload_goes_on(V4, Duration::from_millis(20));
    an_upload_goes_on(V6, Duration::from_millis(60));
}
