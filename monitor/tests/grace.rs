//! Grace, and commands that do not kill, against a simulated machine under a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_healers::{Case, Culprit, Diagnosis, Evidence, Healer, Repair};
use backdoors_monitor::journal::What;
use backdoors_monitor::repair::Outcome;
use backdoors_monitor::sampler::{Order, OrderError, OrderReply, Request, Wanted};
use backdoors_sensor_box::{Command, Opcode, Refusal, SensorKind};
use simulation::Simulation;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const BOMBER: u32 = 60001;
const RUNAWAY: &str = "[[target.healer]]\nname = 'runaway'\nmode = 'act'\nfor = '2s'\nspare_below = 100\n";

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Kills all processes of a user who has too many, and can wait.
struct KillsCrowds;

impl Healer for KillsCrowds {
    fn name(&self) -> &'static str {
        "kills-crowds"
    }

    fn watches(&self) -> &[SensorKind] {
        &[SensorKind::USER_PROCESSES]
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        let user = case.events[0].instance;
        let evidence = vec![Evidence { name: "crowd".into(), text: "a crowd".into(), value: 1, limit: None }];
        let repair = Repair::one(Command::new(Opcode::KillUser, u64::from(user)));
        Diagnosis::Culprit { culprit: Culprit::User { user }, evidence, repair, victims: 1 }
    }
}

/// A simulation whose monitor has connected, with ten processes of user 1000.
fn connected(lines: &str) -> Simulation {
    connect(Simulation::new(lines))
}

fn connect(mut simulation: Simulation) -> Simulation {
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

fn order(simulation: &mut Simulation, command: Command, grace: Duration) -> Result<OrderReply, OrderError> {
    let (reply, answer) = sync_channel(1);
    let wanted = Wanted::Command { command, grace };
    simulation.sampler.request(Request::Order(Order { wanted, by: "test".into(), reply }));
    simulation.run(grace + ms(500));
    answer.try_recv().unwrap()
}

fn obeyed(simulation: &Simulation) -> Vec<(Opcode, u64)> {
    let of = |command: &backdoors_sensor_box::layout::CommandSlot| {
        (Opcode::from_number(command.opcode).unwrap(), command.subject)
    };
    simulation.machine.obeyed.iter().map(of).collect()
}

fn of_kind(entries: &[What], kind: &str) -> Vec<String> {
    let is_it = |what: &&What| serde_json::to_value(what).unwrap()["kind"] == kind;
    entries.iter().filter(is_it).map(What::text).collect()
}

#[test]
fn who_ends_by_itself_is_not_killed() {
    let mut simulation = connected("");
    let reply = order(&mut simulation, Command::new(Opcode::KillUser, 1000), ms(2000)).unwrap();
    assert_eq!(obeyed(&simulation), [(Opcode::SignalUser, 1000)]);
    assert_eq!(simulation.machine.alive(1000), 0);
    assert_eq!((reply.asked, reply.commands.len(), reply.waited.unwrap().left), (1, 1, Some(0)));
    assert!(reply.took < ms(300), "{:?}", reply.took);
    let entries = simulation.take();
    let told = of_kind(&entries, "grace-ended");
    assert!(told[0].starts_with("nobody is left to be killed after 10"), "{told:?}");
}

#[test]
fn who_does_not_end_in_time_is_killed() {
    let mut simulation = connected("");
    simulation.machine.stubborn.extend([103, 104]);
    let reply = order(&mut simulation, Command::new(Opcode::KillUser, 1000), ms(2000)).unwrap();
    assert_eq!(obeyed(&simulation), [(Opcode::SignalUser, 1000), (Opcode::KillUser, 1000)]);
    assert_eq!(simulation.machine.alive(1000), 0);
    assert_eq!((reply.asked, reply.waited.unwrap().left), (2, Some(2)));
    assert!(reply.took >= ms(2000), "{:?}", reply.took);
    let told = of_kind(&simulation.take(), "grace-ended");
    assert!(told[0].starts_with("2 are left after 2000"), "{told:?}");
}

#[test]
fn the_stubborn_children_of_one_that_ends_are_killed_one_by_one() {
    let mut simulation = connected("");
    simulation.machine.put(20, 300, 1, 1001, 2, "sh");
    simulation.machine.put(21, 301, 300, 1001, 3, "sh");
    simulation.machine.put(22, 302, 300, 1001, 3, "sh");
    simulation.machine.stubborn.extend([301, 302]);
    order(&mut simulation, Command::new(Opcode::KillTree, 300), ms(1000)).unwrap();
    assert_eq!(
        obeyed(&simulation),
        [(Opcode::SignalTree, 300), (Opcode::KillProcess, 301), (Opcode::KillProcess, 302)]
    );
    assert_eq!(simulation.machine.alive(1001), 0);
}

#[test]
fn where_signals_are_forbidden_the_kill_is_not_put_off() {
    let mut simulation = connected("");
    simulation.machine.forbidden.insert(Opcode::SignalProcess as u32);
    let reply = order(&mut simulation, Command::new(Opcode::KillProcess, 101), ms(2000)).unwrap();
    assert_eq!(obeyed(&simulation), [(Opcode::KillProcess, 101)]);
    assert!(reply.took < ms(300) && reply.waited.is_none(), "{reply:?}");
}

/// Has the process with this index spin until a healer has looked at it for long enough.
fn spin(simulation: &mut Simulation, index: usize) {
    let before = simulation.machine.alive(1000);
    for tenth in 0..60 {
        if simulation.machine.alive(1000) == before {
            simulation.machine.use_processor(index, ms(100 * tenth));
        }
        simulation.run(ms(100));
    }
}

#[test]
fn a_healer_that_can_wait_gives_notice_and_its_orders_say_so() {
    let mut simulation = connected(RUNAWAY);
    spin(&mut simulation, 2);
    assert_eq!(obeyed(&simulation), [(Opcode::SignalProcess, 102)]);
    assert_eq!(simulation.machine.alive(1000), 9);
    let mut impatient = connected(&format!("{RUNAWAY}grace = '0s'\n"));
    spin(&mut impatient, 2);
    assert_eq!(obeyed(&impatient), [(Opcode::KillProcess, 102)]);
}

#[test]
fn a_proposal_is_approved_with_the_grace_that_it_shows() {
    let mut simulation = connected(&RUNAWAY.replace("act", "propose"));
    simulation.machine.stubborn.insert(102);
    spin(&mut simulation, 2);
    let proposals = of_kind(&simulation.take(), "proposal");
    assert!(proposals[0].contains("backdoors heal web1 --pid 102 --grace 2s"), "{proposals:?}");
    let id = simulation.sampler.status().lock().unwrap().proposals[0].id;
    let (reply, answer) = sync_channel(1);
    let wanted = Wanted::Proposal { id, dry_run: false };
    simulation.sampler.request(Request::Order(Order { wanted, by: "test".into(), reply }));
    simulation.run(ms(2500));
    let reply = answer.try_recv().unwrap().unwrap();
    assert_eq!(obeyed(&simulation), [(Opcode::SignalProcess, 102), (Opcode::KillProcess, 102)]);
    assert_eq!(reply.waited.unwrap().left, Some(1));
}

#[test]
fn who_is_to_be_spared_and_comes_during_the_grace_saves_the_rest() {
    let spare = "[target.spare]\ncommands = ['postgres']\n";
    let mut simulation = connect(Simulation::healed_gently_by(spare, || Box::new(KillsCrowds), ms(2000)));
    simulation.machine.stubborn.insert(120);
    simulation.machine.crowd(20, BOMBER, 2, 1);
    simulation.run(ms(500));
    assert_eq!(obeyed(&simulation), [(Opcode::SignalUser, u64::from(BOMBER))]);
    simulation.machine.put(30, 500, 1, BOMBER, 3, "postgres");
    simulation.run(ms(3000));
    assert_eq!(obeyed(&simulation).len(), 1);
    assert_eq!(simulation.machine.alive(BOMBER), 2);
    let told = of_kind(&simulation.take(), "withheld");
    assert!(told[0].contains("includes process 500 postgres, which is on the spare list"), "{told:?}");
}

#[test]
fn a_fork_bomb_is_never_waited_for() {
    let forkbomb = "[[target.healer]]\nname = 'forkbomb'\nmode = 'act'\ngrace = '2s'\n";
    let mut simulation = connected(forkbomb);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(400));
    assert_eq!(obeyed(&simulation), [(Opcode::KillUser, u64::from(BOMBER))]);
}

#[test]
fn a_victim_of_notice_and_kill_counts_once() {
    let budget = "[target.budget]\nvictims_per_minute = 2\n";
    let mut simulation = connected(&format!("{RUNAWAY}cooldown = '100ms'\n{budget}"));
    simulation.machine.stubborn.insert(102);
    spin(&mut simulation, 2);
    let first = [(Opcode::SignalProcess, 102), (Opcode::KillProcess, 102)];
    assert_eq!(obeyed(&simulation), first);
    assert_eq!(
        of_kind(&simulation.take(), "sequence-ended"),
        ["2 of 2 commands were carried out (by runaway)"]
    );
    // There is room for one more.
    spin(&mut simulation, 3);
    assert_eq!(obeyed(&simulation)[2..], [(Opcode::SignalProcess, 103)]);
}

#[test]
fn what_does_not_kill_is_told_as_what_it_is() {
    let mut simulation = connected("");
    (1..5).for_each(|index| simulation.machine.move_to(index, 77, "batch"));
    let signal = Command { argument: 19, ..Command::new(Opcode::SignalCgroup, 77) };
    let reply = order(&mut simulation, signal, Duration::ZERO).unwrap();
    assert!(matches!(reply.commands[0].outcome, Outcome::Done(view) if view.signalled == 4), "{reply:?}");
    order(&mut simulation, Command::new(Opcode::FreezeCgroup, 77), Duration::ZERO).unwrap();
    assert_eq!(simulation.machine.alive(1000), 10);
    let told = of_kind(&simulation.take(), "repaired");
    assert!(told[0].starts_with("command 1 done: 4 matched, 4 signals; "), "{told:?}");
    assert!(
        told[1].starts_with("command 2 done: ") && told[1].ends_with(" ms from decision to end"),
        "{told:?}"
    );
    assert!(!told.iter().any(|text| text.contains("die")), "{told:?}");
}

#[test]
fn what_was_tried_and_failed_is_told_with_what_the_system_said() {
    let mut simulation = connected("");
    simulation.machine.move_to(1, 77, "batch");
    simulation.machine.failure = Some(2);
    let reply = order(&mut simulation, Command::new(Opcode::FreezeCgroup, 77), Duration::ZERO).unwrap();
    assert!(matches!(reply.commands[0].outcome, Outcome::Refused(view) if view.reason == Refusal::Failed));
    assert_eq!(
        of_kind(&simulation.take(), "refused"),
        ["command 1 refused by the target: it was tried and failed: No such file or directory (os error 2)"]
    );
}
