//! A memory hog in a virtual machine with 1 GiB of memory, without swap space and with as much again, while nothing of the
//! agent runs: a peer finds who holds the memory, and kills no more than is needed.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{GuestCommand, Kernel, Vm, VmConfig, Wire};
use serde_json::Value;
use std::time::Duration;

const ALICE: u32 = 1000;
const MALLORY: u32 = 1001;
const CHILDREN: usize = 5;

fn plan() -> Plan {
    Plan {
        provider: "verbs",
        agent: String::new(),
        watch: "period = \"50ms\"\ndeadline = \"3s\"\nconnections = 8\nlost_after = \"10s\"\npatience = \"60s\"\n".to_owned(),
        healers: "[[target.healer]]\nname = \"memory-hog\"\nmode = \"act\"\ncooldown = \"100ms\"\n".to_owned(),
        ..Plan::default()
    }
}

fn boot(wire: &Wire, swap_mib: u32) -> [Vm; 2] {
    let config = |name, memory_mib, swap_mib, programs: &[&str]| VmConfig {
        name,
        kernel: Kernel::Newest,
        memory_mib,
        swap_mib,
        network: Some(wire),
        programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        ..VmConfig::default()
    };
    Vm::boot_all([
        config("target", 1024, swap_mib, &["backdoors-nic", "backdoors-agent", "backdoors-hog"]),
        config("monitor", 512, 0, &["backdoors"]),
    ])
    .unwrap()
}

fn of_kind<'a>(journal: &'a [Value], kind: &str) -> Vec<&'a Value> {
    journal.iter().filter(|entry| entry["kind"] == kind).collect()
}

#[test]
fn a_hog_that_respawns_its_children_is_ended_and_nobody_else_is() {
    end_a_hog(0);
}

#[test]
fn a_hog_that_has_filled_memory_and_swap_space_is_ended_and_nobody_else_is() {
    end_a_hog(1024);
}

fn end_a_hog(swap_mib: u32) {
    let wire = Wire::new().unwrap();
    let [target, monitor] = boot(&wire, swap_mib);
    let mut deployment = Deployment::install(&target, &monitor, plan()).unwrap();
    deployment.start_daemon().unwrap();
    let sensors = deployment.backdoors("sensors target").unwrap();
    assert!(sensors.contains("kernel-sees-memory"), "{sensors}");
    let swap: u32 = target
        .shell("awk '/^SwapTotal:/ { print int($2 / 1024 + 1) }' /proc/meminfo")
        .unwrap()
        .parse()
        .unwrap();
    assert!(swap.abs_diff(swap_mib) <= 1, "{swap} MiB of swap space");

    target.spawn(GuestCommand::new("exec sleep 1000").user(ALICE)).unwrap();
    target
        .wait_for("alice", Duration::from_secs(30), || Ok((target.processes_of(ALICE)? == 1).then_some(())))
        .unwrap();
    deployment.freeze_agent().unwrap();
    let known = deployment.journal().unwrap().len();
    target.spawn(GuestCommand::new(format!("exec backdoors-hog {CHILDREN} 512")).user(MALLORY)).unwrap();

    let mut repaired = Vec::new();
    let gone = target.wait_for("the end of the hog", Duration::from_secs(240), || {
        let journal = deployment.journal()?;
        repaired = journal.into_iter().skip(known).collect();
        Ok((!of_kind(&repaired, "repaired").is_empty() && target.processes_of(MALLORY)? == 0).then_some(()))
    });
    let text = || repaired.iter().map(|entry| format!("{}\n", entry["text"])).collect::<String>();
    println!("{}", text());
    gone.unwrap_or_else(|error| panic!("{error}\n{}\n{}", text(), deployment.logs()));

    let diagnoses = of_kind(&repaired, "diagnosis");
    assert!(diagnoses.iter().all(|diagnosis| diagnosis["healer"] == "memory-hog"), "{}", text());
    assert!(diagnoses[0]["evidence"][0]["text"].as_str().unwrap().contains("of user 1001"), "{}", text());
    assert_eq!(target.processes_of(ALICE).unwrap(), 1, "an innocent was killed\n{}", text());
    // What was proposed to be enough was: memory is there again.
    let sensors: Value =
        serde_json::from_str(&deployment.backdoors("sensors target --json").unwrap()).unwrap();
    let available =
        sensors["sensors"].as_array().unwrap().iter().find(|sensor| sensor["name"] == "memory.available");
    let available = available.unwrap();
    assert!(available["value"].as_u64() > available["limit"].as_u64().map(|limit| 2 * limit), "{available}");
    assert!(deployment.stands_still(deployment.agent).unwrap(), "the agent ran meanwhile");
}
