//! The fence, on a machine with a card: what leaves is looked at from the other end of its cable.

use crate::host::{Host, PATIENCE, eventually, inside_network, key, may_all};
use crate::peer::{CARDS, Connection, OTHER, PEER, Peer, SERVICE, addresses, run};
use backdoors_rdma::Operation;
use backdoors_rdma::handshake::{Certificate, Identity};
use backdoors_rdma::session::{Provider, Session, SessionConfig};
use backdoors_sensor_box::fence::LIFTED;
use backdoors_sensor_box::layout::{Capabilities, RegionKind};
use backdoors_sensor_box::{CommandKey, FenceView, NotFenced, SensorKind, fetch_fence};
use backdoors_target_agent::seat::Seat;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};
use rustix::process::Signal;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Output};
use std::time::Duration;

const SLOT: u32 = 5;

fn config() -> String {
    format!("service_addresses = ['{}', '{}']", SERVICE[0], SERVICE[1])
}

fn start() -> (Host, Peer) {
    let peer = Peer::plug_in();
    let host = Host::start(&config());
    assert_ne!(host.sensors().capabilities & Capabilities::FENCES, 0);
    (host, peer)
}

fn own_key(slot: u32) -> CommandKey {
    CommandKey::from_bytes(key(slot))
}

/// Writes a slot's word as its monitor's NIC would.
fn write(host: &Host, word: u64) {
    host.half().memory.laid_out_fence().unwrap().set_word(SLOT as usize, word);
}

fn view(host: &Host) -> FenceView {
    host.half().fence().unwrap()
}

/// Waits until more was withheld: so the target did try to send.
fn tries_to_send(host: &Host, before: u64) -> u64 {
    eventually("a packet to be withheld", || Some(view(host).withheld).filter(|now| *now > before))
}

fn agent(host: &Host, action: &str) -> Output {
    let config = host.path("agent.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_backdoors-agent"));
    command.arg(action).arg("--config").arg(config).output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Puts frames on the target's card as programs do that make them by hand, with this tag or none.
fn send_by_hand(tag: Option<[u8; 2]>, kind: u16, body: &[u8]) {
    let card: OwnedFd = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None).unwrap();
    let mut frame = [CARDS[1], CARDS[0]].concat();
    frame.extend(tag.map(|tag| [0x81, 0, tag[0], tag[1]]).iter().flatten());
    frame.extend(kind.to_be_bytes());
    frame.extend(body);
    let own = getifaddrs()
        .unwrap()
        .find_map(|card| Some(*card.address?.as_link_addr()?).filter(|_| card.interface_name == "eth0"));
    // A frame that is withheld is an error here.
    let _ = sendto(card.as_raw_fd(), &frame, &own.unwrap(), MsgFlags::empty());
}

/// Everything that a machine says from an address or of it, each told by what was withheld of it.
fn say_all_there_is(host: &Host, peer: &Peer, connections: &mut [Connection], text: &str) {
    let mut withheld = view(host).withheld;
    let mut next = || withheld = tries_to_send(host, withheld);
    for connection in connections.iter_mut() {
        connection.target.write_all(text.as_bytes()).unwrap();
        next();
    }
    for address in addresses(SERVICE) {
        // A reset from a closed port, or what asks who is to get it.
        peer.within(|| {
            TcpStream::connect_timeout(&SocketAddr::new(address, 9), Duration::from_millis(1)).unwrap_err()
        });
        next();
        // Who has the address?
        peer.within(|| {
            run("ip neighbour flush dev eth0");
            let asks = UdpSocket::bind((PEER[usize::from(address.is_ipv6())], 0)).unwrap();
            asks.send_to(b"hello", (address, 9)).unwrap();
        });
        next();
    }
    for (kind, body) in [(0x0800, packet_v4()), (0x0806, arp(SERVICE[0])), (0x86dd, advertisement())] {
        for tag in [None, Some([0, 5])] {
            send_by_hand(tag, kind, &body);
            next();
        }
    }
    // Does anybody have the address?
    run(&format!("ip address del {}/64 dev eth0", SERVICE[1]));
    run(&format!("ip address add {}/64 dev eth0", SERVICE[1]));
    next();
    run(&format!("ip address del {}/64 dev eth0", SERVICE[1]));
    run(&format!("ip address add {}/64 dev eth0 nodad", SERVICE[1]));
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn packet_v4() -> Vec<u8> {
    let head = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0];
    [&head[..], &octets(SERVICE[0]), &octets(PEER[0])].concat()
}

fn arp(sender: &str) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    [&head[..], &CARDS[0], &octets(sender), &CARDS[1], &octets(PEER[0])].concat()
}

/// From the other address, of the service's.
fn advertisement() -> Vec<u8> {
    let icmp = [&[136, 0, 0, 0, 0x20, 0, 0, 0][..], &octets(SERVICE[1])].concat();
    let head = [0x60, 0, 0, 0, 0, icmp.len() as u8, 58, 255];
    [&head[..], &octets(OTHER[1]), &octets(PEER[1]), &icmp].concat()
}

#[test]
fn a_fenced_target_is_silent_on_its_service_addresses_and_speaks_on_all_others_until_the_fence_is_lifted() {
    inside_network(
        "fence::a_fenced_target_is_silent_on_its_service_addresses_and_speaks_on_all_others_until_the_fence_is_lifted",
        || {
            let (host, peer) = start();
            assert_eq!(view(&host).addresses, addresses(SERVICE));
            let mut served: Vec<Connection> = addresses(SERVICE).map(|address| peer.connect(address)).into();
            let mut others: Vec<Connection> = addresses(OTHER).map(|address| peer.connect(address)).into();
            for connection in served.iter_mut().chain(&mut others) {
                connection.goes_on("before");
            }
            assert!(peer.heard_service());

            for wrong in [1, u64::MAX, own_key(SLOT + 1).fence_word(), own_key(SLOT).fence_check()] {
                write(&host, wrong);
                served.iter_mut().for_each(|connection| connection.goes_on("not fenced"));
                assert!(view(&host).holds(SLOT, &own_key(SLOT)).is_err());
            }
            assert!(peer.heard_service());
            assert_eq!((view(&host).withheld, host.sensor(SensorKind::FENCE_WITHHELD, 0)), (0, 0));

            // From here on the user half is not needed.
            host.freeze_agent();
            write(&host, own_key(SLOT).fence_word());
            assert_eq!(view(&host).holds(SLOT, &own_key(SLOT)), Ok(()));
            peer.heard();
            say_all_there_is(&host, &peer, &mut served, "while fenced");
            others.iter_mut().for_each(|connection| connection.goes_on("others go on"));
            assert!(!peer.heard_service());
            assert_eq!((host.sensor(SensorKind::FENCE_HELD, 0), view(&host).held), (1, 1 << SLOT));
            assert!(host.sensor(SensorKind::FENCE_WITHHELD, 0) > 10);

            write(&host, LIFTED);
            for connection in &mut served {
                // Sent again by TCP itself.
                connection.arrives("while fenced");
                connection.goes_on("after");
            }
            assert!(peer.heard_service());
            eventually("the sign of its end", || (host.sensor(SensorKind::FENCE_HELD, 0) == 0).then_some(()));

            // Of a connection that ends while fenced nothing is heard either.
            write(&host, own_key(SLOT).fence_word());
            peer.heard();
            let withheld = view(&host).withheld;
            drop(served);
            tries_to_send(&host, withheld + 1);
            assert!(!peer.heard_service());
            drop(host);
        },
    );
}

#[test]
fn a_fence_outlives_the_agent_and_every_restart_until_it_is_lifted() {
    inside_network("fence::a_fence_outlives_the_agent_and_every_restart_until_it_is_lifted", || {
        let (mut host, peer) = start();
        let mut served = addresses(SERVICE).map(|address| peer.connect(address));
        write(&host, own_key(SLOT).fence_word());
        peer.heard();
        let silent = |host: &Host, served: &mut [Connection; 2]| {
            for connection in served {
                let withheld = view(host).withheld;
                connection.target.write_all(b".").unwrap();
                tries_to_send(host, withheld);
            }
            assert!(!peer.heard_service());
        };
        silent(&host, &mut served);
        host.end_agent(Signal::KILL);
        silent(&host, &mut served);
        host.start_agent();
        silent(&host, &mut served);
        // Nobody whom the configuration knows has this slot.
        assert_eq!(host.half().fences_held().unwrap().0, [SLOT]);

        host.end_agent(Signal::TERM);
        silent(&host, &mut served);
        let refused = agent(&host, "detach");
        assert!(!refused.status.success() && said(&refused).contains("slot 5"), "{}", said(&refused));
        silent(&host, &mut served);

        // Other settings make new memory, and a new program.
        let config = std::fs::read_to_string(host.path("agent.toml")).unwrap();
        std::fs::write(host.path("agent.toml"), format!("process_table = 64\n{config}")).unwrap();
        let generation = view(&host).generation;
        host.start_agent();
        assert_ne!(view(&host).generation, generation);
        silent(&host, &mut served);
        host.end_agent(Signal::KILL);
        let fewer = config.replace(&format!(", '{}'", SERVICE[1]), "");
        assert_ne!(fewer, config);
        std::fs::write(host.path("agent.toml"), fewer).unwrap();
        let refused = agent(&host, "run");
        assert!(!refused.status.success() && said(&refused).contains("fd99::5"), "{}", said(&refused));
        silent(&host, &mut served);

        let held = agent(&host, "fences");
        assert!(held.status.code() == Some(2) && said(&held).contains("slot 5"), "{}", said(&held));
        let lifted = agent(&host, "unfence");
        assert!(
            lifted.status.success() && said(&lifted).contains("lifted the fence of slot 5"),
            "{}",
            said(&lifted)
        );
        for connection in &mut served {
            connection.arrives(".......");
            connection.goes_on("after");
        }
        assert!(said(&agent(&host, "unfence")).contains("no fence held"));
        let held = agent(&host, "fences");
        assert!(held.status.success() && said(&held).contains("no fence holds"), "{}", said(&held));
        host.start_agent();
        host.end_agent(Signal::TERM);
        assert!(!host.pins().any());
        let left = Command::new("tc").args("filter show dev eth0 egress".split(' ')).output().unwrap();
        assert_eq!(said(&left), "");
        drop(host);
    });
}

fn session(host: &Host) -> Session {
    let folder = host.path("");
    let config = SessionConfig {
        address: "127.0.0.1:7801".parse().unwrap(),
        target_certificate: Certificate::load(&folder.join("target.crt")).unwrap(),
        identity: Identity::load(&folder, "monitor").unwrap(),
        provider: Provider::Emulated,
        connections: 1,
        deadline: PATIENCE,
    };
    Session::open(&config).unwrap()
}

fn fetch(session: &mut Session) -> FenceView {
    let region = session.region(RegionKind::FENCE).unwrap().range;
    fetch_fence(|offset, into| session.read(region.slice(offset, into.len() as u64).unwrap(), into)).unwrap()
}

/// Has the monitor write its own word.
fn set(session: &mut Session) {
    let word = word(session);
    let to = session.region(RegionKind::FENCE_WORD).unwrap().range;
    assert_eq!(to.length, 8);
    session.submit(&mut [Operation::Write { to, from: &word.to_le_bytes() }]).unwrap();
}

fn holds(session: &mut Session) -> Result<(), NotFenced> {
    let (slot, key) = (session.slot(), CommandKey::from_bytes(session.secret().bytes()));
    fetch(session).holds(slot, &key)
}

fn word(session: &Session) -> u64 {
    CommandKey::from_bytes(session.secret().bytes()).fence_word()
}

#[test]
fn a_monitor_fences_from_afar_and_its_fence_outlives_its_key_and_its_admission() {
    inside_network(
        "fence::a_monitor_fences_from_afar_and_its_fence_outlives_its_key_and_its_admission",
        || {
            let (mut host, peer) = start();
            host.end_agent(Signal::KILL);
            let config = std::fs::read_to_string(host.path("agent.toml")).unwrap();
            let config = config.replace("listen = '127.0.0.1:0'", "listen = '127.0.0.1:7801'");
            std::fs::write(host.path("agent.toml"), &config).unwrap();
            host.start_agent();
            let mut served = peer.connect(addresses(SERVICE)[0]);
            let mut silent = |host: &Host| {
                let withheld = view(host).withheld;
                served.target.write_all(b".").unwrap();
                tries_to_send(host, withheld);
                assert!(!peer.heard_service());
            };
            let mut first = session(&host);
            assert_eq!(holds(&mut first), Err(NotFenced::NotWritten { found: LIFTED }));
            set(&mut first);
            assert_eq!(holds(&mut first), Ok(()));
            peer.heard();
            silent(&host);
            let table = first.region(RegionKind::FENCE).unwrap().range;
            assert!(first.submit(&mut [Operation::Write { to: table, from: &[0; 640] }]).is_err());

            // The next handshake gives it another key.
            let mut second = session(&host);
            assert_ne!(word(&first), word(&second));
            assert_eq!(holds(&mut second), Err(NotFenced::NotWritten { found: word(&first) }));
            silent(&host);
            set(&mut second);
            assert_eq!(holds(&mut second), Ok(()));
            silent(&host);
            // The earlier one is good for nothing any more, as soon as the agent has looked.
            eventually("an end of the earlier word", || {
                let seat = host.half().seat(second.slot()).unwrap();
                (!seat.is_fenced_by(word(&first))).then_some(())
            });
            silent(&host);

            // A configuration that does not let it fence any more, and one that does not know it.
            let reload = |text: &str| {
                std::fs::write(host.path("agent.toml"), text).unwrap();
                host.signal(host.agent_pid(), Signal::HUP);
            };
            reload(&format!("{config}may = ['kill-user']\n"));
            eventually("a word that does not count", || {
                (holds(&mut second) == Err(NotFenced::NotCounted)).then_some(())
            });
            silent(&host);
            let (without, _) = config.split_once("[[monitor]]").unwrap();
            reload(without);
            eventually("an empty seat", || host.half().seat(3).unwrap().key().is_none().then_some(()));
            silent(&host);
            let owns = |held: u32| host.half().fences_held().unwrap().0 == [held];
            assert!(owns(3));
            drop(host);
        },
    );
}

#[test]
fn the_word_of_a_monitor_that_may_not_fence_does_not_count() {
    inside_network("fence::the_word_of_a_monitor_that_may_not_fence_does_not_count", || {
        let (host, peer) = start();
        let seat = |slot: u32| Seat::new(key(slot), 1, may_all());
        let mut served = peer.connect(addresses(SERVICE)[0]);
        host.half().change_seat(SLOT, |_| seat(SLOT)).unwrap();
        write(&host, own_key(SLOT).fence_word());
        assert_eq!(view(&host).holds(SLOT, &own_key(SLOT)), Err(NotFenced::NotCounted));
        served.goes_on("not fenced");
        host.half().change_seat(SLOT, |_| seat(SLOT).that_may_fence(true)).unwrap();
        assert_eq!(view(&host).holds(SLOT, &own_key(SLOT)), Ok(()));
        let withheld = view(&host).withheld;
        served.target.write_all(b".").unwrap();
        tries_to_send(&host, withheld);
        drop(host);
    });
}

#[test]
fn an_interface_without_ethernet_is_fenced_too() {
    inside_network("fence::an_interface_without_ethernet_is_fenced_too", || {
        let (host, _peer) = start();
        // Nobody is at its other end, but packets get as far as that.
        run("ip tuntap add bare mode tun");
        run("ip link set bare up");
        run("ip route add 10.98.0.1 dev bare");
        run("ip route add fd98::1 dev bare");
        eventually("its fence", || (view(&host).covered == 2).then_some(()));
        write(&host, own_key(SLOT).fence_word());
        for (family, to) in ["10.98.0.1", "fd98::1"].into_iter().enumerate() {
            for (from, withheld) in [(SERVICE[family], 1), (OTHER[family], 0)] {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                let before = view(&host).withheld;
                let _ = socket.send_to(b"hello", (to, 9));
                assert_eq!(view(&host).withheld - before, withheld, "from {from}");
            }
        }
        drop(host);
    });
}

#[test]
fn every_interface_is_covered_also_a_later_one_and_a_hole_is_told() {
    inside_network("fence::every_interface_is_covered_also_a_later_one_and_a_hole_is_told", || {
        let (host, _peer) = start();
        let can = || host.sensors().capabilities & Capabilities::FENCES != 0;
        let reach = |covered: u32, interfaces: u32| {
            eventually("that reach", || {
                let view = view(&host);
                ((view.covered, view.interfaces) == (covered, interfaces)).then_some(())
            });
        };
        reach(1, 1);
        run("ip link add later type veth peer name end");
        reach(3, 3);
        assert!(can());
        run("tc filter del dev eth0 egress");
        let looked = view(&host).looked_at;
        eventually("a look", || (view(&host).looked_at > looked).then_some(()));
        reach(3, 3);
        let there = Command::new("tc").args("filter show dev eth0 egress".split(' ')).output().unwrap();
        assert!(said(&there).contains("on_egress"), "{}", said(&there));

        // What filters are attached to is of an older kind there, and has but one place, for what comes in.
        run("ip link add stubborn type veth peer name other");
        run("tc qdisc replace dev stubborn ingress");
        reach(4, 5);
        assert!(!can());
        let hole = NotFenced::Uncovered { covered: 4, interfaces: 5 };
        assert_eq!(view(&host).would_hold(SLOT, &own_key(SLOT)), Err(hole));
        run("tc qdisc del dev stubborn ingress");
        reach(5, 5);
        assert!(can());
        drop(host);
    });
}
