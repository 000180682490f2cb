//! Live sessions that outlive their node, on hosts of this machine's kernel: every byte is checked at the client, in both
//! directions, and no reset may be on the wire.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::sessions::rows::{Client, Fault, Row};

fn go_on(fault: Fault, client: Client, sessions: usize) {
    let outcome = Row { fault, client, sessions }.run().unwrap_or_else(|error| panic!("{error:#}"));
    let longest = outcome.stalls.iter().max().unwrap();
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

/// `cargo xtask test --full`.
#[test]
#[ignore = "takes many minutes"]
fn every_client_outlives_every_fault() {
    for sessions in [1, 200] {
        for fault in Fault::ALL {
            for client in Client::ALL {
                go_on(fault, client, sessions);
            }
        }
    }
}
