//! Nobody hears of a takeover before it is announced, and nothing is left of one that is given up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use backdoors_continuation_box::tcp::{
    AddressError, Prefixed, RebuildError, SilentAddresses, StateError, TcpState, rebuild,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use std::io::Write;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::time::Duration;
use support::Host;
use support::dump::{acknowledged, dump};
use support::scene::{PORT, Scene, bytes, goes_on, read_stream};

const SERVICES: [&str; 2] = ["10.77.0.10", "fd77::10"];

/// Whether somebody answers a host that looks for `address`, within a second.
fn found(host: &Host, address: IpAddr) -> bool {
    host.ip(&format!("neighbour flush to {address} dev eth0"));
    let network = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    host.run(|| UdpSocket::bind(network).unwrap().send_to(b"?", (address, 9)).unwrap());
    (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        host.run(|| {
            let output =
                std::process::Command::new("ip").args(["neighbour", "show", &address.to_string()]).output();
            String::from_utf8(output.unwrap().stdout).unwrap().contains("lladdr")
        })
    })
}

/// The addresses of both families, as the service's interface has them.
fn prefixed() -> [Prefixed; 2] {
    SERVICES.map(|service| {
        let address: IpAddr = service.parse().unwrap();
        Prefixed { address, prefix: if address.is_ipv4() { 24 } else { 64 } }
    })
}

/// A host's addresses, but for the one that its card gives itself some time after it came up.
fn addresses(host: &Host) -> Vec<String> {
    host.run(|| {
        let output = std::process::Command::new("ip").args(["-oneline", "address"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| !line.contains("fe80:")).map(str::to_owned).collect()
    })
}

#[test]
fn an_address_is_local_and_silent_until_it_is_announced_and_then_found() {
    // Left to itself a card of IPv4 answers for all addresses (0), or for those that are not this machine's alone (3).
    for (service, answers) in [(SERVICES[0], "0"), (SERVICES[1], "0"), (SERVICES[0], "3")] {
        let scene = Scene::new(service);
        scene.cut_off_old();
        let address = scene.service.address;
        scene.new.sysctl("ipv4/conf/eth0/arp_ignore", answers);
        let silent = scene.new.run(|| SilentAddresses::take("eth0", &[scene.service]).unwrap());
        scene.new.run(|| TcpListener::bind((address, 1)).unwrap());
        assert!(!found(&scene.client, address));
        let own = if address.is_ipv4() { "10.77.0.3" } else { "fd77::3" };
        assert!(found(&scene.client, own.parse().unwrap()), "the card's own address has gone silent, too");
        let announced = scene.new.run(|| silent.announce().unwrap());
        assert!(found(&scene.client, address));
        scene.new.run(|| announced.repeat().unwrap());
        assert_eq!(scene.new.read("ipv4/conf/eth0/arp_ignore"), answers);
        let known = addresses(&scene.new);
        let places: Vec<&String> = known.iter().filter(|line| line.contains(service)).collect();
        assert!(places.len() == 1 && places[0].contains("eth0"), "{places:?}");
    }
}

#[test]
fn an_announcement_alone_makes_a_client_send_to_the_new_host() {
    for service in SERVICES {
        let scene = Scene::new(service);
        let _connection = scene.connect();
        let known = || {
            scene.client.run(|| {
                let output =
                    std::process::Command::new("ip").args(["neighbour", "show", service]).output().unwrap();
                let words = String::from_utf8(output.stdout).unwrap();
                words.split(' ').skip_while(|word| *word != "lladdr").nth(1).map(str::to_owned)
            })
        };
        let before = known();
        assert!(before.is_some());
        let _announced =
            scene.new.run(|| SilentAddresses::take("eth0", &[scene.service]).unwrap().announce().unwrap());
        let moved = (0..40).any(|_| {
            std::thread::sleep(Duration::from_millis(25));
            known() != before
        });
        assert!(moved, "the client still sends to {before:?}");
    }
}

#[test]
fn an_address_that_is_given_up_leaves_nothing_behind() {
    let scene = Scene::new(SERVICES[0]);
    let before = addresses(&scene.new);
    let both = prefixed();
    scene.new.run(|| {
        let silent = SilentAddresses::take("eth0", &both).unwrap();
        assert_eq!(scene.new.read("ipv4/conf/eth0/arp_ignore"), "1");
        assert_ne!(addresses(&scene.new), before);
        let elsewhere = SilentAddresses::take("eth1", &both);
        assert!(matches!(elsewhere, Err(AddressError::NoInterface(_))), "{elsewhere:?}");
        drop(silent);
        let elsewhere = SilentAddresses::take("eth7", &both);
        assert!(matches!(elsewhere, Err(AddressError::NoInterface(_))), "{elsewhere:?}");
        let loopback = Prefixed { address: "127.0.0.9".parse().unwrap(), prefix: 8 };
        let impossible = SilentAddresses::take("eth0", &[both[0], loopback]);
        assert!(matches!(impossible, Err(AddressError::Impossible { .. })), "{impossible:?}");
    });
    assert_eq!(addresses(&scene.new), before);
    assert_eq!(scene.new.read("ipv4/conf/eth0/arp_ignore"), "0");
}

#[test]
fn addresses_that_a_process_left_when_it_ended_are_taken_over_silent_or_announced() {
    let scene = Scene::new(SERVICES[0]);
    let before = addresses(&scene.new);
    let both = prefixed();
    scene.new.run(|| {
        std::mem::forget(SilentAddresses::take("eth0", &both[..1]).unwrap());
        let silent = SilentAddresses::take("eth0", &both).unwrap();
        assert!(silent.were_left() && silent.had().is_empty());
        drop(silent);
    });
    assert_eq!(addresses(&scene.new), before);
    scene.new.run(|| {
        // It ended between the two.
        std::mem::forget(SilentAddresses::take("eth0", &both[..1]).unwrap());
        add_to_card(&both[0]);
        let silent = SilentAddresses::take("eth0", &both).unwrap();
        assert_eq!(silent.had(), &both[..1]);
        silent.announce().unwrap().withdraw();
        let silent = SilentAddresses::take("eth0", &both).unwrap();
        assert_eq!((silent.had(), silent.were_left()), (&both[..1], false));
        drop(silent);
        let elsewhere = SilentAddresses::take("lo", &both[..1]);
        assert!(
            matches!(elsewhere, Err(AddressError::AlreadyLocal(_) | AddressError::NoInterface(_))),
            "{elsewhere:?}"
        );
    });
}

fn add_to_card(wanted: &Prefixed) {
    let at = format!("{}/{}", wanted.address, wanted.prefix);
    let added = std::process::Command::new("ip").args(["address", "add", &at, "dev", "eth0"]).status();
    assert!(added.unwrap().success());
}

#[test]
fn a_rebuilt_connection_is_silent_however_long_it_is_kept_and_when_it_is_dropped() {
    let mut scene = Scene::new(SERVICES[0]);
    let (mut client, mut server) = scene.connect();
    client.write_all(&bytes(0, 1_000)).unwrap();
    acknowledged(&client);
    scene.cut_off_old();
    server.write_all(&bytes(0, 30_000)).unwrap();
    let state = dump(server);
    let silence = scene.new.run(support::capture::Capture::start);
    scene.new.run(|| {
        let _silent = SilentAddresses::take("eth0", &[scene.service]).unwrap();
        let kept = rebuild(state.clone()).unwrap();
        // Longer than the first timer of a socket that has something to retransmit.
        std::thread::sleep(Duration::from_millis(1_500));
        drop(kept);
    });
    let said = silence.end();
    assert!(said.is_empty(), "{said:?}");
    let taken = scene.go_on(state);
    read_stream(&mut client, 0, 10_000.min(taken.state.send.unacknowledged.len()));
    scene.seen();
}

#[test]
fn listeners_on_the_port_neither_hinder_a_rebuilt_connection_nor_are_hindered() {
    let mut scene = Scene::new(SERVICES[0]);
    let (mut client, server) = scene.connect();
    scene.new.sysctl("ipv4/ip_nonlocal_bind", "1");
    let at = (scene.service.address, PORT);
    let before = scene.new.run(|| TcpListener::bind(at).unwrap());
    scene.cut_off_old();
    let mut taken = scene.take_over(server);
    drop(before);
    let _after = scene.new.run(|| TcpListener::bind(at).unwrap());
    goes_on(&mut client, &mut taken.stream, 0, 0);
    scene.seen();
}

#[test]
fn what_cannot_be_rebuilt_is_refused_with_its_reason_and_nothing_is_left() {
    for service in SERVICES {
        let mut scene = Scene::new(service);
        let (mut client, server) = scene.connect();
        scene.cut_off_old();
        let state = dump(server);
        let refused = |state: &TcpState| scene.new.run(|| rebuild(state.clone()).map(drop).unwrap_err());

        assert!(matches!(refused(&state), RebuildError::AddressNotLocal(_)));

        let mut broken = state.clone();
        broken.send.next = broken.send.next.wrapping_add(1);
        assert!(matches!(refused(&broken), RebuildError::State(StateError::Length { .. })));

        scene.new.run(|| {
            let mut left = capabilities(None).unwrap();
            left.effective.remove(CapabilitySet::NET_ADMIN);
            set_capabilities(None, left).unwrap();
            assert!(matches!(rebuild(state.clone()), Err(RebuildError::NotPermitted)));
            let silent = SilentAddresses::take("eth0", &[scene.service]);
            assert!(matches!(silent, Err(AddressError::NotPermitted)), "{silent:?}");
        });
        assert_eq!(scene.new.read("ipv4/conf/eth0/arp_ignore"), "0");

        scene.new.run(|| {
            let _silent = SilentAddresses::take("eth0", &[scene.service]).unwrap();
            let mut far = state.clone();
            far.remote
                .set_ip(if far.remote.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" }.parse().unwrap());
            assert!(matches!(refused(&far), RebuildError::NoRoute(_)));
            let _first = rebuild(state.clone()).unwrap();
            assert!(matches!(refused(&state), RebuildError::Taken { .. }));
        });

        // And after all that nothing stands in its way.
        let mut taken = scene.go_on(state);
        goes_on(&mut client, &mut taken.stream, 0, 0);
        scene.seen();
    }
}
