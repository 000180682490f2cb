//! Live connections go on at another host.

mod support;

use backdoors_continuation_box::tcp::rebuild;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use support::capture::Seen;
use support::dump::info;
use support::scene::{PORT, Scene, TakenOver, bytes, fill, goes_on, read_stream};

const V4: &str = "10.77.0.10";
const V6: &str = "fd77::10";

/// A plain rebuild is silent for a second at least, and for four if the peer has received a part.
const AT_ONCE: Duration = Duration::from_millis(400);

/// The peer got its first new byte from the new host this long after the connection had been resumed.
fn first_data_after(seen: &[Seen], taken: &TakenOver) -> Duration {
    let first = seen.iter().find(|it| it.from_port == PORT && it.payload > 0 && it.at >= taken.resumed_at);
    first.expect("the new host never sent anything").at - taken.resumed_at
}

/// A download of which `received` bytes reach the client, and the rest of what was sent is lost.
fn a_download_goes_on(scene: &mut Scene, received: usize, lost: usize) {
    let (mut client, mut server) = scene.connect();
    // Such that as much as that is sent at once.
    const WARM: usize = 200_000;
    for round in 0..20 {
        server.write_all(&bytes(round * 10_000, 10_000)).unwrap();
        read_stream(&mut client, round * 10_000, 10_000);
    }
    server.set_nodelay(true).unwrap();
    scene.old.ip("neighbour flush dev eth0");
    server.write_all(&bytes(WARM, received)).unwrap();
    read_stream(&mut client, WARM, received);
    scene.cut_off_old();
    server.write_all(&bytes(WARM + received, lost)).unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let taken = scene.take_over(server);
    assert!(!taken.state.send.unacknowledged.is_empty(), "nothing was under way");
    read_stream(&mut client, WARM + received, lost);
    let wait = taken.resumed_at.elapsed();
    println!(
        "{received} bytes received, {} under way, {} unsent: all there {wait:?} after the connection was resumed",
        taken.state.send.unacknowledged.len(),
        taken.state.send.unsent.len()
    );
    assert!(wait < AT_ONCE, "{wait:?} after the connection was resumed");
    let mut server = taken.stream.try_clone().unwrap();
    goes_on(&mut client, &mut server, 0, WARM + received + lost);
    let seen = scene.seen();
    assert!(first_data_after(&seen, &taken) < AT_ONCE / 2);
}

#[test]
fn a_download_whose_last_few_segments_were_lost_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V4), 1000, 5000);
}

#[test]
fn a_download_that_lost_more_than_a_new_sockets_congestion_window_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V4), 1000, 60_000);
}

#[test]
fn a_download_over_ipv6_goes_on_at_once() {
    a_download_goes_on(&mut Scene::new(V6), 1000, 60_000);
}

#[test]
fn a_download_without_timestamps_goes_on_at_once() {
    let mut scene = Scene::new(V4);
    scene.client.sysctl("ipv4/tcp_timestamps", "0");
    a_download_goes_on(&mut scene, 1000, 60_000);
}

#[test]
fn a_download_to_a_client_without_selective_acknowledgements_goes_on_at_once() {
    let mut scene = Scene::new(V4);
    scene.client.sysctl("ipv4/tcp_sack", "0");
    a_download_goes_on(&mut scene, 1000, 12_000);
}
