//! Sessions that were recovered here are captured here, as those that were accepted here are.

use crate::adopted::{OLD, Old, SENT, SIZE, begin, offer, old_session_at};
use crate::captured::{PORT, pattern, reader, table};
use crate::host::{eventually, inside_network};
use crate::served::{Served, add};
use backdoors_continuation_box::service::Adopter;
use backdoors_continuation_box::tcp::{self, rebuild};
use backdoors_sensor_box::fetch_received;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

const UPLOAD: usize = 600_000;

fn moved(ip: IpAddr) {
    let Old { mut client, state, old_box, plan } = old_session_at((ip, PORT).into(), OLD);
    let mut served = Served::start("");
    assert!(served.connect_protected().is_protected());
    let session = |served: &Served, cookie| table(&served.host).session(cookie).copied();

    let rebuilt = rebuild(state).unwrap();
    let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
    // Nobody has said where it is.
    assert_eq!(session(&served, cookie), None);
    let mut adopter = Adopter::connect(served.socket(), "web").unwrap();
    let offered = offer(&mut adopter, OLD, &old_box, &plan, cookie, &rebuilt).unwrap();
    // It is silent yet, and the client need not be.
    let bytes = pattern(UPLOAD);
    client.ask(b'u', UPLOAD as u64);
    client.stream.write_all(&bytes[..1000]).unwrap();
    let resumed = rebuilt.resume().unwrap();
    begin(&mut adopter, offered, resumed.written, OLD, &old_box).unwrap();
    drop((resumed, adopter));
    client.receive(SENT..SIZE);
    client.stream.read_exact(&mut [0]).unwrap();

    // Both requests of before, and this one.
    let first = 27;
    let of_upload = |served: &Served| session(served, cookie)?.received().checked_sub(first);
    for piece in bytes[1000..].chunks(UPLOAD / 5) {
        client.stream.write_all(piece).unwrap();
        let wanted = piece.as_ptr_range().end as u64 - bytes.as_ptr() as u64;
        eventually("bytes to be captured", || (of_upload(&served) == Some(wanted)).then_some(()));
        // Of three pieces that it reads it exports one.
        served.kill();
        served.serve();
    }
    assert_eq!(client.word(), add(0, &bytes));
    let all = (first + UPLOAD as u64, SIZE + 1 + 8);
    let found = eventually("an acknowledgement", || {
        client.is_protected();
        let found = session(&served, cookie)?;
        (found.record.bytes_acked > all.1).then_some(found)
    });
    assert_eq!((found.local.ip(), found.gaps), (ip, 0));

    let memory = served.host.half().memory.sessions.as_ref().unwrap();
    let (table_of, rings) = (reader(&memory.table.words), reader(&memory.rings.words));
    let received = fetch_received(&table(&served.host), &found, table_of, rings).unwrap();
    // The end of the upload, and what was asked since.
    let from = (received.start - first) as usize;
    assert!(from < UPLOAD && received.bytes.starts_with(&bytes[from..]), "{} held", received.bytes.len());
}

#[test]
fn a_recovered_session_is_captured_from_its_first_packet_on_and_outlives_its_server() {
    inside_network(
        "moved::a_recovered_session_is_captured_from_its_first_packet_on_and_outlives_its_server",
        || {
            moved(Ipv4Addr::LOCALHOST.into());
        },
    );
}

#[test]
fn so_it_is_with_ipv6() {
    inside_network("moved::so_it_is_with_ipv6", || moved(Ipv6Addr::LOCALHOST.into()));
}

#[test]
fn a_connection_that_was_rebuilt_and_nobody_told_of_is_shown_as_one_that_cannot_go_on() {
    let name = "moved::a_connection_that_was_rebuilt_and_nobody_told_of_is_shown_as_one_that_cannot_go_on";
    inside_network(name, || {
        let Old { client, state, .. } = old_session_at((Ipv4Addr::LOCALHOST, PORT).into(), OLD);
        let served = Served::start("");
        assert!(served.connect_protected().is_protected());
        let rebuilt = rebuild(state).unwrap();
        let cookie = tcp::cookie(rebuilt.as_fd()).unwrap();
        let resumed = rebuilt.resume().unwrap();
        let found = eventually("a record", || table(&served.host).session(cookie).copied());
        assert_eq!((found.gaps, found.held()), (1, None));
        drop(resumed);
        eventually("its end", || table(&served.host).session(cookie).is_none().then_some(()));
        drop(client);
    });
}
