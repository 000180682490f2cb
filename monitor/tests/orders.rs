//! Orders to a sampler, against a simulated machine under a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_monitor::repair::Outcome;
use backdoors_monitor::sampler::{Order, OrderError, OrderReply, Request, Wanted};
use backdoors_sensor_box::{Command, Opcode, Refusal};
use simulation::Simulation;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A simulation whose monitor has connected, with ten processes of user 1000.
fn connected() -> Simulation {
    let mut simulation = Simulation::new("");
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

fn order(simulation: &mut Simulation, command: Command) -> Receiver<Result<OrderReply, OrderError>> {
    let (reply, answer) = sync_channel(1);
    simulation.sampler.request(Request::Order(Order {
        wanted: Wanted::Command { command, grace: Duration::ZERO },
        by: "test".into(),
        reply,
    }));
    simulation.run(ms(300));
    answer
}

fn command(opcode: Opcode, subject: u32, dry_run: bool) -> Command {
    Command { dry_run, ..Command::new(opcode, u64::from(subject)) }
}

#[test]
fn a_dry_run_counts_and_kills_nobody() {
    let mut simulation = connected();
    let answer = order(&mut simulation, command(Opcode::KillUser, 1000, true));
    let reply = answer.recv().unwrap().unwrap();
    let Outcome::Done(view) = reply.commands[0].outcome else { panic!("{reply:?}") };
    assert_eq!((view.matched, view.signalled, reply.matching.len()), (10, 0, 10));
    assert_eq!(simulation.machine.alive(1000), 10);
    assert_eq!(simulation.take_texts()[2], "command 1: 10 would be killed, nobody was");
}

#[test]
fn a_process_is_killed_only_if_it_is_the_one_in_the_table() {
    let mut simulation = connected();
    let reply = order(&mut simulation, command(Opcode::KillProcess, 101, false)).recv().unwrap().unwrap();
    assert_eq!(reply.commands[0].command.start, 101_000);
    assert!(matches!(reply.commands[0].outcome, Outcome::Done(view) if view.signalled == 1), "{reply:?}");
    assert_eq!(simulation.machine.alive(1000), 9);
    let answer = order(&mut simulation, command(Opcode::KillProcess, 4711, false));
    assert_eq!(answer.recv().unwrap().unwrap_err(), OrderError::NoSuchProcess(4711));
}

#[test]
fn a_refusal_comes_back_with_its_reason() {
    let mut simulation = connected();
    for (ordered, expected) in [
        (command(Opcode::KillProcess, 1, false), Refusal::InitProcess),
        (command(Opcode::KillUser, 0, false), Refusal::SparedUser),
    ] {
        let reply = order(&mut simulation, ordered).recv().unwrap().unwrap();
        let Outcome::Refused(view) = reply.commands[0].outcome else { panic!("{reply:?}") };
        assert_eq!(view.reason, expected);
        assert!(simulation.take_kinds().contains(&"refused".to_owned()));
    }
}

#[test]
fn orders_are_carried_out_one_after_the_other() {
    let mut simulation = connected();
    let (reply, answers) = sync_channel(8);
    for pid in [101, 102, 103] {
        let command = command(Opcode::KillProcess, pid, false);
        simulation.sampler.request(Request::Order(Order {
            wanted: Wanted::Command { command, grace: Duration::ZERO },
            by: "test".into(),
            reply: reply.clone(),
        }));
    }
    simulation.run(ms(300));
    let sequences: Vec<u64> = (0..3)
        .map(|_| match answers.recv().unwrap().unwrap().commands[0].outcome {
            Outcome::Done(view) => view.command,
            outcome => panic!("{outcome:?}"),
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3]);
    assert_eq!(simulation.machine.alive(1000), 7);
}

#[test]
fn an_order_for_a_lost_target_fails_at_once() {
    let mut simulation = connected();
    simulation.path.set_agent_answers(false);
    simulation.path.break_connections();
    simulation.run(ms(3000));
    let answer = order(&mut simulation, command(Opcode::KillUser, 1000, false));
    assert!(matches!(answer.recv().unwrap(), Err(OrderError::Unreachable(_))));
}
