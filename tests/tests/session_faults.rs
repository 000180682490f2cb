//! Faults at the worst moments of live sessions, and recoveries that cannot be: on hosts of this machine's kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use anyhow::{Context, Result, ensure};
use backdoors_tests::deployment::FOLDER;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::scene::{NAME, PORT, log_of};
use backdoors_tests::sessions::streaming::{self, Received};
use backdoors_tests::sessions::wire::{Wire, card, end_unbroken};
use backdoors_tests::sessions::{Family, Machines, Node, Scene, SceneConfig};
use std::path::Path;
use std::time::Duration;

/// Where a client writes what became of it.
const LOG: &str = "/run/backdoors/client.log";
const PATIENCE: Duration = Duration::from_secs(30);

/// A scene with a server on each node; returns what `happen` does, which is given the one on the first.
fn scene(machines: &Machines<Host>, happen: impl FnOnce(&Scene<'_, Host>, u32) -> Result<()>) {
    let scene = Scene::install(machines, &SceneConfig::default()).unwrap();
    let served = || -> Result<()> {
        let server = machines.node.program("backdoors-echo")?;
        let all = if machines.service.is_ipv4() { "0.0.0.0" } else { "[::]" };
        let place = format!("{all}:{PORT}");
        let first = scene.serve(Node::First, &server, &place)?;
        scene.serve(Node::Standby, &server, &place)?;
        happen(&scene, first)
    };
    served().unwrap_or_else(|error| panic!("{error:#}\n{}", scene.logs()));
}

fn start_client(machines: &Machines<Host>, arguments: &str) -> Result<()> {
    let program = machines.client.program("backdoors-client")?;
    let command = format!("{program} {} {arguments}", machines.service_at(PORT));
    machines.client.start(&command, LOG).map(drop)
}

/// The line that a client prints at its end.
fn end_of_client(machines: &Machines<Host>) -> Result<String> {
    machines.client.wait_for("the client's end", PATIENCE, || {
        let text = machines.client.shell(&format!("cat {LOG}"))?;
        Ok(text.lines().find(|line| line.contains(' ')).map(str::to_owned))
    })
}

/// The client gets all that it wanted, and no connection is reset.
fn has_everything(machines: &Machines<Host>, wire: Wire) -> Result<()> {
    let line = end_of_client(machines)?;
    ensure!(line.ends_with("ok"), "the client says: {line}");
    end_unbroken(wire, machines.service)
}

fn wait_for_connection(host: &Host, state: &str, end: &str) -> Result<()> {
    host.wait_for(state, PATIENCE, || {
        let count = host.shell(&format!("ss -Htn state {state} {end} = :{PORT} | wc -l"))?;
        Ok((count.trim() == "1").then_some(()))
    })
}

/// Says where a host finds an address of the network: at a card that nobody has, or at its own.
fn misdirect(
    host: &Host,
    interface: &str,
    address: impl std::fmt::Display,
    card: &str,
    how: &str,
) -> Result<()> {
    host.shell(&format!("ip neighbour replace {address} lladdr {card} dev {interface} nud {how}")).map(drop)
}

const NOBODY: &str = "02:00:00:00:00:01";

#[test]
fn a_client_that_was_not_answered_yet_tries_again_by_itself_and_is_served_at_the_standby() {
    let machines = Machines::hosts().unwrap();
    scene(&machines, |scene, server| {
        let wire = Wire::watch_ends(&machines.client, PORT..PORT + 1)?;
        misdirect(&machines.node, "eth1", machines.client.address(), NOBODY, "permanent")?;
        start_client(&machines, "'download 300000'")?;
        wait_for_connection(&machines.node, "syn-recv", "sport")?;
        machines.node.signal("STOP", server)?;
        scene.deployment.freeze_agent()?;
        scene.deployment.backdoors("recover target")?;
        has_everything(&machines, wire)
    });
}

/// There is no connection at the node yet, and none to be recovered; but the client believes to have one.
#[test]
fn a_client_whose_last_word_of_the_handshake_was_lost_is_told_by_the_standby() {
    let machines = Machines::hosts().unwrap();
    scene(&machines, |scene, server| {
        let (node, client) = (&machines.node, &machines.client);
        misdirect(node, "eth1", client.address(), NOBODY, "permanent")?;
        start_client(&machines, "'download 300000'")?;
        wait_for_connection(node, "syn-recv", "sport")?;
        // From here on it is the client who is not heard.
        misdirect(client, "eth0", machines.service, NOBODY, "reachable")?;
        misdirect(node, "eth1", client.address(), &card(client, "eth0")?, "permanent")?;
        wait_for_connection(client, "established", "dport")?;
        wait_for_connection(node, "syn-recv", "sport")?;
        node.signal("STOP", server)?;
        scene.deployment.backdoors("recover target")?;
        let line = end_of_client(&machines)?;
        ensure!(line.contains("reset"), "the client says: {line}");
        Ok(())
    });
}

fn goes_on_though_the_server_was_inside_export(how: &str, number: usize) {
    let machines = Machines::hosts().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("streaming");
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inside_export.h");
    streaming::compile(&program, &["-include", header.to_str().unwrap()]).unwrap();
    let scene = Scene::install(&machines, &SceneConfig::default()).unwrap();
    let happen = || -> Result<()> {
        let (program, arguments) = (program.display(), format!("{NAME} {PORT}"));
        scene.serve(Node::First, &format!("env {how}={number} {program}"), &arguments)?;
        scene.serve(Node::Standby, &program.to_string(), &arguments)?;
        let wire = Wire::watch_ends(&machines.client, PORT..PORT + 1)?;
        let receive = || -> Result<()> {
            machines.client.enter_network()?;
            let mut client = streaming::Client::connect(machines.service_at(PORT), PATIENCE)?;
            client.say("STREAM 1000 3000")?;
            while client.receive()? != Received::End {}
            ensure!(client.line == 3000, "the end after line {}", client.line);
            Ok(())
        };
        std::thread::scope(|threads| {
            let client = threads.spawn(receive);
            let log = format!("cat {FOLDER}/{}", log_of(&program.to_string(), &arguments));
            machines.node.wait_for("a server that is inside export", PATIENCE, || {
                Ok(machines.node.shell(&log)?.contains("inside").then_some(()))
            })?;
            let report = scene.deployment.backdoors("recover target")?;
            ensure!(report.contains("1 of 1 sessions go on here"), "{report}");
            client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
        })?;
        end_unbroken(wire, machines.service)
    };
    happen().unwrap_or_else(|error| panic!("{how} {number}: {error:#}\n{}", scene.logs()));
}

#[test]
fn a_session_goes_on_though_its_server_stands_still_in_the_middle_of_an_export() {
    // The first snapshot of all, and ones that overwrite either of the two that there are.
    for number in [1, 2, 700, 701] {
        goes_on_though_the_server_was_inside_export("STANDS_STILL_AT", number);
    }
}

#[test]
fn a_session_goes_on_though_its_server_dies_in_the_middle_of_an_export() {
    for number in [1, 700] {
        goes_on_though_the_server_was_inside_export("DIES_AT", number);
    }
}

#[test]
fn the_standby_announces_an_ipv6_address_to_everybody_unasked() {
    let machines = Machines::hosts_of(Family::V6).unwrap();
    scene(&machines, |scene, server| {
        let card = card(&machines.standby, "eth1")?;
        // Overriding what is known, and no answer.
        let advertisement = "icmp6 and ip6[40] == 136 and ip6[44] & 0x60 == 0x20 and dst host ff02::1";
        let wire = Wire::watch(&machines.client, &format!("ether src {card} and {advertisement}"))?;
        machines.node.signal("STOP", server)?;
        scene.deployment.backdoors("recover target")?;
        // The first one and two that repeat it.
        std::thread::sleep(Duration::from_millis(500));
        let seen = wire.end()?;
        let tells = format!("neighbor advertisement, tgt is {},", machines.service);
        ensure!(seen.len() >= 3 && seen.iter().all(|packet| packet.contains(&tells)), "{seen:?}");
        Ok(())
    });
}

/// A recovery that fails on the standby before anything was done to the node, whose client notices nothing.
fn is_refused(prepare: impl FnOnce(&Machines<Host>) -> Result<()>, reason: &str) {
    let machines = Machines::hosts().unwrap();
    prepare(&machines).unwrap();
    scene(&machines, |scene, _| {
        let wire = Wire::watch_ends(&machines.client, PORT..PORT + 1)?;
        start_client(&machines, "'download 6000000' --rate 3000000")?;
        wait_for_connection(&machines.node, "established", "sport")?;
        let (code, text) = scene.deployment.try_backdoors("recover target")?;
        ensure!(code != 0 && text.contains("nothing was taken over"), "{code}: {text}");
        ensure!(text.contains(reason), "{text}");
        has_everything(&machines, wire)
    });
}

#[test]
fn a_standby_without_the_services_interface_says_so_and_leaves_the_node_alone() {
    is_refused(|machines| machines.standby.shell("ip link delete eth1").map(drop), "eth1");
}

#[test]
fn a_standby_whose_interface_is_down_says_so_and_leaves_the_node_alone() {
    let down = |machines: &Machines<Host>| machines.standby.shell("ip link set eth1 down").map(drop);
    is_refused(down, "the interface eth1 is down");
}

#[test]
fn a_session_whose_client_the_standby_has_no_way_to_is_told_lost_with_the_reason() {
    let machines = Machines::hosts().unwrap();
    machines.standby.shell("ip address flush dev eth1").unwrap();
    scene(&machines, |scene, _| {
        start_client(&machines, "echo --write 777000 --piece 777 --pause 7")?;
        wait_for_connection(&machines.node, "established", "sport")?;
        let (code, text) = scene.deployment.try_backdoors("recover target")?;
        ensure!(code != 0 && text.contains("0 of 1 sessions go on here"), "{code}: {text}");
        ensure!(text.contains("no route leads to 10.99.0.3"), "{text}");
        // It is told, too, as soon as it says something: whether its reader or its writer hears that first is open.
        let line = end_of_client(&machines)?;
        ensure!(line.contains("reset") || line.contains("pipe"), "the client says: {line}");
        Ok(())
    });
}

#[test]
fn a_monitor_that_may_not_administer_the_network_says_so_and_leaves_the_node_alone() {
    let without = |machines: &Machines<Host>| -> Result<()> {
        let enter = machines.standby.shell(&format!("cat {FOLDER}/enter"))?;
        let (before, _) = enter.split_once("exec ").context("no exec")?;
        let enter = format!("{before}exec setpriv --bounding-set -net_admin --inh-caps -net_admin \"$@\"");
        machines.standby.write(&format!("{FOLDER}/enter"), &enter)
    };
    is_refused(without, "CAP_NET_ADMIN");
}

#[test]
fn every_session_of_a_busy_node_is_seen_whenever_somebody_looks() {
    let machines = Machines::hosts().unwrap();
    scene(&machines, |scene, _| {
        start_client(&machines, "'download 40000000' --rate 2500000 --sessions 8")?;
        machines.client.wait_for("clients", PATIENCE, || {
            let count =
                machines.client.shell(&format!("ss -Htn state established dport = :{PORT} | wc -l"))?;
            Ok((count.trim() == "8").then_some(()))
        })?;
        let mut seen = Vec::new();
        for _ in 0..200 {
            let boxes = scene.deployment.json("boxes target")?;
            seen.push(boxes.as_array().context("no list")?.len());
        }
        let missing = seen.iter().filter(|seen| **seen != 8).count();
        ensure!(missing == 0, "at {missing} of {} looks not all were seen: {seen:?}", seen.len());
        Ok(())
    });
}
