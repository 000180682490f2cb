//! Programs of both hosts are frozen, killed and started again, and the rest goes on.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::{Pair, Trio};
use serde_json::Value;
use std::time::Duration;

/// A user of the target; no others on the machine have this number.
const USER: u32 = 61_101;
const PATIENCE: Duration = Duration::from_secs(30);
/// What is younger than this was sampled just now, at a period of 20 ms, also on a busy machine.
const FRESH: u64 = 2_000_000_000;

fn monitored(pair: &Pair) -> Deployment<'_, Host> {
    let mut plan = plan("emulated", "");
    plan.agent = "scope = \"pid-namespace\"\n[limits]\n\"agent.heartbeat\" = 500000000\n".to_owned();
    plan.watch = "period = \"20ms\"\nlost_after = \"500ms\"\n".to_owned();
    plan.healers.clear();
    let mut deployment = pair.install(plan).unwrap();
    deployment.start_daemon().unwrap();
    deployment
}

fn sensor(deployment: &Deployment<'_, Host>, name: &str) -> (Value, u64) {
    let answer = deployment.json("sensors target").unwrap();
    let row = answer["sensors"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    let value = row["value"].as_u64().unwrap();
    (answer, value)
}

/// The kernel half's timer goes on, and the monitor sees it.
fn assert_advancing(deployment: &Deployment<'_, Host>) {
    let (_, before) = sensor(deployment, "kernel.timer");
    deployment
        .target
        .wait_for("the timer to advance", PATIENCE, || {
            let (answer, value) = sensor(deployment, "kernel.timer");
            let age = answer["target"]["age_ns"].as_u64().unwrap();
            let reach = &answer["target"]["reach"];
            Ok((value > before && age < FRESH && reach == "reachable").then_some(()))
        })
        .unwrap();
}

fn generation(deployment: &Deployment<'_, Host>) -> u64 {
    deployment.json("targets").unwrap()[0]["generation"].as_u64().unwrap()
}

/// The monitor kills the processes of a user; returns the command's sequence.
fn heal(deployment: &Deployment<'_, Host>) -> u64 {
    let target = deployment.target;
    target.shell_as(USER, "sleep 1000 & sleep 1000 & wait").unwrap();
    let alive = |wanted| move || Ok((target.processes_of(USER)? == wanted).then_some(()));
    target.wait_for("victims", PATIENCE, alive(3)).unwrap();
    let answer = deployment.json(&format!("heal target --uid {USER}")).unwrap();
    assert_eq!((&answer["outcome"], &answer["end"]["remaining"]), (&"done".into(), &0.into()), "{answer}");
    target.wait_for("their end", PATIENCE, alive(0)).unwrap();
    answer["end"]["sequence"].as_u64().unwrap()
}

fn wait_for_heartbeat(deployment: &Deployment<'_, Host>, kind: &str, from: usize) {
    deployment
        .monitor
        .wait_for(kind, PATIENCE, || {
            let journal = deployment.journal()?;
            let is_it = |entry: &&Value| entry["kind"] == kind && entry["sensor"] == "agent.heartbeat";
            Ok(journal.iter().skip(from).find(is_it).map(drop))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", deployment.logs()));
}

fn kinds(deployment: &Deployment<'_, Host>, from: usize) -> Vec<String> {
    let journal = deployment.journal().unwrap();
    journal.iter().skip(from).map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_frozen_agent_is_noticed_by_its_heart_and_everything_else_goes_on() {
    let pair = Pair::boot(200).unwrap();
    let deployment = monitored(&pair);
    let known = deployment.journal().unwrap().len();
    deployment.freeze_agent().unwrap();
    wait_for_heartbeat(&deployment, "event", known);
    let (answer, _) = sensor(&deployment, "agent.heartbeat");
    assert_eq!(answer["target"]["exceeded"], serde_json::json!(["agent.heartbeat"]));
    assert_advancing(&deployment);
    heal(&deployment);
    deployment.target.signal("CONT", deployment.agent).unwrap();
    wait_for_heartbeat(&deployment, "cleared", known);
}

#[test]
fn a_killed_agent_leaves_everything_at_work_and_the_next_one_takes_it_up() {
    let pair = Pair::boot(200).unwrap();
    let mut deployment = monitored(&pair);
    let (made, known) = (generation(&deployment), deployment.journal().unwrap().len());
    deployment.end("KILL", deployment.agent).unwrap();
    wait_for_heartbeat(&deployment, "event", known);
    assert_advancing(&deployment);
    let first = heal(&deployment);

    deployment.start_agent().unwrap();
    wait_for_heartbeat(&deployment, "cleared", known);
    assert_eq!(generation(&deployment), made);
    assert_eq!(heal(&deployment), first + 1);
    let kinds = kinds(&deployment, known);
    let unwanted = ["lost", "made-anew", "connected", "recovered"];
    assert!(kinds.iter().all(|kind| !unwanted.contains(&kind.as_str())), "{kinds:?}");
}

#[test]
fn an_agent_that_was_stopped_begins_anew_and_the_monitor_comes_back_by_itself() {
    let pair = Pair::boot(200).unwrap();
    let mut deployment = monitored(&pair);
    let (made, known) = (generation(&deployment), deployment.journal().unwrap().len());
    deployment.end("TERM", deployment.agent).unwrap();
    deployment.wait_for_entry("lost", known, PATIENCE).unwrap();
    deployment.start_agent().unwrap();
    deployment.wait_for_entry("recovered", known, PATIENCE).unwrap();
    let anew = deployment.wait_for_entry("made-anew", known, PATIENCE).unwrap();
    assert_eq!(anew["generation"], generation(&deployment));
    assert_ne!(generation(&deployment), made);
    assert_advancing(&deployment);
    assert_eq!(heal(&deployment), 1);
}

#[test]
fn a_monitor_that_starts_anew_goes_on_with_the_next_sequence() {
    let pair = Pair::boot(200).unwrap();
    let mut deployment = monitored(&pair);
    let first = heal(&deployment);
    deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
    let known = deployment.journal().unwrap().len();
    deployment.monitor.signal("KILL", deployment.daemon()).unwrap();
    let daemon = format!("test -d /proc/{}", deployment.daemon());
    let gone = || Ok(deployment.monitor.shell(&daemon).is_err().then_some(()));
    deployment.monitor.wait_for("the daemon's end", PATIENCE, gone).unwrap();
    deployment.start_daemon().unwrap();
    assert_eq!(heal(&deployment), first + 1);
    deployment.wait_for_entry("repaired", known, PATIENCE).unwrap();
    // Whether it goes on with its lease or takes it anew depends on how long it was gone.
    let kinds: Vec<String> = kinds(&deployment, known).into_iter().filter(|kind| kind != "lease").collect();
    assert_eq!(kinds, ["connected", "command-written", "acknowledged", "repaired"]);
    assert_advancing(&deployment);
}

#[test]
fn a_target_without_its_owner_of_memory_is_lost_until_both_are_started_again() {
    let pair = Pair::boot(200).unwrap();
    let mut deployment = monitored(&pair);
    let known = deployment.journal().unwrap().len();
    deployment.end("KILL", deployment.owner).unwrap();
    let lost = deployment.wait_for_entry("lost", known, PATIENCE).unwrap();
    assert!(!lost["reason"].as_str().unwrap().is_empty(), "{lost}");
    deployment.end("KILL", deployment.agent).unwrap();
    deployment.start_owner().unwrap();
    deployment.start_agent().unwrap();
    deployment.wait_for_entry("recovered", known, PATIENCE).unwrap();
    assert_advancing(&deployment);
    heal(&deployment);
}

#[test]
fn an_agent_hands_its_memory_to_an_owner_that_was_started_again() {
    let pair = Pair::boot(200).unwrap();
    let mut deployment = monitored(&pair);
    let (made, known) = (generation(&deployment), deployment.journal().unwrap().len());
    deployment.end("KILL", deployment.owner).unwrap();
    deployment.wait_for_entry("lost", known, PATIENCE).unwrap();
    deployment.start_owner().unwrap();
    deployment.wait_for_entry("recovered", known, PATIENCE).unwrap();
    assert_eq!(generation(&deployment), made);
    assert_advancing(&deployment);
    heal(&deployment);
}

#[test]
fn two_monitors_watch_one_target_and_the_one_goes_on_without_the_other() {
    let trio = Trio::boot(200).unwrap();
    let mut deployment = trio.install(plan("emulated", "")).unwrap();
    deployment.start_daemons().unwrap();
    deployment.monitor.signal("KILL", deployment.daemon()).unwrap();
    let second = &deployment.watchers[1];
    let timer = || -> u64 {
        let answer = second.json("sensors target").unwrap();
        let rows = answer["sensors"].as_array().unwrap().clone();
        rows.iter().find(|row| row["name"] == "kernel.timer").unwrap()["value"].as_u64().unwrap()
    };
    let before = timer();
    let later = || Ok((timer() > before + 1000).then_some(()));
    second.machine.wait_for("the timer to go on", PATIENCE, later).unwrap();
}
