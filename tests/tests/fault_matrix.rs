//! The fault matrix on hosts: what breaks paths and processes, but no kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::faults::{self, Hosts};

#[test]
fn a_cut_path_a_killed_agent_and_a_stuck_application_are_told_apart() {
    let rows = [
        faults::path_cut_to_target(),
        faults::path_cut_from_target(),
        faults::path_cut_both_ways(),
        faults::agent_killed(),
        faults::application_stuck(),
    ];
    let table = faults::run::<Hosts>(&rows).unwrap();
    println!("{table}");
    assert!(table.wrong().is_empty(), "{}", table.wrong());
}

#[test]
fn nobody_is_accused_while_nothing_is_wrong() {
    faults::watch_nothing::<Hosts>().unwrap();
}
