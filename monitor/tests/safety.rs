//! What keeps repairs within bounds, against a simulated machine under a clock turned by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

// Parts of it serve the other tests.
#[allow(dead_code, unused_imports)]
mod simulation;

use backdoors_healers::{Case, Culprit, Diagnosis, Evidence, Healer, Repair};
use backdoors_monitor::guard::Unsafe;
use backdoors_monitor::journal::What;
use backdoors_monitor::proposals::{NotOpen, State};
use backdoors_monitor::repair::Outcome;
use backdoors_monitor::sampler::{Order, OrderError, OrderReply, Rejection, Request, Wanted};
use backdoors_monitor::victim::Victim;
use backdoors_sensor_box::layout::{ProcessFlags, RegionKind};
use backdoors_sensor_box::{Command, LeaseWord, Opcode, SensorKind, SharedWords};
use simulation::Simulation;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

const PROPOSE: &str = "[[target.healer]]\nname = 'forkbomb'\nmode = 'propose'\ncooldown = '1s'\n";
const ACT: &str = "[[target.healer]]\nname = 'forkbomb'\nmode = 'act'\ncooldown = '1s'\n";
const BOMBER: u32 = 60001;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Has the monitor connect.
fn connect(mut simulation: Simulation) -> Simulation {
    simulation.machine.crowd(1, 1000, 10, 200);
    simulation.run(ms(500));
    assert_eq!(simulation.take_kinds(), ["connected", "lease"]);
    simulation
}

fn connected(lines: &str) -> Simulation {
    connect(Simulation::new(lines))
}

/// Kills the processes of a user who has too many one by one, the newest three first, as far as they are killable.
struct OneByOne;

impl Healer for OneByOne {
    fn name(&self) -> &'static str {
        "one-by-one"
    }

    fn watches(&self) -> &[SensorKind] {
        &[SensorKind::USER_PROCESSES]
    }

    fn examine(&mut self, case: &Case<'_>) -> Diagnosis {
        let user = case.events[0].instance;
        let mut killable: Vec<_> = case.processes.processes.iter().collect();
        killable.retain(|process| process.user == user && process.flags & ProcessFlags::PROTECTED == 0);
        let kill = |process: &&backdoors_sensor_box::Process| {
            Command::of_process(Opcode::KillProcess, process.pid, process.start)
        };
        let commands: Vec<Command> = killable.iter().rev().take(3).map(kill).collect();
        let text = format!("user {user} has {} processes", killable.len());
        let evidence =
            vec![Evidence { name: "count".into(), text, value: killable.len() as u64, limit: None }];
        let victims = commands.len() as u64;
        Diagnosis::Culprit {
            culprit: Culprit::User { user },
            evidence,
            repair: Repair::new(commands),
            victims,
        }
    }
}

fn one_by_one(lines: &str) -> Simulation {
    connect(Simulation::healed_by(lines, || Box::new(OneByOne)))
}

fn order(simulation: &mut Simulation, wanted: Wanted) -> Result<OrderReply, OrderError> {
    let (reply, answer) = sync_channel(1);
    simulation.sampler.request(Request::Order(Order { wanted, by: "test".into(), reply }));
    simulation.run(ms(300));
    answer.try_recv().unwrap()
}

fn approve(simulation: &mut Simulation, id: u64, dry_run: bool) -> Result<OrderReply, OrderError> {
    order(simulation, Wanted::Proposal { id, dry_run })
}

fn reject(simulation: &mut Simulation, id: u64) -> Result<(), NotOpen> {
    let (reply, answer) = sync_channel(1);
    simulation.sampler.request(Request::Reject(Rejection { id, by: "test".into(), reply }));
    answer.try_recv().unwrap()
}

fn kill_user(user: u32) -> Wanted {
    let opcode = Opcode::KillUser;
    Wanted::Command { command: Command::new(opcode, u64::from(user)), grace: Duration::ZERO }
}

fn proposals(simulation: &Simulation) -> Vec<(u64, State)> {
    let status = simulation.sampler.status();
    let status = status.lock().unwrap();
    status.proposals.iter().map(|proposal| (proposal.id, proposal.state)).collect()
}

/// Texts of entries of one kind.
fn of_kind(entries: &[What], kind: &str) -> Vec<String> {
    let is_it = |what: &&What| serde_json::to_value(what).unwrap()["kind"] == kind;
    entries.iter().filter(is_it).map(What::text).collect()
}

#[test]
fn a_repair_of_several_commands_is_carried_out_one_after_the_other_and_told_whole() {
    let mut simulation = one_by_one("");
    simulation.machine.crowd(20, BOMBER, 5, 4);
    simulation.run(ms(300));
    let subjects: Vec<u64> = simulation.machine.obeyed.iter().map(|command| command.subject).collect();
    assert_eq!(subjects, [124, 123, 122]);
    let entries = simulation.take();
    assert_eq!(of_kind(&entries, "repaired").len(), 3);
    assert_eq!(of_kind(&entries, "sequence-ended"), ["3 of 3 commands were carried out (by one-by-one)"]);
    let begun = |what: &What| matches!(what, What::Diagnosis { .. });
    assert!(entries.iter().position(begun).unwrap() < 2, "{entries:?}");
}

#[test]
fn the_first_command_that_is_refused_ends_the_repair() {
    let mut simulation = one_by_one("");
    simulation.machine.refused.insert(123);
    simulation.machine.crowd(20, BOMBER, 5, 4);
    simulation.run(ms(300));
    assert_eq!(simulation.machine.obeyed.len(), 1);
    let entries = simulation.take();
    assert_eq!(of_kind(&entries, "refused"), ["command 2 refused by the target: the agent itself"]);
    assert_eq!(of_kind(&entries, "sequence-ended"), ["1 of 3 commands were carried out (by one-by-one)"]);
    // Whom nobody struck is not left alone: the next repair names them again.
    simulation.machine.refused.clear();
    simulation.machine.crowd(40, BOMBER, 1, 4);
    simulation.run(ms(2500));
    let subjects: Vec<u64> = simulation.machine.obeyed.iter().map(|command| command.subject).collect();
    assert_eq!(subjects, [124, 140, 123, 122]);
}

#[test]
fn all_healers_together_make_no_more_repairs_in_a_minute_than_the_budget_has() {
    let mut simulation = one_by_one("budget = { repairs_per_minute = 2 }\n");
    simulation.machine.crowd(20, BOMBER, 30, 4);
    simulation.run(ms(50_000));
    assert_eq!(simulation.machine.obeyed.len(), 6);
    let withheld = of_kind(&simulation.take(), "withheld");
    assert_eq!(withheld.len(), 1, "{withheld:?}");
    assert!(withheld[0].contains("2 repairs were begun within a minute"), "{withheld:?}");
    simulation.run(ms(20_000));
    assert_eq!(simulation.machine.obeyed.len(), 12);
}

#[test]
fn what_would_kill_too_many_is_withheld_once_and_can_be_approved() {
    let mut simulation = connected(&format!("budget = {{ victims_per_minute = 10 }}\n{ACT}"));
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(10_000));
    assert_eq!(simulation.machine.alive(BOMBER), 30);
    let entries = simulation.take();
    let withheld = of_kind(&entries, "withheld");
    assert_eq!(withheld.len(), 1, "{withheld:?}");
    assert!(withheld[0].ends_with("it is proposal 1"), "{withheld:?}");
    assert!(
        withheld[0].contains("it has 30 victims, and 10 of 10 victims a minute are left"),
        "{withheld:?}"
    );
    assert_eq!(of_kind(&entries, "diagnosis").len(), 1);
    let reply = approve(&mut simulation, 1, false).unwrap();
    assert!(matches!(reply.commands[0].outcome, Outcome::Done(view) if view.signalled == 30));
    assert_eq!(proposals(&simulation), [(1, State::Approved)]);
}

#[test]
fn a_command_is_bounded_on_the_target_by_what_is_left_of_the_budget() {
    let mut simulation = connected(&format!("budget = {{ victims_per_minute = 35 }}\n{ACT}"));
    simulation.machine.crowd(20, BOMBER, 30, 20);
    // The bomb grows between the look at it and the blow.
    simulation.machine.deaf = true;
    simulation.run(ms(200));
    simulation.machine.crowd(50, BOMBER, 10, 20);
    simulation.machine.deaf = false;
    simulation.run(ms(500));
    assert_eq!(simulation.machine.alive(BOMBER), 5);
    let entries = simulation.take();
    assert_eq!(of_kind(&entries, "gave-up").len(), 1);
    assert_eq!(of_kind(&entries, "unkillable").len(), 0, "nobody signalled those");
}

#[test]
fn a_victim_is_not_struck_again_within_its_cooldown_but_a_human_may() {
    let mut simulation = connected(&format!("budget = {{ victim_cooldown = '10s' }}\n{ACT}"));
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    simulation.take();
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(9000));
    assert_eq!(simulation.machine.alive(BOMBER), 30);
    let withheld = of_kind(&simulation.take(), "withheld");
    assert_eq!(withheld.len(), 1, "{withheld:?}");
    assert!(withheld[0].contains("user 60001 was struck less than 10 s ago"), "{withheld:?}");
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
    // When its time has come the healer does it, and the proposal is over.
    simulation.run(ms(3000));
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    assert_eq!(proposals(&simulation), [(1, State::Overtaken)]);
    // What a human orders is not bound, and counts.
    simulation.machine.crowd(20, BOMBER, 30, 20);
    order(&mut simulation, kill_user(BOMBER)).unwrap();
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(9000));
    assert_eq!(simulation.machine.alive(BOMBER), 30);
}

#[test]
fn whoever_is_on_the_spare_list_is_struck_by_no_healer_and_cannot_be_approved() {
    for spare in ["users = [60001]", "commands = ['sh']"] {
        let mut simulation = connected(&format!("spare = {{ {spare} }}\n{ACT}"));
        simulation.machine.crowd(20, BOMBER, 30, 20);
        simulation.run(ms(10_000));
        assert_eq!(simulation.machine.alive(BOMBER), 30);
        let withheld = of_kind(&simulation.take(), "withheld");
        assert_eq!(withheld.len(), 1, "{withheld:?}");
        assert!(withheld[0].contains("on the spare list"), "{withheld:?}");
        assert_eq!(proposals(&simulation), []);
    }
}

#[test]
fn the_same_culprit_found_again_is_the_same_proposal_until_it_is_not_confirmed_any_more() {
    let mut simulation = connected(&format!("proposal_lifetime = '20s'\n{PROPOSE}"));
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(30_000));
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
    let entries = simulation.take();
    assert_eq!(
        of_kind(&entries, "proposal"),
        ["forkbomb proposes 1: backdoors heal web1 --uid 60001; to have it done: backdoors approve web1 1"]
    );
    (20..50).for_each(|index| simulation.machine.bury(index));
    simulation.run(ms(25_000));
    assert_eq!(proposals(&simulation), [(1, State::Expired)]);
    assert_eq!(of_kind(&simulation.take(), "proposal-ended"), ["proposal 1 is expired"]);
    let over = OrderError::NotOpen(NotOpen::Over { id: 1, state: State::Expired });
    assert_eq!(approve(&mut simulation, 1, false).unwrap_err(), over);
}

#[test]
fn a_proposal_is_tried_dry_then_approved_and_only_once() {
    let mut simulation = connected(PROPOSE);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    let reply = approve(&mut simulation, 1, true).unwrap();
    assert_eq!((reply.matching.len(), simulation.machine.alive(BOMBER)), (30, 30));
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
    approve(&mut simulation, 1, false).unwrap();
    assert_eq!(simulation.machine.alive(BOMBER), 0);
    let again = approve(&mut simulation, 1, false).unwrap_err();
    assert_eq!(again, OrderError::NotOpen(NotOpen::Over { id: 1, state: State::Approved }));
}

#[test]
fn a_culprit_that_is_gone_or_another_one_by_now_is_not_struck() {
    let mut simulation = connected(PROPOSE);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    (20..50).for_each(|index| simulation.machine.bury(index));
    let told = approve(&mut simulation, 1, false).unwrap_err();
    assert_eq!(told, OrderError::Unsafe { id: 1, reason: Unsafe::NoProcess(Victim::User(BOMBER)) });

    let mut simulation = one_by_one("budget = { repairs_per_minute = 1 }\n");
    simulation.machine.crowd(20, BOMBER, 9, 4);
    simulation.run(ms(2000));
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
    // Process 125 ends, and another one gets its number.
    simulation.machine.put_started(25, 125, BOMBER, 77);
    let told = approve(&mut simulation, 1, false).unwrap_err();
    assert_eq!(told, OrderError::Unsafe { id: 1, reason: Unsafe::Unknown(125) });
    assert_eq!(simulation.machine.obeyed.len(), 3);
    let reason = "not begun: backdoors approve web1 1 (by test): proposal 1 cannot be carried out any more: process \
                  125 is not in the process table, or started at another time; nothing was written";
    assert_eq!(of_kind(&simulation.take(), "not-begun"), [reason]);
}

#[test]
fn a_rejected_proposal_is_not_made_again_and_not_done_either() {
    for mode in [PROPOSE, ACT] {
        let lines = format!("budget = {{ victims_per_minute = 25 }}\n{mode}");
        let mut simulation = connected(&lines);
        simulation.machine.crowd(20, BOMBER, 30, 20);
        simulation.run(ms(300));
        reject(&mut simulation, 1).unwrap();
        assert_eq!(reject(&mut simulation, 2), Err(NotOpen::Unknown(2)));
        simulation.take();
        // Now it would fit into the budget.
        (20..28).for_each(|index| simulation.machine.bury(index));
        simulation.run(ms(10_000));
        assert_eq!(simulation.machine.alive(BOMBER), 22);
        assert_eq!(proposals(&simulation), [(1, State::Rejected)]);
        let withheld = of_kind(&simulation.take(), "withheld");
        assert_eq!(withheld.len(), 1, "{withheld:?}");
        assert!(withheld[0].contains("proposal 1 of the same was rejected"), "{withheld:?}");
    }
}

#[test]
fn a_proposal_is_withdrawn_when_nobody_is_blamed_any_more() {
    let mut simulation = connected(&format!("limits = {{ processes = 20 }}\n{PROPOSE}least_share = 0.6\n"));
    simulation.machine.crowd(20, BOMBER, 30, 200);
    simulation.run(ms(300));
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
    simulation.machine.crowd(100, 1001, 40, 200);
    simulation.run(ms(3000));
    assert_eq!(proposals(&simulation), [(1, State::Withdrawn)]);
}

#[test]
fn who_does_not_hold_the_lease_approves_nothing() {
    let mut simulation = connected(PROPOSE);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    let words = simulation.machine.region(RegionKind::LEASE).0;
    let held = LeaseWord::from_word(words.load(0));
    words.store(0, held.taken_by(5).word());
    simulation.run(ms(300));
    assert_eq!(approve(&mut simulation, 1, false).unwrap_err(), OrderError::NotTheHolder(5));
    assert_eq!(proposals(&simulation), [(1, State::Open)]);
}

#[test]
fn victims_that_do_not_die_are_told_once_and_left_alone() {
    let lines = format!("budget = {{ victim_cooldown = '0s', unkillable_cooldown = '30s' }}\n{ACT}");
    let mut simulation = connected(&lines);
    simulation.machine.immortal = (120..142).collect();
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(25_000));
    assert_eq!(simulation.machine.obeyed.len(), 1, "they are struck once");
    let entries = simulation.take();
    let told = of_kind(&entries, "unkillable");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("command 1 killed 120 sh, 121 sh, "), "{told:?}");
    assert!(
        told[0].ends_with(" and 14 more, and they do not die; healers leave them alone for 30 s"),
        "{told:?}"
    );
    assert_eq!(of_kind(&entries, "gave-up").len(), 1);
    // Forkbomb is shown that there is nobody left that can be killed.
    assert_eq!(of_kind(&entries, "nothing-found").len(), 1);
    assert_eq!(of_kind(&entries, "diagnosis").len(), 1);
    simulation.run(ms(10_000));
    assert_eq!(simulation.machine.obeyed.len(), 2, "their time is over");
}

#[test]
fn a_healer_turns_to_others_when_its_victims_do_not_die() {
    let mut simulation = one_by_one("");
    simulation.machine.immortal = [128, 127].into();
    simulation.machine.crowd(20, BOMBER, 9, 5);
    simulation.run(ms(10_000));
    let subjects: Vec<u64> = simulation.machine.obeyed.iter().map(|command| command.subject).collect();
    assert_eq!(subjects, [128, 127, 126, 125, 124, 123]);
    assert_eq!(of_kind(&simulation.take(), "unkillable").len(), 2);
    assert_eq!(simulation.machine.alive(BOMBER), 5);
}

#[test]
fn who_is_on_the_bench_is_not_struck_whatever_a_healer_says() {
    /// Does not care what is protected.
    struct Stubborn;

    impl Healer for Stubborn {
        fn name(&self) -> &'static str {
            "stubborn"
        }

        fn watches(&self) -> &[SensorKind] {
            &[SensorKind::USER_PROCESSES]
        }

        fn examine(&mut self, _: &Case<'_>) -> Diagnosis {
            let command = Command::new(Opcode::KillUser, u64::from(BOMBER));
            let (culprit, repair) = (Culprit::User { user: BOMBER }, Repair::one(command));
            Diagnosis::Culprit { culprit, evidence: Vec::new(), repair, victims: 9 }
        }
    }

    let lines = "budget = { victim_cooldown = '0s' }\n";
    let mut simulation = connect(Simulation::healed_by(lines, || Box::new(Stubborn)));
    simulation.machine.immortal = (120..129).collect();
    simulation.machine.crowd(20, BOMBER, 9, 4);
    simulation.run(ms(20_000));
    assert_eq!(simulation.machine.obeyed.len(), 1);
    let withheld = of_kind(&simulation.take(), "withheld");
    assert_eq!(withheld.len(), 1, "{withheld:?}");
    assert!(withheld[0].contains("user 60001 was killed before and did not die"), "{withheld:?}");
    // With somebody else to kill it is another matter.
    simulation.machine.crowd(40, BOMBER, 3, 4);
    simulation.run(ms(2000));
    assert_eq!((simulation.machine.obeyed.len(), simulation.machine.alive(BOMBER)), (2, 9));
}

#[test]
fn every_word_and_deed_is_in_the_journal_with_what_it_was_based_on() {
    let mut told: Vec<What> = Vec::new();
    // Proposed, tried dry, approved; another one rejected; one expired.
    let lines = format!("proposal_lifetime = '20s'\n{PROPOSE}");
    let mut simulation = connected(&lines);
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(300));
    approve(&mut simulation, 1, true).unwrap();
    approve(&mut simulation, 1, false).unwrap();
    approve(&mut simulation, 1, false).unwrap_err();
    simulation.machine.crowd(20, BOMBER, 30, 20);
    simulation.run(ms(3000));
    reject(&mut simulation, 2).unwrap();
    simulation.run(ms(25_000));
    (20..50).for_each(|index| simulation.machine.bury(index));
    simulation.run(ms(25_000));
    told.extend(simulation.take());
    // Refused by the target, withheld, without end, and of several commands.
    let mut simulation = one_by_one("patience = '300ms'\nbudget = { repairs_per_minute = 4 }\n");
    simulation.machine.immortal = [148].into();
    simulation.machine.refused.insert(147);
    simulation.machine.crowd(20, BOMBER, 29, 4);
    simulation.run(ms(1500));
    simulation.machine.deaf = true;
    simulation.run(ms(4000));
    told.extend(simulation.take());
    // With grace.
    let mut simulation = connected("");
    let command = Command::new(Opcode::KillUser, 1000);
    order(&mut simulation, Wanted::Command { command, grace: ms(100) }).unwrap();
    told.extend(simulation.take());
    // In doubt.
    let mut simulation = connected("");
    simulation.machine.deaf = true;
    let (reply, _) = sync_channel(1);
    let order = Order { wanted: kill_user(BOMBER), by: "test".into(), reply };
    simulation.sampler.request(Request::Order(order));
    simulation.run(ms(100));
    simulation.restart_agent();
    simulation.run(ms(1000));
    told.extend(simulation.take());

    let mut kinds: Vec<String> = Vec::new();
    for what in &told {
        let json = serde_json::to_value(what).unwrap();
        let kind = json["kind"].as_str().unwrap().to_owned();
        if matches!(kind.as_str(), "diagnosis" | "approved") {
            assert!(!json["evidence"][0]["text"].as_str().unwrap().is_empty(), "{json}");
        }
        kinds.push(kind);
    }
    // Rules, and sessions that go on elsewhere, are told by tests of their own.
    for kind in What::AUDIT
        .iter()
        .filter(|kind| !["rule", "sessions-recovered", "fenced", "fence-lifted"].contains(kind))
    {
        assert!(kinds.iter().any(|told| told == kind), "no {kind}: {kinds:?}");
    }
    // Nothing is written before it was told why.
    let written = kinds.iter().position(|kind| kind == "command-written").unwrap();
    let why = kinds.iter().position(|kind| kind == "approved").unwrap();
    assert!(why < written);
}
