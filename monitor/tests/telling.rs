//! What a monitor has a target's own audit ring told, against a simulated machine under a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::sampler::{Order, Rejection, Request, Wanted};
use backdoors_sensor_box::layout::CommandSlot;
use backdoors_sensor_box::{Command, Opcode};
use simulation::Simulation;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const BOMBER: u32 = 60001;

fn healer(mode: &str) -> String {
    format!("[[target.healer]]\nname = 'forkbomb'\nmode = '{mode}'\ncooldown = '1s'\n")
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A monitor that holds the lease of a machine which keeps a record, or keeps none.
fn connected(lines: &str, keeps: bool) -> Simulation {
    let mut simulation = Simulation::new(lines);
    if keeps {
        simulation.machine.keep_record();
        simulation.path.serve(&simulation.machine);
    }
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

fn text(command: &CommandSlot) -> String {
    String::from_utf8_lossy(&command.reason).trim_end_matches('\0').to_owned()
}

/// The reasons of those that do nothing, and the opcodes of the others, in the order in which they were obeyed.
fn obeyed(simulation: &Simulation) -> Vec<String> {
    let name = |opcode: u32| Opcode::from_number(opcode).unwrap();
    let told = |command: &CommandSlot| match name(command.opcode) {
        Opcode::Nothing => text(command),
        opcode => opcode.to_string(),
    };
    simulation.machine.obeyed.iter().map(told).collect()
}

#[test]
fn a_proposal_is_told_once_with_its_evidence_and_the_journal_has_no_line_of_that() {
    let mut simulation = connected(&healer("propose"), true);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(10_000));
    let told = obeyed(&simulation);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert!(told.starts_with("proposal 1 of forkbomb: user 60001: "), "{told}");
    assert!(told.contains("30"), "{told}");
    assert_eq!(simulation.take_kinds(), ["event", "diagnosis", "proposal"]);
}

#[test]
fn what_is_only_observed_and_what_is_withheld_is_told() {
    let mut simulation = connected(&healer("observe"), true);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(3000));
    let told = obeyed(&simulation);
    assert!(told.len() == 1 && told[0].starts_with("observed: forkbomb: user 60001: "), "{told:?}");
    let mut simulation = connected(&healer("propose"), true);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    let id = simulation.sampler.status().lock().unwrap().proposals[0].id;
    let (reply, answer) = sync_channel(1);
    simulation.sampler.request(Request::Reject(Rejection { id, by: "test".into(), reply }));
    answer.try_recv().unwrap().unwrap();
    simulation.run(ms(5000));
    let told = obeyed(&simulation);
    assert!(told.len() == 2 && told[1].starts_with("withheld: forkbomb: user 60001: "), "{told:?}");
    assert!(told[1].contains("was rejected"), "{told:?}");
}

#[test]
fn a_target_without_a_record_is_told_nothing() {
    let mut simulation = connected(&healer("propose"), false);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(3000));
    assert!(simulation.machine.slot_is_blank());
}

#[test]
fn what_is_told_keeps_a_pause_and_a_repair_comes_before_it() {
    let mut simulation = connected(&healer("propose").replace("1s", "10ms"), true);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(200));
    // Who has more is blamed.
    simulation.machine.crowd(60, 60002, 40, 20);
    simulation.run(ms(500));
    assert_eq!(obeyed(&simulation).len(), 1);
    let (reply, answer) = sync_channel(1);
    let wanted =
        Wanted::Command { command: Command::new(Opcode::KillUser, u64::from(BOMBER)), grace: Duration::ZERO };
    simulation.sampler.request(Request::Order(Order { wanted, by: "test".into(), reply }));
    simulation.run(ms(200));
    answer.try_recv().unwrap().unwrap();
    let all = obeyed(&simulation);
    assert_eq!((all.len(), all[1].as_str()), (2, "kill-user"), "{all:?}");
    simulation.run(ms(1000));
    let all = obeyed(&simulation);
    assert!(all.len() == 3 && all[2].starts_with("proposal 2 of forkbomb: user 60002: "), "{all:?}");
}

#[test]
fn a_repair_ordered_while_the_target_has_not_looked_yet_gets_a_number_of_its_own() {
    let mut simulation = connected(&healer("propose"), true);
    simulation.machine.deaf = true;
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(500));
    assert!(text(&simulation.machine.slot()).starts_with("proposal 1"), "it was written");
    let (reply, answer) = sync_channel(1);
    let wanted =
        Wanted::Command { command: Command::new(Opcode::KillUser, u64::from(BOMBER)), grace: Duration::ZERO };
    simulation.sampler.request(Request::Order(Order { wanted, by: "test".into(), reply }));
    simulation.run(ms(200));
    assert_eq!(simulation.machine.slot().opcode, Opcode::Nothing as u32);
    simulation.machine.deaf = false;
    simulation.run(ms(200));
    let all = obeyed(&simulation);
    assert_eq!((all.len(), all[1].as_str()), (2, "kill-user"), "{all:?}");
    answer.try_recv().unwrap().unwrap();
    assert_eq!(simulation.machine.alive(BOMBER), 0);
}

#[test]
fn nothing_that_is_told_outlives_a_path_that_is_gone() {
    let mut simulation = connected(&healer("propose"), true);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(100));
    let before = obeyed(&simulation);
    simulation.path.set_answers(false);
    simulation.run(ms(2000));
    simulation.path.set_answers(true);
    simulation.run(ms(5000));
    let after = obeyed(&simulation);
    assert!(after.len() <= 1 && after.starts_with(&before), "{after:?}");
}
