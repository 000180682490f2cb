//! What two monitors that know each other make of a target that falls silent to one of them, or to both.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use anyhow::Context;
use backdoors_tests::deployment::{Deployment, Plan, Watcher};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Trio;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Many times as long as a verdict takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Owner, agent, and two monitors that are asked by and ask each other; all is well.
fn deploy(trio: &Trio) -> Deployment<'_, Host> {
    let mut deployment = trio
        .install(Plan {
            provider: "emulated",
            agent: "scope = \"pid-namespace\"\n".to_owned(),
            acquainted: true,
            monitor_prefix: "chrt --rr 10",
            ..Plan::default()
        })
        .unwrap();
    deployment.start_daemons().unwrap();
    for watcher in &deployment.watchers {
        wait_for_peer(watcher, |peer| peer["reach"] == "reachable" && peer["asks"] == true);
        wait_for_verdict(watcher, "path", "healthy");
    }
    deployment
}

fn wait_for_peer(watcher: &Watcher<'_, Host>, right: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    let found = watcher.machine.wait_for("the other monitor", PATIENCE, || {
        seen = watcher.json("peers")?[0].take();
        Ok(right(&seen).then(|| seen.clone()))
    });
    found.unwrap_or_else(|error| panic!("{error}: {seen:#}\n{}", watcher.logs()))
}

/// What is said of the layers, by name.
type Layers = BTreeMap<String, Value>;

/// Waits until all that is said at one moment is `right`.
fn wait_for_verdicts(watcher: &Watcher<'_, Host>, what: &str, right: impl Fn(&Layers) -> bool) -> Layers {
    let mut seen = Layers::new();
    let found = watcher.machine.wait_for(what, PATIENCE, || {
        let answer = watcher.json("verdicts target")?;
        let layers = answer[0]["layers"].as_array().context("layers")?;
        seen = layers.iter().map(|it| (it["layer"].as_str().unwrap().to_owned(), it.clone())).collect();
        Ok(right(&seen).then(|| seen.clone()))
    });
    found.unwrap_or_else(|error| panic!("{error}: {seen:#?}\n{}", watcher.logs()))
}

fn wait_for_verdict(watcher: &Watcher<'_, Host>, layer: &str, state: &str) -> Layers {
    wait_for_verdicts(watcher, &format!("{layer} {state}"), |layers| layers[layer]["state"] == state)
}

fn has_evidence(verdict: &Value, words: &str) -> bool {
    let sentences = verdict["evidence"].as_array().expect("evidence");
    sentences.iter().filter_map(Value::as_str).any(|sentence| sentence.contains(words))
}

/// Verdicts on a layer that the journal has so far, one state for each.
fn noted(watcher: &Watcher<'_, Host>, layer: &str) -> Vec<String> {
    let journal = watcher.journal().unwrap();
    let verdicts = journal.iter().filter(|entry| entry["kind"] == "verdict" && entry["layer"] == layer);
    verdicts.map(|entry| entry["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_path_that_only_one_monitor_lost_is_told_from_a_dead_host() {
    let trio = Trio::boot(200).unwrap();
    let deployment = deploy(&trio);
    let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };
    let target = deployment.target.address();
    // One way: what the first monitor asks is lost. Then the other: what is answered to it.
    let cuts = [(first.machine, target), (deployment.target, first.machine.address())];
    for (machine, to) in cuts {
        machine.shell(&format!("ip route add blackhole {to}/32")).unwrap();
        let verdicts = wait_for_verdict(first, "path", "failed");
        assert!(has_evidence(&verdicts["path"], "monitor2 read it"), "{verdicts:#?}");
        // Whoever is read by another is not dead.
        assert_eq!(verdicts["host"]["state"], "healthy", "{verdicts:#?}");
        // The second monitor reads on.
        wait_for_verdict(second, "path", "healthy");

        machine.shell(&format!("ip route del blackhole {to}/32")).unwrap();
        wait_for_verdict(first, "path", "healthy");
    }
    for (watcher, name) in [(first, "host"), (second, "host"), (second, "path")] {
        assert!(!noted(watcher, name).contains(&"failed".to_owned()), "{}", watcher.logs());
    }
}

#[test]
fn a_host_whose_nic_answers_neither_monitor_is_told_dead_by_both() {
    let trio = Trio::boot(200).unwrap();
    let deployment = deploy(&trio);
    deployment.target.signal("STOP", deployment.owner).unwrap();
    for (watcher, other) in [(0, "monitor2 read it"), (1, "monitor read it")] {
        let watcher = &deployment.watchers[watcher];
        let verdicts = wait_for_verdict(watcher, "host", "failed");
        assert!(has_evidence(&verdicts["host"], other), "{verdicts:#?}");
        assert_ne!(verdicts["path"]["state"], "failed", "{verdicts:#?}");
    }
    deployment.target.signal("CONT", deployment.owner).unwrap();
    for watcher in &deployment.watchers {
        wait_for_verdict(watcher, "host", "healthy");
        assert!(!noted(watcher, "path").contains(&"failed".to_owned()), "{}", watcher.logs());
    }
}

#[test]
fn a_monitor_without_a_second_view_suspects_path_and_host_and_condemns_neither() {
    let trio = Trio::boot(200).unwrap();
    let mut deployment = deploy(&trio);
    let target = deployment.target.address();
    let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };
    second.machine.signal("KILL", second.daemon).unwrap();
    wait_for_peer(first, |peer| peer["reach"] == "unreachable" && peer["problem"].is_string());
    first.machine.shell(&format!("ip route add blackhole {target}/32")).unwrap();
    wait_for_verdicts(first, "path and host suspect", |layers| {
        ["path", "host"].iter().all(|layer| layers[*layer]["state"] == "suspect")
    });
    // Once the other monitor is back, its view decides.
    deployment.watchers[1].start().unwrap();
    let first = &deployment.watchers[0];
    let verdicts = wait_for_verdict(first, "path", "failed");
    assert!(has_evidence(&verdicts["path"], "monitor2 read it"), "{verdicts:#?}");
    let mut before = noted(first, "path");
    before.dedup();
    assert_eq!(before, ["suspect", "failed"], "{}", first.logs());
}
