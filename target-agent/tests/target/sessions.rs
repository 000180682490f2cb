//! Live connections that the kernel half captures: a real agent, and real connections over a loopback device of their own.

use crate::captured::{
    Group, PORT, connect, held, listener, pattern, received, session, small_packets, start, table, v4,
};
use crate::host::{Host, eventually, inside_network};
use crate::wire::{self, Forger};
use backdoors_rdma::owner::MemoryOwner;
use backdoors_sensor_box::session::layout::SessionFlags;
use backdoors_sensor_box::session::{Received, ReceivedError};
use backdoors_sensor_box::{SensorKind, TcpState};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

#[test]
fn what_a_server_that_stands_still_has_not_read_is_held_with_the_numbers_that_the_kernel_has() {
    inside_network(
        "sessions::what_a_server_that_stands_still_has_not_read_is_held_with_the_numbers_that_the_kernel_has",
        || {
            let group = Group::enter();
            let host = start("", &group);
            host.freeze_agent();
            assert!(host.half().memory.shown().len() == 7);
            let listener = listener();
            let (mut client, mut server) = connect(&listener);
            let sent = pattern(40_000);
            // Small segments first, then large ones.
            let (small, large) = sent.split_at(2_000);
            small.chunks(7).for_each(|piece| client.write_all(piece).unwrap());
            client.write_all(large).unwrap();
            assert_eq!(held(&host, &server, sent.len()), Received { start: 0, bytes: sent.clone() });
            numbers_agree(&host, &server);
            let view = session(&host, &server).unwrap();
            assert!(view.is_protected() && view.read_position() == 0);
            assert_eq!(
                (view.local, view.remote),
                (server.local_addr().unwrap(), client.local_addr().unwrap())
            );
            assert_eq!(view.state, TcpState::Established);
            assert!(!view.mapped);

            server.read_exact(&mut [0; 1000]).unwrap();
            assert_eq!(session(&host, &server).unwrap().read_position(), 1000);
            server.write_all(&sent[..30_000]).unwrap();
            client.read_exact(&mut vec![0; 30_000]).unwrap();
            // Nothing has left since the last packet with bytes: its record must have counted them.
            let record = session(&host, &server).unwrap().record;
            assert_eq!((record.snd_nxt, record.write_seq), (record.iss.wrapping_add(30_001), record.snd_nxt));
            client.write_all(b"more").unwrap();
            numbers_agree(&host, &server);
            let view = session(&host, &server).unwrap();
            assert_eq!(view.record.write_seq, view.record.iss.wrapping_add(30_001));
            assert_eq!(view.record.snd_nxt, view.record.write_seq);
            assert!(view.has(SessionFlags::TIMESTAMPS | SessionFlags::SACK | SessionFlags::WINDOW_SCALE));
            assert_eq!(host.sensor(SensorKind::SESSIONS_OPEN, 0), 1);
            assert_eq!(host.sensor(SensorKind::SESSIONS_UNPROTECTED, 0), 0);
            drop(host);
        },
    );
}

/// An acknowledgement that is put off takes its time; then all is as the kernel says.
fn numbers_agree(host: &Host, server: &TcpStream) {
    let mut last = None;
    let agree = || {
        let record = session(host, server)?.record;
        let shown = wire::Numbers {
            rcv_nxt: record.rcv_nxt,
            write_seq: record.write_seq,
            windows: [record.snd_wl1, record.snd_wnd, record.max_window, record.rcv_wnd, record.rcv_wup],
        };
        let said = wire::numbers(server);
        let agree = shown == said;
        last = Some((shown, said));
        agree.then_some(())
    };
    let found =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| eventually("numbers that agree", agree)));
    assert!(found.is_ok(), "{last:#?}");
}

#[test]
fn a_ring_that_has_gone_round_holds_the_newest_bytes() {
    inside_network("sessions::a_ring_that_has_gone_round_holds_the_newest_bytes", || {
        let group = Group::enter();
        let host = start("ring = '128KiB'", &group);
        small_packets();
        let listener = listener();
        let (mut client, mut server) = connect(&listener);
        let sent = pattern(1_000_000);
        let all = sent.clone();
        let writer = std::thread::spawn(move || {
            client.write_all(&all).unwrap();
            client
        });
        server.read_exact(&mut vec![0; 994_999]).unwrap();
        let client = writer.join().unwrap();
        let got = held(&host, &server, sent.len());
        assert_eq!(got.start, 1_000_000 - (128 << 10));
        assert!(got.bytes == sent[got.start as usize..]);
        let view = session(&host, &server).unwrap();
        assert!(view.is_protected() && view.read_position() == 994_999);
        drop((client, host));
    });
}

#[test]
fn addresses_of_both_families_are_shown_as_they_are_on_the_wire() {
    inside_network("sessions::addresses_of_both_families_are_shown_as_they_are_on_the_wire", || {
        let group = Group::enter();
        let host = start("", &group);
        let listener = TcpListener::bind(("::", PORT)).unwrap();
        let added = Command::new("ip").args("-6 address add fd00::7/128 dev lo nodad".split(' ')).status();
        assert!(added.unwrap().success());
        // The kernel makes its route in its own time.
        let way = UdpSocket::bind(("::", 0)).unwrap();
        eventually("a way to it", || way.connect(("fd00::7", PORT)).ok());
        for (from, to, mapped) in [("::1", "fd00::7", false), ("127.0.0.1", "127.0.0.2", true)] {
            let to = SocketAddr::new(to.parse().unwrap(), PORT);
            let mut client = wire::connect_from(from.parse().unwrap(), to);
            let (server, _) = listener.accept().unwrap();
            client.write_all(b"hello").unwrap();
            assert_eq!(held(&host, &server, 5).bytes, b"hello");
            let view = session(&host, &server).unwrap();
            assert_eq!((view.local, view.mapped), (client.peer_addr().unwrap(), mapped));
            assert_eq!(view.remote, client.local_addr().unwrap());
        }
        drop(host);
    });
}

#[test]
fn the_end_of_either_direction_is_told_and_is_no_byte() {
    inside_network("sessions::the_end_of_either_direction_is_told_and_is_no_byte", || {
        let group = Group::enter();
        let host = start("", &group);
        let listener = listener();
        let (mut client, mut server) = connect(&listener);
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        eventually("the peer's end", || session(&host, &server)?.has(SessionFlags::PEER_FIN).then_some(()));
        let got = held(&host, &server, 10);
        assert_eq!(got.bytes, b"last words");
        assert_eq!(session(&host, &server).unwrap().state, TcpState::CloseWait);
        server.read_to_end(&mut Vec::new()).unwrap();
        server.write_all(b"answer").unwrap();
        assert!(!session(&host, &server).unwrap().has(SessionFlags::OWN_FIN));

        let (_other_client, other) = connect(&listener);
        other.shutdown(Shutdown::Write).unwrap();
        let view = session(&host, &other).unwrap();
        assert!(view.has(SessionFlags::OWN_FIN) && !view.has(SessionFlags::PEER_FIN), "{view:?}");
        assert_eq!(view.record.snd_nxt, view.record.iss.wrapping_add(2));
        drop(host);
    });
}

#[test]
fn what_a_client_acknowledges_is_known_though_nothing_leaves_after_it() {
    inside_network("sessions::what_a_client_acknowledges_is_known_though_nothing_leaves_after_it", || {
        let group = Group::enter();
        let host = start("", &group);
        let listener = listener();
        let (mut client, server) = connect(&listener);
        let first = session(&host, &server).unwrap().record;
        let sent = pattern(20_000);
        (&server).write_all(&sent).unwrap();
        let mut read = vec![0; sent.len()];
        client.read_exact(&mut read).unwrap();
        let known = eventually("the last acknowledgement", || {
            let record = session(&host, &server)?.record;
            (record.bytes_acked == sent.len() as u64).then_some(record)
        });
        assert_eq!(known.snd_una, known.snd_nxt);
        assert_eq!(known.snd_una, first.snd_una.wrapping_add(20_000));
        assert!(known.snd_wnd > 0);

        // What was never sent, or is not of this connection, is not believed.
        let from = v4(client.local_addr().unwrap());
        let forge = |acknowledged: u32, sequence: u32| {
            Forger::new(from, v4(server.local_addr().unwrap()), acknowledged).send(sequence, b"x");
        };
        let record = || session(&host, &server).unwrap().record;
        forge(known.snd_nxt.wrapping_add(1), known.rcv_nxt);
        forge(known.snd_una.wrapping_sub(1), known.rcv_nxt);
        forge(known.snd_una, known.rcv_nxt.wrapping_sub(200_000));
        eventually("a byte", || (record().held_end as u32 == known.rcv_nxt.wrapping_add(1)).then_some(()));
        assert_eq!((record().snd_una, record().bytes_acked), (known.snd_una, known.bytes_acked));
        drop(host);
    });
}

#[test]
fn connections_beyond_the_records_are_counted_and_records_serve_again() {
    inside_network("sessions::connections_beyond_the_records_are_counted_and_records_serve_again", || {
        let group = Group::enter();
        let host = start("sessions = 2", &group);
        let sensors = || {
            let of = |kind| host.sensor(kind, 0);
            (of(SensorKind::SESSIONS_OPEN), of(SensorKind::SESSIONS_UNPROTECTED))
        };
        let listener = listener();
        let pairs: Vec<_> = (0..3).map(|_| connect(&listener)).collect();
        assert_eq!((sensors(), table(&host).unrecorded), ((3, 1), 1));
        assert!(session(&host, &pairs[1].1).is_some() && session(&host, &pairs[2].1).is_none());
        drop(pairs);
        eventually("their end", || (sensors() == (0, 0)).then_some(()));
        assert_eq!(table(&host).sessions, []);
        for round in 0..5 {
            let (mut client, server) = connect(&listener);
            let sent = pattern(100 + round);
            client.write_all(&sent).unwrap();
            assert_eq!(held(&host, &server, sent.len()), Received { start: 0, bytes: sent });
        }
        // Of other ports nothing is known.
        let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT + 1)).unwrap();
        let (_client, server) = connect(&elsewhere);
        assert!(session(&host, &server).is_none());
        assert_eq!(table(&host).unrecorded, 1);
        drop(host);
    });
}

#[test]
fn reordered_and_repeated_packets_find_their_places_and_change_nothing_that_was_acknowledged() {
    inside_network(
        "sessions::reordered_and_repeated_packets_find_their_places_and_change_nothing_that_was_acknowledged",
        || {
            let group = Group::enter();
            let host = start("", &group);
            let listener = listener();
            let (client, server) = connect(&listener);
            let view = session(&host, &server).unwrap();
            let first = view.record.irs.wrapping_add(1);
            let from = v4(client.local_addr().unwrap());
            let forger = Forger::new(from, v4(server.local_addr().unwrap()), view.record.snd_nxt);
            let sent = pattern(10_000);
            let send =
                |start: usize, end: usize| forger.send(first.wrapping_add(start as u32), &sent[start..end]);
            send(6_000, 10_000);
            send(2_000, 5_000);
            eventually("packets out of turn", || {
                let held_end = session(&host, &server)?.record.held_end;
                (held_end as u32 == first.wrapping_add(10_000)).then_some(())
            });
            assert_eq!(session(&host, &server).unwrap().held(), Some(0..0));
            send(0, 1_000);
            assert_eq!(held(&host, &server, 1_000).bytes, sent[..1_000]);
            // A part of this is new, and the rest must not be touched.
            forger.send(first, &[&[0xff; 1_000], &sent[1_000..3_000]].concat());
            assert_eq!(held(&host, &server, 5_000).bytes, sent[..5_000]);
            forger.send(first, &[0xff; 5_000]);
            send(4_000, 7_000);
            assert_eq!(held(&host, &server, 10_000), Received { start: 0, bytes: sent.clone() });
            let mut read = vec![0; 10_000];
            (&server).read_exact(&mut read).unwrap();
            assert!(read == sent);
            assert_eq!(host.sensor(SensorKind::SESSIONS_UNPROTECTED, 0), 0);

            // TCP would take nothing so far ahead unless it changed its mind meanwhile. It is not copied, and that is told.
            let edge = session(&host, &server).unwrap().record;
            forger.send(edge.rcv_wup.wrapping_add(edge.rcv_wnd).wrapping_add(65_537), &[0; 1_000]);
            eventually("the gap", || (session(&host, &server)?.gaps == 1).then_some(()));
            assert!(!session(&host, &server).unwrap().is_protected());
            assert!(matches!(received(&host, &server), Err(ReceivedError::Gap)));
            assert_eq!(host.sensor(SensorKind::SESSIONS_UNPROTECTED, 0), 1);
            wire::reset(server);
            eventually("its end", || (host.sensor(SensorKind::SESSIONS_UNPROTECTED, 0) == 0).then_some(()));
            drop(host);
        },
    );
}

#[test]
fn bytes_that_come_with_the_end_of_the_handshake_are_held() {
    inside_network("sessions::bytes_that_come_with_the_end_of_the_handshake_are_held", || {
        let group = Group::enter();
        let host = start("", &group);
        let listener = listener();
        wire::defer_accept(&listener);
        for length in [1, 5_000, 60_000] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let sent = pattern(length);
            client.write_all(&sent).unwrap();
            let (server, _) = listener.accept().unwrap();
            assert_eq!(held(&host, &server, length), Received { start: 0, bytes: sent });
        }
        drop(host);
    });
}

/// On a machine of several processors the first bytes may be seen by one while another still makes the connection.
#[test]
fn bytes_of_clients_that_speak_as_soon_as_they_can_are_held() {
    inside_network("sessions::bytes_of_clients_that_speak_as_soon_as_they_can_are_held", || {
        const CLIENTS: usize = 20_000;
        const AT_ONCE: usize = 4;
        let group = Group::enter();
        let host = start("", &group);
        let listener = listener();
        let at = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                std::thread::spawn(move || {
                    for _ in 0..CLIENTS / AT_ONCE {
                        let mut client = TcpStream::connect(at).unwrap();
                        client.write_all(b"at once").unwrap();
                        assert_eq!(client.read(&mut [0]).unwrap(), 1);
                    }
                })
            })
            .collect();
        for number in 0..CLIENTS {
            let (mut server, _) = listener.accept().unwrap();
            server.read_exact(&mut [0; 7]).unwrap();
            assert!(session(&host, &server).unwrap().is_protected(), "number {number}");
            server.write_all(&[0]).unwrap();
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        drop(host);
    });
}

/// Has a client write until the server's window is full, and returns the bytes it wrote from.
fn fill_window(host: &Host, client: &mut TcpStream, server: &TcpStream) -> Vec<u8> {
    client.set_nonblocking(true).unwrap();
    let sent = pattern(8 << 20);
    let mut written = 0;
    eventually("a full window", || {
        if let Ok(bytes) = client.write(&sent[written..]) {
            written += bytes;
            return None;
        }
        let record = session(host, server)?.record;
        let left = record.rcv_wup.wrapping_add(record.rcv_wnd).wrapping_sub(record.rcv_nxt);
        (left < 4_000).then_some(())
    });
    sent
}

#[test]
fn a_peer_is_told_no_larger_window_than_a_ring_has_room_for() {
    inside_network("sessions::a_peer_is_told_no_larger_window_than_a_ring_has_room_for", || {
        let group = Group::enter();
        let host = start("ring = '128KiB'", &group);
        small_packets();
        let listener = listener();
        let (mut client, server) = connect(&listener);
        assert_eq!(table(&host).receive_cap, 64 << 10);
        assert_eq!(wire::receive_buffer(&server), 64 << 10);
        let sent = fill_window(&host, &mut client, &server);
        let view = session(&host, &server).unwrap();
        assert!(view.is_protected() && view.received() > 10_000, "{view:?}");
        let got = received(&host, &server).unwrap();
        assert!(got.start == 0 && got.bytes == sent[..got.bytes.len()]);
        drop(host);
    });
}

#[test]
fn a_listener_that_takes_more_than_rings_hold_has_connections_that_say_so() {
    inside_network(
        "sessions::a_listener_that_takes_more_than_rings_hold_has_connections_that_say_so",
        || {
            let group = Group::enter();
            let host = start("ring = '128KiB'", &group);
            small_packets();
            let listener = listener();
            wire::ask_for_receive_buffer(&listener, 200_000);
            let (mut client, server) = connect(&listener);
            // Nor can the connection be kept from it later.
            wire::ask_for_receive_buffer(&server, 200_000);
            let sent = fill_window(&host, &mut client, &server);
            let view = session(&host, &server).unwrap();
            assert!(view.received() > 128 << 10 && !view.is_protected(), "{view:?}");
            assert_eq!(host.sensor(SensorKind::SESSIONS_UNPROTECTED, 0), 1);
            let mut read = vec![0; 100_000];
            (&server).read_exact(&mut read).unwrap();
            assert!(read == sent[..100_000]);
            drop(host);
        },
    );
}

#[test]
fn capture_goes_on_while_no_agent_lives_and_the_next_one_takes_it_up() {
    inside_network("sessions::capture_goes_on_while_no_agent_lives_and_the_next_one_takes_it_up", || {
        let group = Group::enter();
        let mut host = start("", &group);
        let regions = host.owner().regions().unwrap();
        let listener = listener();
        let (mut client, server) = connect(&listener);
        client.write_all(b"before, ").unwrap();
        host.end_agent(Signal::KILL);
        client.write_all(b"between, ").unwrap();
        assert_eq!(held(&host, &server, 17).bytes, b"before, between, ");
        host.start_agent();
        client.write_all(b"after").unwrap();
        assert_eq!(held(&host, &server, 22).bytes, b"before, between, after");
        assert_eq!((regions.len(), host.owner().regions().unwrap()), (9, regions));
        drop(host);
    });
}

#[test]
fn without_a_control_group_the_agent_does_without_live_connections_and_says_so() {
    inside_network(
        "sessions::without_a_control_group_the_agent_does_without_live_connections_and_says_so",
        || {
            let service = format!("[[service]]\nname = 'web'\nports = [{PORT}]\n");
            let host = Host::start(&format!("service_cgroup = '/proc'\n{service}"));
            assert!(host.half().memory.sessions.is_none());
            let captures = backdoors_sensor_box::layout::Capabilities::CAPTURES_SESSIONS;
            assert_eq!(host.sensors().capabilities & captures, 0);
            assert_eq!(host.owner().regions().unwrap().len(), 7);
            drop(host);
        },
    );
}
