//! The fault matrix on guests: over soft-RoCE, which answers for a target as long as the target's kernel lives, and with
//! a NIC outside of the guest, which answers whatever becomes of that.
//!
//! Rows share a boot of their lab, because that takes longer than most of them. Each is reported by itself.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::faults::{self, Lab, OutsideNic, Row, SoftRoce};
use backdoors_tests::vm::Vm;

const WITHOUT_LOAD_AND_WITH: &[bool] = &[false, true];

fn assert_right<L: Lab<Machine = Vm>>(rows: &[Row<Vm>], loads: &[bool]) {
    let table = faults::run::<L>(rows, loads);
    println!("{table}");
    assert!(table.wrong().is_empty(), "{}", table.wrong());
}

#[test]
fn where_the_kernel_answers_every_fault_is_laid_at_its_layer_and_nothing_at_none() {
    // What leaves most behind on the target comes just before what is undone by the target's reset button.
    let rows = [
        faults::nothing_wrong(),
        faults::path_cut_to_target(),
        faults::path_cut_from_target(),
        faults::path_cut_both_ways(),
        faults::processors_stopped("host"),
        faults::application_stuck(),
        faults::agent_killed(),
        faults::user_space_starved(),
        faults::panic("host"),
        faults::processors_spinning("host"),
    ];
    assert_right::<SoftRoce>(&rows, WITHOUT_LOAD_AND_WITH);
}

#[test]
fn where_a_nic_answers_every_fault_of_the_kernel_is_laid_at_the_kernel() {
    let rows = [
        faults::processors_stopped("kernel"),
        faults::one_processor_stuck(),
        faults::panic("kernel"),
        faults::processors_spinning("kernel"),
    ];
    assert_right::<OutsideNic>(&rows, WITHOUT_LOAD_AND_WITH);
}

#[test]
fn nobody_is_accused_behind_a_path_that_loses() {
    // In a lab of its own: monitors remember for long how much a path lost, and are slower to accuse.
    let rows = [
        faults::path_loses::<1>("1 % of what the target sends is lost"),
        faults::path_loses::<10>("10 % of what the target sends is lost"),
        faults::path_loses::<30>("30 % of what the target sends is lost"),
    ];
    assert_right::<SoftRoce>(&rows, &[false]);
}
