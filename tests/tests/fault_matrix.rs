//! The fault matrix on hosts: what breaks paths and processes, but no kernel.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::faults::{self, Expected, Hosts, Lab, Row, Witnesses};
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

#[test]
fn a_row_that_goes_wrong_is_named_and_keeps_no_other_from_being_tried() {
    let elsewhere = Expected { layer: "kernel", subject: None, evidence: None, witnesses: Witnesses::All };
    let rows = [
        Row { name: "impossible", inject: |_| anyhow::bail!("nobody knows how"), ..faults::nothing_wrong() },
        Row { name: "laid elsewhere", expected: Some(elsewhere), ..faults::application_stuck() },
        faults::application_stuck(),
    ];
    let mut table = faults::run::<Hosts>(&rows, &[false]);
    let wrong = table.wrong();
    assert!(wrong.contains("impossible, no load:\nbringing it about: nobody knows how"), "{wrong}");
    assert!(wrong.contains("laid elsewhere, no load:\nmonitor accuses application ticker"), "{wrong}");
    let line = table.line(Hosts::NAME, "application stuck", false);
    assert_eq!((line.right.len(), line.wrong.len()), (1, 0), "{wrong}");
}
