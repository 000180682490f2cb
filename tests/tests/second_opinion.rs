//! What two monitors that know each other make of a target that falls silent to one of them, or to both.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan, Watcher};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Trio;
use serde_json::Value;
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
            ..Plan::default()
        })
        .unwrap();
    deployment.start_daemons().unwrap();
    for watcher in &deployment.watchers {
        wait_for_peer(watcher, |peer| peer["reach"] == "reachable" && peer["asks"] == true);
        wait_for_verdict(watcher, "path", |verdict| verdict["state"] == "healthy");
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

fn layer(watcher: &Watcher<'_, Host>, name: &str) -> anyhow::Result<Value> {
    let mut answer = watcher.json("verdicts target")?;
    let layers = answer[0]["layers"].take();
    let found = layers.as_array().and_then(|layers| layers.iter().find(|layer| layer["layer"] == name));
    Ok(found.cloned().unwrap_or_default())
}

fn wait_for_verdict(watcher: &Watcher<'_, Host>, name: &str, right: impl Fn(&Value) -> bool) -> Value {
    let mut seen = Value::Null;
    let found = watcher.machine.wait_for(name, PATIENCE, || {
        seen = layer(watcher, name)?;
        Ok(right(&seen).then(|| seen.clone()))
    });
    found.unwrap_or_else(|error| panic!("{error}: {seen:#}\n{}", watcher.logs()))
}

fn has_evidence(verdict: &Value, parts: &[&str]) -> bool {
    let sentences = verdict["evidence"].as_array().expect("evidence");
    sentences
        .iter()
        .filter_map(Value::as_str)
        .any(|sentence| parts.iter().all(|part| sentence.contains(part)))
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
        let failed = wait_for_verdict(first, "path", |verdict| verdict["state"] == "failed");
        assert!(has_evidence(&failed, &["monitor2 read it"]), "{failed:#}");
        let host = layer(first, "host").unwrap();
        assert!(host["state"] != "failed" && host["state"] != "suspect", "{host:#}");
        // The second monitor reads on.
        let verdict = layer(second, "path").unwrap();
        assert_eq!(verdict["state"], "healthy", "{verdict:#}");

        machine.shell(&format!("ip route del blackhole {to}/32")).unwrap();
        wait_for_verdict(first, "path", |verdict| verdict["state"] == "healthy");
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
        let failed = wait_for_verdict(watcher, "host", |verdict| verdict["state"] == "failed");
        assert!(has_evidence(&failed, &[other]), "{failed:#}");
        let path = layer(watcher, "path").unwrap();
        assert_ne!(path["state"], "failed", "{path:#}");
    }
    deployment.target.signal("CONT", deployment.owner).unwrap();
    for watcher in &deployment.watchers {
        wait_for_verdict(watcher, "host", |verdict| verdict["state"] == "healthy");
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
    for layer in ["path", "host"] {
        wait_for_verdict(first, layer, |verdict| verdict["state"] == "suspect");
    }
    // Once the other monitor is back, its view decides.
    deployment.watchers[1].start().unwrap();
    let first = &deployment.watchers[0];
    let failed = wait_for_verdict(first, "path", |verdict| verdict["state"] == "failed");
    assert!(has_evidence(&failed, &["monitor2 read it"]), "{failed:#}");
    let mut before = noted(first, "path");
    before.dedup();
    assert_eq!(before, ["suspect", "failed"], "{}", first.logs());
}
