//! The main job over soft-RoCE between two virtual machines: an RDMA WRITE into memory of the target's kernel half
//! eradicates a fork bomb while nothing of the agent runs.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::healing::{BOMB, Healing};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{Kernel, Vm, VmConfig, Wire};
use std::time::Duration;

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

/// Emulated processors are slow, and soft-RoCE answers on the one the bomb runs on.
fn plan() -> Plan {
    Plan {
        provider: "verbs",
        agent: "[limits]\n\"user.processes\" = 100\n".to_owned(),
        watch: "period = \"100ms\"\ndeadline = \"3s\"\nlost_after = \"10s\"\npatience = \"60s\"\n".to_owned(),
        healers: "[[target.healer]]\nname = \"forkbomb\"\nmode = \"act\"\n".to_owned(),
        monitor_prefix: "",
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

#[test]
fn a_write_into_the_kernel_halfs_memory_kills_the_bomb_and_without_a_monitor_it_lives_on() {
    let wire = Wire::new().unwrap();
    let [target, monitor] = boot(&wire, Kernel::Newest);
    let mut deployment = Deployment::install(&target, &monitor, plan()).unwrap();

    // The control: nobody looks.
    target.shell_as(MALLORY, PROCESSES, BOMB).unwrap();
    let grown = || Ok((target.processes_of(MALLORY)? > 100).then_some(()));
    target.wait_for("the bomb", Duration::from_secs(60), grown).unwrap();
    std::thread::sleep(Duration::from_secs(10));
    assert!(target.processes_of(MALLORY).unwrap() > 50, "the bomb ended by itself: it proves nothing");
    let gone = || {
        target.run(backdoors_tests::vm::GuestCommand::new("kill -KILL -1").user(MALLORY))?;
        Ok((target.processes_of(MALLORY)? == 0).then_some(()))
    };
    target.wait_for("the control's end", Duration::from_secs(60), gone).unwrap();

    deployment.start_daemon().unwrap();
    let sensors: serde_json::Value =
        serde_json::from_str(&deployment.backdoors("sensors target --json").unwrap()).unwrap();
    assert!(sensors.to_string().contains("kernel-kills-all"), "{sensors}");
    // The helper too: then nothing of the agent can run. The brackets keep the search from finding itself.
    for helper in target.shell("pgrep -f '[b]ackdoors-agent helper' || true").unwrap().lines() {
        target.signal("STOP", helper.parse().unwrap()).unwrap();
        let state = target.shell(format!("awk '/^State:/ {{ print $2 }}' /proc/{helper}/status")).unwrap();
        assert_eq!(state, "T", "the helper is not frozen");
    }
    let report = healing().watch(&deployment).unwrap();
    println!("{}", report.text());
    let kinds = kinds(&report.journal);
    let wanted = ["event", "diagnosis", "command-written", "acknowledged", "repaired"];
    assert!(in_order(&kinds, &wanted), "{kinds:?}");
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
