//! Servers whose sessions outlive them: a real agent, real servers that are killed, and their clients.

use crate::captured::PORT;
use crate::host::{PATIENCE, eventually, inside_network};
use crate::segments::Segments;
use crate::served::{Served, add, byte};
use backdoors_continuation_box::snapshot::{Attachment, BoxesView, Shape};
use backdoors_rdma::owner::MemoryOwner;
use backdoors_sensor_box::layout::RegionKind;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// What the region of the boxes says of itself.
fn boxes(served: &Served) -> BoxesView {
    let map = libbpf_rs::MapHandle::from_pinned_path(served.host.pins().map("boxes_0")).unwrap();
    let memory = backdoors_rdma::SharedMemory::map(
        std::os::fd::AsFd::as_fd(&map),
        0,
        Shape::HEADER_BYTES,
        backdoors_rdma::Protection::ReadOnly,
    );
    let mut head = vec![0; Shape::HEADER_BYTES];
    memory.unwrap().read_bytes(0, &mut head).unwrap();
    BoxesView::decode(&head).unwrap()
}

fn await_attachment(served: &Served, wanted: Attachment) {
    eventually("a server that is attached, or not", || (boxes(served).attachment == wanted).then_some(()));
}

/// A client that does something in a thread, and how far it has come.
struct Transfer {
    done: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Transfer {
    fn download(served: &Served, size: u64) -> Transfer {
        let mut client = served.connect_protected();
        Transfer::new(move |done| {
            client.ask(b'd', size);
            for at in (0..size).step_by(4096) {
                client.receive(at..size.min(at + 4096));
                done.store(at + 4096, Ordering::Relaxed);
            }
            client.stream.write_all(&[]).unwrap();
        })
    }

    fn upload(served: &Served, size: u64) -> Transfer {
        let mut client = served.connect_protected();
        Transfer::new(move |done| {
            client.ask(b'u', size);
            let mut sum = 0;
            for at in (0..size).step_by(4096) {
                let piece: Vec<u8> = (at..size.min(at + 4096)).map(byte).collect();
                sum = add(sum, &piece);
                client.stream.write_all(&piece).unwrap();
                done.store(at + 4096, Ordering::Relaxed);
            }
            assert_eq!(client.word(), sum);
        })
    }

    /// Transfers pieces as long as it is to go on.
    fn repeated(served: &Served, request: u8, go_on: &Arc<AtomicBool>) -> Transfer {
        let (mut client, go_on) = (served.connect_protected(), Arc::clone(go_on));
        Transfer::new(move |done| {
            while go_on.load(Ordering::Relaxed) {
                client.ask(request, REPEATED);
                if request == b'd' {
                    client.receive(0..REPEATED);
                } else {
                    let bytes: Vec<u8> = (0..REPEATED).map(byte).collect();
                    client.stream.write_all(&bytes).unwrap();
                    assert_eq!(client.word(), add(0, &bytes));
                }
                done.fetch_add(REPEATED, Ordering::Relaxed);
            }
        })
    }

    fn await_more(&self) {
        let before = self.done.load(Ordering::Relaxed);
        self.await_bytes(before + REPEATED);
        assert!(!self.thread.is_finished());
    }

    fn new(work: impl FnOnce(&AtomicU64) + Send + 'static) -> Transfer {
        let done = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&done);
        Transfer { done, thread: thread::spawn(move || work(&noted)) }
    }

    fn await_bytes(&self, bytes: u64) {
        let has_come = || self.done.load(Ordering::Relaxed) >= bytes || self.thread.is_finished();
        eventually("a transfer to get on", || has_come().then_some(()));
    }
}

const SIZE: u64 = 4 << 20;
const REPEATED: u64 = 200_000;

fn killed_again_and_again(service: &str) {
    let mut served = Served::start(service);
    // The first of them see a server that is there; from then on nobody connects.
    let transfers = [
        Transfer::download(&served, SIZE),
        Transfer::upload(&served, SIZE),
        Transfer::download(&served, SIZE),
        Transfer::upload(&served, SIZE),
    ];
    let segments = Segments::start(PORT);
    for part in 1..6 {
        for transfer in &transfers {
            transfer.await_bytes(SIZE / 6 * part);
        }
        assert!(!transfers.iter().all(|transfer| transfer.thread.is_finished()));
        served.kill();
        await_attachment(&served, Attachment::Died);
        served.serve();
    }
    for transfer in transfers {
        transfer.thread.join().unwrap();
    }
    let seen = segments.end();
    assert!(seen.iter().any(|segment| segment.payload > 0));
    let first_end = seen.iter().find(|segment| segment.from_port == PORT && (segment.fin || segment.reset));
    // Clients close their ends when they have everything; the server must not before that.
    let first_close = seen.iter().position(|segment| segment.from_port != PORT && segment.fin);
    let before = &seen[..first_close.unwrap_or(seen.len())];
    assert!(before.iter().all(|segment| !segment.fin && !segment.reset), "{first_end:?}");
    assert!(seen.iter().all(|segment| !segment.reset));
    assert_eq!(boxes(&served).lost, 0);
}

#[test]
fn transfers_in_both_directions_survive_servers_that_are_killed_again_and_again() {
    inside_network(
        "services::transfers_in_both_directions_survive_servers_that_are_killed_again_and_again",
        || killed_again_and_again("ring = '1MiB'"),
    );
}

#[test]
fn so_they_do_where_output_is_generated_again() {
    inside_network("services::so_they_do_where_output_is_generated_again", || {
        killed_again_and_again("ring = '1MiB'\noutput = 'regenerated'");
    });
}

#[test]
fn what_a_client_sends_and_reads_while_no_server_is_there_is_what_it_would_have_been() {
    inside_network(
        "services::what_a_client_sends_and_reads_while_no_server_is_there_is_what_it_would_have_been",
        || {
            let mut served = Served::start("");
            let mut client = served.connect_protected();
            let mut other = served.connect_protected();
            client.ask(b'd', 1 << 20);
            client.receive(0..100_000);
            other.ask(b'u', 50_000);
            served.kill();
            await_attachment(&served, Attachment::Died);
            let bytes: Vec<u8> = (0..50_000).map(byte).collect();
            other.stream.write_all(&bytes).unwrap();
            served.serve();
            client.receive(100_000..1 << 20);
            assert_eq!(other.word(), add(0, &bytes));
            // And they go on as sessions that can do so again.
            assert!(client.is_protected() && other.is_protected());
            served.kill();
            client.ask(b'd', 1000);
            served.serve();
            client.receive(0..1000);
        },
    );
}

#[test]
fn what_may_come_out_otherwise_is_seen_once_and_as_it_was_exported() {
    inside_network("services::what_may_come_out_otherwise_is_seen_once_and_as_it_was_exported", || {
        let mut served = Served::start("");
        let mut client = served.connect_protected();
        client.ask(b'r', 300);
        let mut sum = 0;
        for at in 0..300 {
            if at % 60 == 30 {
                served.kill();
                served.serve();
            }
            sum = add(sum, &client.word().to_le_bytes());
        }
        assert_eq!(client.word(), sum);
    });
}

#[test]
fn an_agent_that_is_restarted_holds_the_sessions_again() {
    inside_network("services::an_agent_that_is_restarted_holds_the_sessions_again", || {
        let mut served = Served::start("ring = '1MiB'");
        let mut client = served.connect_protected();
        let go_on = Arc::new(AtomicBool::new(true));
        let transfers = [b'd', b'u'].map(|request| Transfer::repeated(&served, request, &go_on));
        let generation = boxes(&served).generation;
        for _ in 0..3 {
            transfers.iter().for_each(Transfer::await_more);
            served.host.end_agent(Signal::KILL);
            served.host.start_agent();
            // All sessions are told at once, so where one is protected again all are.
            eventually("protection", || client.is_protected().then_some(()));
            transfers.iter().for_each(Transfer::await_more);
            served.kill();
            served.serve();
            // Agent and server must not be gone at the same time: nobody would hold the sessions.
            assert!(client.is_protected());
        }
        transfers.iter().for_each(Transfer::await_more);
        go_on.store(false, Ordering::Relaxed);
        assert_eq!(boxes(&served).generation, generation);
        transfers.into_iter().for_each(|transfer| transfer.thread.join().unwrap());
        assert_eq!(boxes(&served).lost, 0);
    });
}

#[test]
fn a_session_that_its_server_ends_is_closed_at_once_whatever_the_agent_does() {
    inside_network(
        "services::a_session_that_its_server_ends_is_closed_at_once_whatever_the_agent_does",
        || {
            let served = Served::start("");
            let mut client = served.connect_protected();
            let segments = Segments::start(PORT);
            served.host.freeze_agent();
            // Nobody reads what follows the request, and they come together: the answer is to arrive all the same.
            let request: Vec<u8> = [b'q'].into_iter().chain(1u64.to_le_bytes()).chain([1; 5000]).collect();
            client.stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            client.stream.read_to_end(&mut answer).unwrap();
            assert_eq!(answer.len(), 4);
            served.host.signal(served.host.agent_pid(), Signal::CONT);
            // By then the agent has let go of it.
            assert!(served.connect_protected().is_protected());
            assert!(segments.end().iter().all(|segment| !segment.reset));
        },
    );
}

#[test]
fn sessions_that_no_server_comes_for_are_closed_after_a_while() {
    inside_network("services::sessions_that_no_server_comes_for_are_closed_after_a_while", || {
        let mut served = Served::start("keep = '1s'");
        let mut client = served.connect_protected();
        served.kill();
        assert_eq!(client.stream.read(&mut [0]).unwrap(), 0);
        served.serve();
        assert!(served.connect_protected().is_protected());
    });
}

#[test]
fn a_server_that_leaves_takes_its_sessions_along() {
    inside_network("services::a_server_that_leaves_takes_its_sessions_along", || {
        let mut served = Served::start("");
        served.kill();
        served.serve_once();
        let mut client = served.connect();
        assert!(client.is_protected());
        client.ask(b'q', 1);
        served.await_end();
        await_attachment(&served, Attachment::Left);
    });
}

#[test]
fn a_session_without_a_box_is_served_unprotected() {
    inside_network("services::a_session_without_a_box_is_served_unprotected", || {
        let served = Served::start("sessions = 1");
        let mut first = served.connect_protected();
        let mut second = served.connect();
        assert!(!second.is_protected());
        assert!(first.is_protected());
        second.ask(b'd', 10_000);
        second.receive(0..10_000);
        drop(first);
        assert!(served.connect_protected().is_protected());
    });
}

#[test]
fn the_boxes_are_registered_for_monitors_to_read_and_taken_up_by_the_next_agent() {
    inside_network(
        "services::the_boxes_are_registered_for_monitors_to_read_and_taken_up_by_the_next_agent",
        || {
            // Several megabytes.
            let mut served = Served::start("sessions = 20\nsnapshot = '8KiB'\noutput_ring = '1MiB'");
            let shape = Shape { capacity: 20, snapshot_bytes: 8 << 10, ring_bytes: 1 << 20 };
            let region = |served: &Served| {
                let regions = served.host.owner().regions().unwrap();
                regions.into_iter().find(|(_, region)| region.kind == RegionKind::BOXES_FIRST).unwrap()
            };
            let before = region(&served);
            assert_eq!(before.1.length, shape.region_bytes() as u64);
            await_attachment(&served, Attachment::Attached);
            let view = boxes(&served);
            assert_eq!((view.shape, view.name.as_str(), view.service), (shape, "web", 0));
            assert_eq!(view.generation, before.1.generation);
            assert!(view.since > 0 && view.pid > 0);
            served.host.end_agent(Signal::KILL);
            served.host.start_agent();
            assert_eq!(region(&served), before);
        },
    );
}

#[test]
fn a_session_whose_received_bytes_were_overwritten_is_reset_and_counted() {
    inside_network("services::a_session_whose_received_bytes_were_overwritten_is_reset_and_counted", || {
        let mut served = Served::start("ring = '128KiB'");
        let mut client = served.connect_protected();
        client.ask(b'z', 300_000);
        client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        client.stream.write_all(&vec![7; 300_000]).unwrap();
        let mut ready = [0];
        client.stream.read_exact(&mut ready).unwrap();
        served.kill();
        served.serve();
        let error = client.stream.read(&mut ready).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        eventually("a session that is counted as lost", || (boxes(&served).lost == 1).then_some(()));
    });
}
