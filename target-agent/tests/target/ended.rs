//! Sessions that their server has ended, and whose clients have not heard all of it yet.

use crate::adopted::{EXPORTED, OLD, Old, SENT, begin, offer, old_session};
use crate::captured::PORT;
use crate::host::{eventually, inside_network};
use crate::segments::Segments;
use crate::served::{Client, Served};
use backdoors_continuation_box::resume::{Resumption, Streams};
use backdoors_continuation_box::service::Adopter;
use backdoors_continuation_box::snapshot::layout::BoxHead;
use backdoors_continuation_box::snapshot::{BoxMemory, BoxView};
use backdoors_continuation_box::tcp::{self, rebuild};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// More than a client's buffers take, and less than both ends' do.
const SIZE: u64 = 300_000;
const LARGE: &str = "output_ring = '2MiB'\nsessions = 4";

/// Heads of the boxes that are taken.
fn taken(served: &Served) -> Vec<BoxHead> {
    let map = libbpf_rs::MapHandle::from_pinned_path(served.host.pins().map("boxes_0")).unwrap();
    let boxes = BoxMemory::over(map.as_fd()).unwrap();
    let heads = (0..boxes.shape().capacity).filter_map(|index| boxes.head(index));
    heads.filter(|head| head.cookie != 0).collect()
}

fn await_end(served: &Served) {
    eventually("a session that was ended", || taken(served).iter().any(|head| head.ended != 0).then_some(()));
}

fn await_no_box(served: &Served) {
    eventually("boxes that are all free", || taken(served).is_empty().then_some(()));
}

fn small_buffer(client: &Client) {
    rustix::net::sockopt::set_socket_recv_buffer_size(&client.stream, 16 << 10).unwrap();
}

fn ends(client: &mut Client) {
    assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_client_gets_what_was_written_and_its_end_though_its_server_is_killed_at_once() {
    inside_network(
        "ended::a_client_gets_what_was_written_and_its_end_though_its_server_is_killed_at_once",
        || {
            let mut served = Served::start(LARGE);
            let mut client = served.connect_protected();
            small_buffer(&client);
            client.ask(b'e', SIZE);
            await_end(&served);
            served.kill();
            served.serve();
            // The next server goes on with others, and the box stays as long as the client lacks something.
            let other = served.connect_protected();
            assert_eq!(taken(&served).len(), 2);
            drop(other);
            let segments = Segments::start(PORT);
            for at in (0..SIZE).step_by(20_000) {
                client.receive(at..at + 20_000);
                std::thread::sleep(Duration::from_millis(10));
            }
            ends(&mut client);
            assert_eq!(taken(&served).iter().filter(|head| head.ended != 0).count(), 1);
            drop(client);
            await_no_box(&served);
            assert!(segments.end().iter().all(|segment| !segment.reset));
        },
    );
}

#[test]
fn what_the_connection_has_no_room_for_when_a_session_is_dropped_is_written_by_the_agent() {
    inside_network(
        "ended::what_the_connection_has_no_room_for_when_a_session_is_dropped_is_written_by_the_agent",
        || {
            let mut served = Served::start(LARGE);
            for kill in [false, true] {
                let mut client = served.connect_protected();
                client.ask(b'f', 4 * SIZE);
                await_end(&served);
                if kill {
                    served.kill();
                }
                client.receive(0..4 * SIZE);
                ends(&mut client);
                drop(client);
                await_no_box(&served);
            }
        },
    );
}

#[test]
fn what_a_client_sends_after_the_end_costs_it_nothing() {
    inside_network("ended::what_a_client_sends_after_the_end_costs_it_nothing", || {
        let served = Served::start(LARGE);
        let mut client = served.connect_protected();
        small_buffer(&client);
        let segments = Segments::start(PORT);
        client.ask(b'e', SIZE);
        await_end(&served);
        // More than fits anywhere: somebody must throw it away.
        let mut writer = client.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || writer.write_all(&vec![7; 4 << 20]));
        client.receive(0..SIZE);
        ends(&mut client);
        writer.join().unwrap().unwrap();
        drop(client);
        await_no_box(&served);
        assert!(segments.end().iter().all(|segment| !segment.reset));
    });
}

#[test]
fn a_client_that_has_everything_and_stays_is_waited_for_as_long_as_the_kernel_would() {
    inside_network(
        "ended::a_client_that_has_everything_and_stays_is_waited_for_as_long_as_the_kernel_would",
        || {
            std::fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "2").unwrap();
            let served = Served::start(LARGE);
            let mut client = served.connect_protected();
            client.ask(b'e', 1000);
            let asked = Instant::now();
            client.receive(0..1000);
            ends(&mut client);
            await_no_box(&served);
            let waited = asked.elapsed();
            assert!(waited > Duration::from_secs(2) && waited < Duration::from_secs(10), "{waited:?}");
        },
    );
}

#[test]
fn a_recovered_session_that_was_ended_is_finished_by_the_agent_without_any_server() {
    inside_network(
        "ended::a_recovered_session_that_was_ended_is_finished_by_the_agent_without_any_server",
        || {
            let mut served = Served::start("");
            assert!(served.connect_protected().is_protected());
            await_no_box(&served);
            let Old { mut client, state, mut old_box, .. } = old_session(OLD);
            let at = std::mem::offset_of!(BoxHead, ended);
            old_box[at..at + 8].copy_from_slice(&1u64.to_le_bytes());
            let view = BoxView::decode(OLD, &old_box, None).unwrap().unwrap();
            let streams = Streams { acknowledged: SENT, sent: SENT, received: 18, held: 18..18 };
            let plan = Resumption::plan(&streams, &view).unwrap();
            assert_eq!(plan.unsent, SENT..EXPORTED);
            let rebuilt = rebuild(state).unwrap();
            let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
            let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
            served.kill();
            let offered = offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).unwrap();
            let resumed = rebuilt.resume().unwrap();
            assert_eq!(resumed.written, 1000);
            begin(&mut adopter, offered, resumed.written, OLD, &old_box).unwrap();
            drop((resumed, adopter));
            client.receive(SENT..EXPORTED);
            ends(&mut client);
            assert_eq!(taken(&served).len(), 1);
            drop(client);
            await_no_box(&served);
        },
    );
}
