//! The fault matrix on hosts: what breaks paths and processes, but no kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::faults::{self, Hosts, Row};
use backdoors_tests::host::Host;

fn assert_right(rows: &[Row<Host>]) {
    let table = faults::run::<Hosts>(rows, &[false, true]);
    println!("{table}");
    assert!(table.wrong().is_empty(), "{}", table.wrong());
}

#[test]
fn a_cut_path_a_killed_agent_and_a_stuck_application_are_told_apart() {
    assert_right(&[
        faults::path_cut_to_target(),
        faults::path_cut_from_target(),
        faults::path_cut_both_ways(),
        faults::agent_killed(),
        faults::application_stuck(),
    ]);
}

#[test]
fn nobody_is_accused_while_nothing_is_wrong() {
    assert_right(&[faults::nothing_wrong()]);
}
