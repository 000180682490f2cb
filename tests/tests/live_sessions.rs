//! Live sessions that outlive their node, on hosts of this machine's kernel: every byte is checked at the client, in both
//! directions, and no reset may be on the wire.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use anyhow::{Context, Result, ensure};
use backdoors_tests::machine::Machine;
use backdoors_tests::sessions::rows::{Client, Fault, Row};
use backdoors_tests::sessions::scene::PORT;
use backdoors_tests::sessions::wire::Wire;
use backdoors_tests::sessions::{Family, Machines, Node, Scene, SceneConfig, story, twice};
use std::time::Duration;

fn go_on(fault: Fault, client: Client, sessions: usize) {
    go_on_over(Family::V4, fault, client, sessions);
}

fn go_on_over(family: Family, fault: Fault, client: Client, sessions: usize) {
    let row = Row { fault, clients: &[client], sessions };
    let outcome = row.run_over(family).unwrap_or_else(|error| panic!("{error:#}"));
    let longest = outcome.stalls.iter().max();
    println!("{fault:?}, {sessions} x {client:?}: longest stall {longest:?}, {}", outcome.report["marks"]);
}

#[test]
fn downloads_go_on_when_their_server_is_killed() {
    go_on(Fault::ServerKilled, Client::Downloads, 1);
}

#[test]
fn downloads_go_on_when_their_server_is_stopped() {
    go_on(Fault::ServerStopped, Client::Downloads, 1);
}

#[test]
fn uploads_go_on_when_their_server_is_killed() {
    go_on(Fault::ServerKilled, Client::Uploads, 1);
}

#[test]
fn many_small_pieces_both_ways_go_on_when_their_node_starves() {
    go_on(Fault::NodeStarved, Client::Dribbles, 1);
}

#[test]
fn a_client_whose_window_is_closed_goes_on_when_its_node_is_cut_off() {
    go_on(Fault::NodeCutOff, Client::Stalls, 1);
}

#[test]
fn a_client_that_has_closed_its_direction_goes_on_when_its_node_is_cut_off() {
    go_on(Fault::NodeCutOff, Client::HalfCloses, 1);
}

#[test]
fn a_client_gets_what_its_server_had_written_and_ended_when_their_node_starves() {
    go_on(Fault::NodeStarved, Client::Lags, 1);
}

#[test]
fn two_hundred_clients_get_what_their_server_had_written_and_ended_when_their_node_is_cut_off() {
    go_on(Fault::NodeCutOff, Client::Lags, 200);
}

#[test]
fn a_client_that_has_everything_and_has_not_closed_closes_in_peace_when_its_server_was_killed() {
    go_on(Fault::ServerKilled, Client::Stays, 3);
}

#[test]
fn a_client_that_has_everything_and_has_not_closed_closes_in_peace_when_its_node_starves() {
    go_on(Fault::NodeStarved, Client::Stays, 3);
}

#[test]
fn clients_that_were_not_accepted_yet_are_served_at_the_standby() {
    go_on(Fault::StoppedBeforeAccept, Client::Downloads, 3);
    go_on(Fault::StoppedBeforeAccept, Client::Uploads, 3);
}

#[test]
fn two_hundred_sessions_go_on_when_their_node_starves() {
    go_on(Fault::NodeStarved, Client::Downloads, 200);
}

fn outlive_two(client: Client, sessions: usize) {
    let stalls = twice::run(client, sessions).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{sessions} x {client:?}, moved twice: longest stall {:?}", stalls.iter().max().unwrap());
}

#[test]
fn many_small_pieces_both_ways_go_on_when_the_standby_starves_too() {
    outlive_two(Client::Dribbles, 3);
}

#[test]
fn downloads_go_on_when_the_standby_starves_too() {
    outlive_two(Client::Downloads, 1);
}

#[test]
fn uploads_go_on_when_the_standby_starves_too() {
    outlive_two(Client::Uploads, 1);
}

#[test]
fn a_client_that_had_closed_first_gets_what_its_server_had_written_and_ended() {
    go_on(Fault::NodeStarved, Client::LagsAfterClosing, 1);
}

#[test]
fn where_both_ends_close_at_once_the_client_gets_what_its_server_had_written() {
    go_on(Fault::NodeCutOff, Client::LagsAndCloses, 1);
    go_on(Fault::ServerKilled, Client::LagsAndCloses, 1);
}

#[test]
fn clients_that_close_while_nobody_hears_them_are_heard_by_the_standby() {
    go_on(Fault::NodeCutOff, Client::ClosesMeanwhile, 3);
    go_on(Fault::NodeCutOff, Client::LeavesMeanwhile, 3);
}

#[test]
fn curl_gets_its_file_when_the_server_is_killed() {
    go_on(Fault::ServerKilled, Client::Curl, 2);
}

#[test]
fn wget_gets_its_file_when_the_node_starves() {
    go_on(Fault::NodeStarved, Client::Wget, 2);
}

#[test]
fn nc_gets_its_file_when_the_node_is_cut_off() {
    go_on(Fault::NodeCutOff, Client::Netcat, 2);
}

#[test]
fn iperf3_writes_to_its_end_when_the_server_is_killed() {
    go_on(Fault::ServerKilled, Client::IperfWrites, 2);
}

#[test]
fn iperf3_reads_to_its_end_when_the_node_starves() {
    go_on(Fault::NodeStarved, Client::IperfReads, 2);
}

#[test]
fn downloads_over_ipv6_go_on_when_the_node_starves() {
    go_on_over(Family::V6, Fault::NodeStarved, Client::Downloads, 3);
}

#[test]
fn small_pieces_both_ways_over_ipv6_go_on_when_the_node_is_cut_off() {
    go_on_over(Family::V6, Fault::NodeCutOff, Client::Dribbles, 3);
}

/// With `cargo xtask test --full`; the rows above are a sample.
mod every_client_outlives_every_fault {
    use super::*;

    fn all(fault: Fault, sessions: usize) {
        if std::env::var_os("BACKDOORS_FULL").is_none() {
            return;
        }
        let mut failed = Vec::new();
        for client in Client::ALL {
            match (Row { fault, clients: &[client], sessions }).run() {
                Ok(outcome) => println!("{fault:?}, {sessions} x {client:?}: {}", outcome.report["marks"]),
                Err(error) => {
                    println!("{error:#}");
                    failed.push(client);
                }
            }
        }
        assert!(failed.is_empty(), "{fault:?}, {sessions} sessions: {failed:?}");
    }

    macro_rules! with {
        ($($name:ident: $fault:ident, $sessions:literal;)*) => {
            $(#[test]
            fn $name() {
                all(Fault::$fault, $sessions);
            })*
        };
    }

    with! {
        one_whose_server_is_killed: ServerKilled, 1;
        one_whose_server_is_stopped: ServerStopped, 1;
        one_whose_node_starves: NodeStarved, 1;
        one_whose_node_is_cut_off: NodeCutOff, 1;
        two_hundred_whose_server_is_killed: ServerKilled, 200;
        two_hundred_whose_server_is_stopped: ServerStopped, 200;
        two_hundred_whose_node_starves: NodeStarved, 200;
        two_hundred_whose_node_is_cut_off: NodeCutOff, 200;
        a_thousand_whose_server_is_killed: ServerKilled, 1000;
        a_thousand_whose_server_is_stopped: ServerStopped, 1000;
        a_thousand_whose_node_starves: NodeStarved, 1000;
        a_thousand_whose_node_is_cut_off: NodeCutOff, 1000;
    }
}

#[test]
fn curl_and_a_stream_go_on_when_a_verdict_says_that_their_node_is_dead() {
    let told = story::tell(&mut |line| println!("{line}")).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{}", told.text());
    assert!(
        told.journal.iter().any(|entry| entry["kind"] == "sessions-recovered" && entry["by"] == "a rule")
    );
}

#[test]
fn a_node_that_was_only_slow_and_wakes_up_says_nothing_more_on_the_services_address() {
    let machines = Machines::hosts().unwrap();
    let scene = Scene::install(&machines, &SceneConfig::default()).unwrap();
    let logs = |error| panic!("{error:#}\n{}", scene.logs());
    let wakes_up = || -> Result<()> {
        let (server, at) = (machines.node.program("backdoors-echo")?, PORT.to_string());
        let first = scene.serve(Node::First, &server, &at)?;
        scene.serve(Node::Standby, &server, &at)?;
        let client = machines.client.program("backdoors-client")?;
        let log = "/run/backdoors/client.log";
        let said = || machines.client.shell(&format!("cat {log}"));
        let service = machines.service;
        machines
            .client
            .start(&format!("{client} {service}:{PORT} 'download 30000000' --rate 5000000"), log)?;
        machines.client.wait_for("a client", Duration::from_secs(20), || {
            Ok(said()?.contains("connected").then_some(()))
        })?;
        std::thread::sleep(Duration::from_secs(1));
        machines.node.signal("STOP", first)?;
        scene.deployment.backdoors("recover target")?;
        let card = machines.node.shell("ip -o link show eth1 | sed 's/.*ether \\([^ ]*\\).*/\\1/'")?;
        let wire =
            Wire::watch(&machines.client, &format!("ether src {} and (host {service} or arp)", card.trim()))?;
        // The server writes what it was about to write, and its kernel sends it, again and again.
        machines.node.signal("CONT", first)?;
        machines.client.wait_for("the client's end", Duration::from_secs(30), || {
            let text = said()?;
            ensure!(!text.contains("bytes") && !text.contains("reading"), "{text}");
            Ok(text.contains("ok").then_some(()))
        })?;
        let seen = wire.end()?;
        ensure!(seen.is_empty(), "the node says: {seen:?}");
        let sensors = scene.deployment.json("sensors target")?;
        let withheld = sensors["sensors"].as_array().context("no sensors")?.iter();
        let mut withheld = withheld.filter(|sensor| sensor["name"] == "fence.withheld");
        let withheld = withheld.next().context("no sensor fence.withheld")?["value"].as_u64();
        ensure!(withheld > Some(0), "the node never tried to say anything: nothing was shown");
        Ok(())
    };
    wakes_up().unwrap_or_else(logs);
}
