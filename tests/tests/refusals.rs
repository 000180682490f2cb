//! What a target must refuse, asked of it by a monitor that keeps to no rules.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_sensor_box::layout::{CommandSlot, RegionKind};
use backdoors_sensor_box::{Opcode, Refusal};
use backdoors_tests::deployment::{Deployment, Watcher};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::{Pair, Trio};
use backdoors_tests::rogue::{deed_of, order, start_as};
use serde_json::Value;
use std::time::Duration;

/// Users of the target; no others on the machine have these numbers.
const VICTIM: u32 = 61_201;
const SPARED: u32 = 61_202;
const PATIENCE: Duration = Duration::from_secs(30);
const FOLDER: &str = "/run/backdoors";

fn installed(pair: &Pair) -> Deployment<'_, Host> {
    let mut plan = plan("emulated", "");
    // Small enough to be read in one batch.
    plan.agent = format!("scope = \"pid-namespace\"\nprocess_table = 4096\nspared_users = [{SPARED}]\n");
    plan.healers.clear();
    pair.install(plan).unwrap()
}

/// Runs the rogue as `name`, with its keys in `folder`, taking the target to hold `certificate`.
fn rogue_as(
    deployment: &Deployment<'_, Host>,
    name: &str,
    folder: &str,
    certificate: &str,
    deed: &str,
) -> (i32, String) {
    let program = deployment.monitor.program("backdoors-rogue").unwrap();
    let address = deployment.target.address();
    let command = format!(
        "{program} --address {address}:7801 --certificate {certificate} --identity {folder} --name {name} {deed}"
    );
    deployment.try_monitor(&command).unwrap()
}

/// Runs the rogue with the monitor's own keys.
fn rogue(deployment: &Deployment<'_, Host>, deed: &str) -> Value {
    deed_of(deployment, deployment.first(), deed).unwrap()
}

/// Processes of the target that have come to stay, with their names.
fn lasting(host: &Host) -> Vec<String> {
    let look = || -> Vec<String> {
        let script = "for p in /proc/[0-9]*; do echo ${p#/proc/} $(cat $p/comm 2>/dev/null); done";
        host.shell(script).unwrap().lines().map(str::to_owned).collect()
    };
    let (first, second) = (look(), look());
    first.into_iter().filter(|line| second.contains(line)).collect()
}

#[test]
fn what_must_not_be_obeyed_is_refused_with_its_reason_and_harms_nobody() {
    let pair = Pair::boot(100).unwrap();
    let mut deployment = installed(&pair);
    let (victim, spared) = (start_as(&deployment, VICTIM).unwrap(), start_as(&deployment, SPARED).unwrap());
    let helper = pair.target.shell("pgrep -o -f 'backdoors-agent helper'").unwrap().trim().parse().unwrap();
    let before = lasting(&pair.target);
    assert!(before.len() >= 6, "{before:?}");

    let mut cases = vec![
        ("command --opcode 99 --subject 5".to_owned(), Refusal::UnknownOpcode),
        ("command --opcode 0".to_owned(), Refusal::UnknownOpcode),
        (order(Opcode::KillUser, 0), Refusal::SparedUser),
        (order(Opcode::KillUser, SPARED), Refusal::SparedUser),
        (format!("{} --start 1", order(Opcode::KillProcess, victim)), Refusal::OtherProcess),
        (format!("{} --start 1", order(Opcode::KillTree, victim)), Refusal::OtherProcess),
        // Sequences that are not the next one: from the future, from the past, and a replay.
        (format!("{} --step 2", order(Opcode::KillUser, VICTIM)), Refusal::StaleSequence),
        (format!("{} --step -1", order(Opcode::KillUser, VICTIM)), Refusal::StaleSequence),
        (format!("{} --step 0", order(Opcode::KillUser, VICTIM)), Refusal::StaleSequence),
    ];
    for opcode in [Opcode::KillProcess, Opcode::KillTree] {
        cases.extend([
            (order(opcode, 1), Refusal::InitProcess),
            (order(opcode, 0), Refusal::NoSuchProcess),
            (order(opcode, 4_000_000), Refusal::NoSuchProcess),
            (order(opcode, u32::MAX), Refusal::NoSuchProcess),
            // Its low half is the victim's number.
            (
                format!("command --opcode {} --subject {}", opcode as u32, (1u64 << 32) + u64::from(victim)),
                Refusal::NoSuchProcess,
            ),
            (order(opcode, deployment.agent), Refusal::Protected),
            (order(opcode, deployment.owner), Refusal::Protected),
            (order(opcode, helper), Refusal::Protected),
            (order(opcode, spared), Refusal::SparedUser),
        ]);
    }
    for (deed, reason) in &cases {
        let answer = rogue(&deployment, deed);
        assert_eq!(
            (&answer["state"], &answer["judged"]),
            (&"refused".into(), &true.into()),
            "{deed}: {answer}"
        );
        assert_eq!(answer["reason"], reason.name(), "{deed}: {answer}");
        assert_eq!(answer["signalled"], 0, "{deed}: {answer}");
        let stale = u64::from(*reason != Refusal::StaleSequence);
        let accepted = answer["accepted_before"].as_u64().unwrap() + stale;
        assert_eq!(answer["accepted"], accepted, "{deed}: {answer}");
    }
    // Written once more under the number it has already, a command is not even looked at.
    let good = order(Opcode::Nothing, 0);
    assert_eq!(rogue(&deployment, &good)["state"], "done");
    let replay = rogue(&deployment, &format!("{} --step 0", order(Opcode::KillUser, VICTIM)));
    assert_eq!((&replay["judged"], &replay["state"]), (&false.into(), &"done".into()), "{replay}");

    let after = lasting(&pair.target);
    assert!(before.iter().all(|process| after.contains(process)), "{before:?} {after:?}");

    // After all that a good command is obeyed, of the rogue and of the daemon.
    let counted = rogue(&deployment, &format!("{} --flags 1", order(Opcode::KillUser, VICTIM)));
    assert_eq!((&counted["matched"], &counted["signalled"]), (&1.into(), &0.into()), "{counted}");
    deployment.start_daemon().unwrap();
    let killed = deployment.json(&format!("heal target --pid {victim}")).unwrap();
    assert_eq!(killed["end"]["signalled"], 1, "{killed}");
    pair.target
        .wait_for("its death", PATIENCE, || Ok((pair.target.processes_of(VICTIM)? == 0).then_some(())))
        .unwrap();
}

#[test]
fn a_monitor_is_refused_that_does_not_hold_the_lease_or_slept_while_another_took_it() {
    let trio = Trio::boot(100).unwrap();
    let mut plan = plan("emulated", "");
    plan.agent = "scope = \"pid-namespace\"\n".to_owned();
    let deployment = trio.install(plan).unwrap();
    let victim = start_as(&deployment, VICTIM).unwrap();
    let deed = |watcher: &Watcher<'_, Host>, deed: &str| deed_of(&deployment, watcher, deed).unwrap();
    let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };
    let kill = order(Opcode::KillUser, VICTIM);
    let refused = |watcher: &Watcher<'_, Host>, token: u64| {
        let answer = deed(watcher, &format!("{kill} --token {token}"));
        assert_eq!((&answer["state"], &answer["signalled"]), (&"refused".into(), &0.into()), "{answer}");
        assert_eq!(answer["reason"], Refusal::NotTheHolder.name(), "{answer}");
        // It was judged, so its number is used up.
        assert_eq!(answer["accepted"], answer["sequence"], "{answer}");
    };
    // Nobody holds it yet: a token that is made up is none.
    refused(first, 0);
    refused(first, 1 << 32 | 1 << 24);
    let token = |answer: &Value| answer["token"].as_u64().unwrap();
    let before = token(&deed(first, "take-lease"));
    // While the first one sleeps, as long as it likes, the second takes over.
    let taken = token(&deed(second, "take-lease"));
    refused(first, before);
    refused(first, taken);
    refused(second, before);
    // Names itself the holder in the term of the other.
    refused(first, taken - (1 << 24));
    // The token counts no renewals.
    refused(second, taken + 1);
    assert_eq!(deed(second, &format!("{kill} --flags 1 --token {taken}"))["matched"], 1);
    // A lease that was given up, and one that came back, are other leases.
    deed(second, "release-lease");
    refused(second, taken);
    let again = token(&deed(first, "take-lease"));
    assert_ne!(again, before);
    refused(first, before);
    refused(second, taken);
    assert_eq!(trio.pair.target.processes_of(VICTIM).unwrap(), 1);
    trio.pair.target.shell(&format!("test -d /proc/{victim}")).unwrap();
    let killed = deed(first, &format!("{kill} --token {again}"));
    assert_eq!((&killed["state"], &killed["signalled"]), (&"done".into(), &1.into()), "{killed}");
}

#[test]
fn memory_is_open_only_within_its_range_by_its_key_and_to_its_right() {
    let pair = Pair::boot(100).unwrap();
    let mut deployment = installed(&pair);
    let (sensors, processes) = (RegionKind::SENSORS, RegionKind::PROCESSES);
    let (commands, acknowledgements) = (RegionKind::COMMAND, RegionKind::ACKNOWLEDGEMENTS);
    let expect = |deed: &str, outcome: &str| {
        let answer = rogue(&deployment, deed);
        assert_eq!(answer["outcome"], outcome, "`{deed}`: {answer}");
    };
    let (audit, variables) = (RegionKind::AUDIT, RegionKind::VARIABLES);
    for kind in [sensors, processes, commands, acknowledgements, audit, variables] {
        expect(&format!("read --kind {kind}"), "done");
        expect(&format!("read --kind {kind} --offset 8"), "denied");
        expect(&format!("read --kind {kind} --offset -8 --length 8"), "denied");
        expect(&format!("read --kind {kind} --offset {} --length 8", 1u64 << 40), "denied");
        expect(&format!("read --kind {kind} --length 8 --twist 1"), "denied");
    }
    for kind in [sensors, processes, acknowledgements, audit, variables] {
        expect(&format!("write --kind {kind} --length 8"), "denied");
        // Another region's key has the right, and not the range.
        expect(&format!("write --kind {kind} --length 8 --key-of {commands}"), "denied");
    }
    // The lease is everybody's to change, and nothing beside it.
    let lease = RegionKind::LEASE;
    expect(&format!("read --kind {lease}"), "done");
    expect(&format!("write --kind {lease}"), "done");
    expect(&format!("write --kind {lease} --offset 8"), "denied");
    expect(&format!("write --kind {lease} --offset -8 --length 8"), "denied");
    // The slots of other monitors lie beside this one's.
    let slot = size_of::<CommandSlot>();
    expect(&format!("write --kind {commands} --offset {slot} --length {slot}"), "denied");
    expect(&format!("write --kind {commands} --offset {} --length 16", slot - 8), "denied");
    expect(&format!("write --kind {commands} --length {}", slot - 8), "done");

    deployment.start_daemon().unwrap();
    assert_eq!(deployment.json("targets").unwrap()[0]["reach"], "reachable");
}

#[test]
fn strangers_and_the_wrong_target_are_told_so_on_both_sides() {
    let pair = Pair::boot(100).unwrap();
    let deployment = installed(&pair);
    let folder = format!("{FOLDER}/stranger");
    deployment.backdoors(&format!("keys new --name stranger --dir {folder}")).unwrap();
    let target = format!("{FOLDER}/target.crt");
    let wait_for_log = |words: &str| {
        pair.target
            .wait_for(words, PATIENCE, || {
                let log = pair.target.shell(&format!("cat {FOLDER}/agent.log"))?;
                Ok(log.contains(words).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error}\n{}", deployment.logs()));
    };
    let (code, printed) = rogue_as(&deployment, "stranger", &folder, &target, "hello");
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("the target does not know this monitor"), "{printed}");
    wait_for_log("the peer is no monitor known here");

    let wrong = format!("{FOLDER}/monitor.crt");
    let (code, printed) = rogue_as(&deployment, "monitor", FOLDER, &wrong, "hello");
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains("who answers there is not the target"), "{printed}");
    wait_for_log("the peer does not accept this target's certificate");

    assert_eq!(rogue(&deployment, "hello")["target"], "target");
}

#[test]
fn garbage_on_its_ports_does_a_target_no_harm() {
    let pair = Pair::boot(100).unwrap();
    let mut deployment = installed(&pair);
    deployment.start_daemon().unwrap();
    let address = pair.target.address();
    for port in [7801, 7802] {
        for garbage in
            ["head -c 65536 /dev/urandom", "head -c 65536 /dev/zero", "printf ''", "printf 'GET /'"]
        {
            // The target may hang up before all of it is sent.
            let script = format!("{garbage} > /dev/tcp/{address}/{port}");
            pair.monitor
                .shell(&format!("for i in 1 2 3 4; do bash -c '{script}' 2>/dev/null; done; true"))
                .unwrap();
        }
    }
    for pid in [deployment.agent, deployment.owner] {
        pair.target.shell(&format!("test -d /proc/{pid}")).unwrap();
    }
    // The daemon's sessions were not touched, and new ones can be opened.
    let kinds: Vec<Value> = deployment.journal().unwrap().iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["connected", "lease"]);
    assert_eq!(deployment.json("targets").unwrap()[0]["reach"], "reachable");
    assert_eq!(rogue(&deployment, "hello")["target"], "target");
}
