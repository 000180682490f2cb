//! The main job over soft-RoCE between two virtual machines: an RDMA WRITE into memory of the target's kernel half
//! eradicates a fork bomb while nothing of the agent runs.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::healing::{BOMB, Healing};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{Kernel, Vm, VmConfig, Wire};
use std::time::{Duration, Instant};

const MALLORY: u32 = 1001;
const PROCESSES: u32 = 200;

fn boot(wire: &Wire, kernel: Kernel) -> [Vm; 2] {
    let config = |name, kernel, programs: &[&str]| VmConfig {
        name,
        kernel,
        network: Some(wire),
        programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        ..VmConfig::default()
    };
    Vm::boot_all([
        config("target", kernel, &["backdoors-nic", "backdoors-agent", "backdoors-useful"]),
        config("monitor", Kernel::Newest, &["backdoors"]),
    ])
    .unwrap()
}

/// Emulated processors are slow, and soft-RoCE answers on the one the bomb runs on. A connection that waited too long
/// is used up, and an agent that is frozen makes no new ones.
fn plan() -> Plan {
    Plan {
        provider: "verbs",
        agent: "[limits]\n\"user.processes\" = 100\n".to_owned(),
        watch: "period = \"100ms\"\ndeadline = \"3s\"\nconnections = 8\nlost_after = \"10s\"\npatience = \"60s\"\n".to_owned(),
        healers: "[[target.healer]]\nname = \"forkbomb\"\nmode = \"act\"\n".to_owned(),
        ..Plan::default()
    }
}

fn healing() -> Healing {
    Healing {
        user: MALLORY,
        processes: PROCESSES,
        calm: Duration::from_secs(2),
        patience: Duration::from_secs(120),
    }
}

fn kinds(journal: &[serde_json::Value]) -> Vec<&str> {
    journal.iter().filter_map(|entry| entry["kind"].as_str()).collect()
}

fn in_order(kinds: &[&str], wanted: &[&str]) -> bool {
    let mut left = kinds.iter();
    wanted.iter().all(|kind| left.any(|other| other == kind))
}

/// The helper, stopped. The brackets keep the search from finding itself.
fn freeze_helper(deployment: &Deployment<'_, Vm>) -> u32 {
    let found = deployment.target.shell("pgrep -f '[b]ackdoors-agent helper'").unwrap();
    let helper = found.trim().parse().unwrap_or_else(|_| panic!("not one helper but `{found}`"));
    deployment.target.signal("STOP", helper).unwrap();
    let frozen = || Ok(deployment.stands_still(helper)?.then_some(()));
    deployment.target.wait_for("the helper to stand still", Duration::from_secs(30), frozen).unwrap();
    helper
}

#[test]
fn a_write_into_the_kernel_halfs_memory_kills_the_bomb_and_without_a_monitor_it_lives_on() {
    let wire = Wire::new().unwrap();
    let [target, monitor] = boot(&wire, Kernel::Newest);
    let mut deployment = Deployment::install(&target, &monitor, plan()).unwrap();
    deployment.start_daemon().unwrap();
    let sensors = deployment.backdoors("sensors target --json").unwrap();
    assert!(sensors.contains("kernel-kills-all"), "{sensors}");

    // The helper too: then nothing of the agent can run, and no other helper is started while this one is there.
    let helper = freeze_helper(&deployment);
    let report = healing().watch(&deployment).unwrap();
    println!("{}", report.text());
    let kinds = kinds(&report.journal);
    let wanted = ["event", "diagnosis", "command-written", "acknowledged", "repaired"];
    assert!(in_order(&kinds, &wanted), "{kinds:?}");
    assert!(deployment.stands_still(helper).unwrap(), "the helper ran meanwhile");
    let helpers = target.shell("pgrep -f '[b]ackdoors-agent helper'").unwrap();
    assert_eq!(helpers.trim(), helper.to_string(), "another helper ran");

    // The control: the same bomb, and nobody looks.
    monitor.signal("KILL", deployment.daemon()).unwrap();
    target.shell_as(MALLORY, PROCESSES, BOMB).unwrap();
    let grown = || Ok((target.processes_of(MALLORY)? > 100).then_some(()));
    target.wait_for("the bomb", Duration::from_secs(60), grown).unwrap();
    let several_times_as_long = 4 * Duration::from_nanos(report.gone_at - report.bomb_at);
    let begun = Instant::now();
    while begun.elapsed() < several_times_as_long {
        assert!(target.processes_of(MALLORY).unwrap() > 50, "the bomb ended by itself: it proves nothing");
    }
}

#[test]
fn on_an_old_kernel_the_helper_kills_the_sleeping_ones_while_the_agent_is_frozen() {
    let wire = Wire::new().unwrap();
    let [target, monitor] = boot(&wire, Kernel::Stable61);
    let mut deployment = Deployment::install(&target, &monitor, plan()).unwrap();
    deployment.start_daemon().unwrap();
    let sensors = deployment.backdoors("sensors target --json").unwrap();
    assert!(sensors.contains("kernel-kills-running") && sensors.contains("helper-kills"), "{sensors}");
    target.shell_as(MALLORY, PROCESSES, "for i in $(seq 30); do sleep 1000 & done; wait").unwrap();
    let asleep = || Ok((target.processes_of(MALLORY)? > 30).then_some(()));
    target.wait_for("sleepers", Duration::from_secs(60), asleep).unwrap();
    let report = healing().watch(&deployment).unwrap();
    println!("{}", report.text());
    assert!(in_order(&kinds(&report.journal), &["diagnosis", "command-written", "repaired"]));
}
