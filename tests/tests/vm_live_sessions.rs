//! Live sessions that outlive their node's kernel: guests, of which the node's memory is read by a NIC outside of it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::sessions::rows::{Client, KernelFault, Row};

/// All kinds of clients, so many together.
fn outlive(fault: KernelFault, together: usize) {
    let sessions = together.div_ceil(Client::ALL.len());
    let row = Row { fault, clients: &Client::ALL, sessions };
    let outcome = row.run().unwrap_or_else(|error| panic!("{error:#}"));
    println!("{fault:?}, {sessions} each: {}", outcome.report["marks"]);
}

/// With `cargo xtask test --full`.
fn outlive_if_full(fault: KernelFault, together: usize) {
    if std::env::var_os("BACKDOORS_FULL").is_some() {
        outlive(fault, together);
    }
}

#[test]
fn every_client_goes_on_when_every_processor_of_its_node_spins_with_interrupts_off() {
    outlive(KernelFault::Spin, Client::ALL.len());
}

#[test]
fn every_client_goes_on_when_its_node_panics() {
    outlive_if_full(KernelFault::Panic, Client::ALL.len());
}

#[test]
fn two_hundred_go_on_when_every_processor_of_their_node_spins_with_interrupts_off() {
    outlive_if_full(KernelFault::Spin, 200);
}

#[test]
fn two_hundred_go_on_when_their_node_panics() {
    outlive_if_full(KernelFault::Panic, 200);
}

#[test]
fn a_thousand_go_on_when_every_processor_of_their_node_spins_with_interrupts_off() {
    outlive_if_full(KernelFault::Spin, 1000);
}

#[test]
fn a_thousand_go_on_when_their_node_panics() {
    outlive_if_full(KernelFault::Panic, 1000);
}
