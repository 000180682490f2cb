//! The fault matrix on guests: over soft-RoCE, which answers for a target as long as the target's kernel lives, and with
//! a NIC outside of the guest, which answers whatever becomes of that.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::faults::{self, Lab, OutsideNic, Row, SoftRoce};
use backdoors_tests::vm::Vm;

fn assert_right<L: Lab<Machine = Vm>>(rows: &[Row<Vm>]) {
    let table = faults::run::<L>(rows).unwrap();
    println!("{table}");
    assert!(table.wrong().is_empty(), "{}", table.wrong());
}

#[test]
fn a_cut_path_is_laid_at_the_path_by_the_monitor_whose_it_is() {
    assert_right::<SoftRoce>(&[
        faults::path_cut_to_target(),
        faults::path_cut_from_target(),
        faults::path_cut_both_ways(),
    ]);
}

#[test]
fn stopped_processors_a_killed_agent_and_a_stuck_application_are_told_apart() {
    assert_right::<SoftRoce>(&[
        faults::processors_stopped("host"),
        faults::agent_killed(),
        faults::application_stuck(),
    ]);
}

#[test]
fn starvation_by_300_busy_processes_is_laid_at_user_space() {
    assert_right::<SoftRoce>(&[faults::user_space_starved()]);
}

#[test]
fn a_stuck_processor_is_laid_at_the_kernel_and_named() {
    assert_right::<OutsideNic>(&[faults::one_processor_stuck()]);
}

#[test]
fn where_the_kernel_answers_a_panic_is_laid_at_the_host() {
    assert_right::<SoftRoce>(&[faults::panic("host")]);
}

#[test]
fn where_the_kernel_answers_processors_that_all_spin_are_laid_at_the_host() {
    assert_right::<SoftRoce>(&[faults::processors_spinning("host")]);
}

#[test]
fn where_a_nic_answers_stopped_processors_are_laid_at_the_kernel() {
    assert_right::<OutsideNic>(&[faults::processors_stopped("kernel")]);
}

#[test]
fn where_a_nic_answers_a_panic_is_laid_at_the_kernel() {
    assert_right::<OutsideNic>(&[faults::panic("kernel")]);
}

#[test]
fn where_a_nic_answers_processors_that_all_spin_are_laid_at_the_kernel() {
    assert_right::<OutsideNic>(&[faults::processors_spinning("kernel")]);
}

#[test]
fn nobody_is_accused_while_nothing_is_wrong() {
    faults::watch_nothing::<SoftRoce>().unwrap();
}

#[test]
fn nobody_is_accused_behind_a_path_that_loses() {
    let measured = faults::watch_lossy_path::<SoftRoce>(&[1, 10, 30]).unwrap();
    println!("{measured}");
}
