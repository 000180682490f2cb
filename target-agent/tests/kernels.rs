//! One compiled kernel half serves Debian's kernels, old and new: each in a virtual machine, the agent frozen while
//! commands are given.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::machine::Machine;
use backdoors_tests::vm::{GuestCommand, Kernel, Vm, VmConfig, Wire};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const USER: u32 = 1001;
const SLEEPERS: &str = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); done; wait";
/// Processes that are short and many, and some that stay.
const STORM: &str = "i=0; while [ $i -lt 6 ]; do timeout 10 sh -c 'while :; do (:); done' & i=$((i+1)); done; \
                     i=0; while [ $i -lt 20 ]; do sleep 1000 & usleep 300000; i=$((i+1)); done; wait";
const BOMB: &str = "bomb() { bomb | bomb & }; bomb";
/// A guest is emulated, and slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two emulated guests at once would slow each other down past their deadlines.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn sensor(deployment: &Deployment<'_, Vm>, name: &str) -> u64 {
    let listing: Value =
        serde_json::from_str(&deployment.backdoors("sensors target --json").unwrap()).unwrap();
    let sensors = listing["sensors"].as_array().unwrap();
    let found = sensors.iter().find(|sensor| sensor["name"].as_str().unwrap().starts_with(name));
    found.unwrap()["value"].as_u64().unwrap()
}

/// With the agent frozen: what the box says of memory is what the kernel says itself, and follows when some is used.
fn memory_is_seen(machine: &Vm, deployment: &Deployment<'_, Vm>) {
    let kernel_says = |key: &str| {
        let line = machine.shell(format!("grep ^{key}: /proc/meminfo")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    assert_eq!(sensor(deployment, "memory.total"), kernel_says("MemTotal"));
    let (shown, said) = (sensor(deployment, "memory.available"), kernel_says("MemAvailable"));
    // Never more than the kernel says, but for what was used in between.
    assert!(shown <= said + (4 << 20) && shown >= said / 100 * 85, "{shown} shown, {said} said");
    // A file system in memory.
    let fill = "mkdir /large && mount -t tmpfs -o size=80M tmpfs /large && dd if=/dev/zero of=/large/file bs=1M count=60";
    machine.shell(fill).unwrap();
    machine
        .wait_for("memory to be used", PATIENCE, || {
            Ok((sensor(deployment, "memory.available") + (40 << 20) < shown).then_some(()))
        })
        .unwrap();
    machine.shell("umount /large").unwrap();
    machine
        .wait_for("memory to be free again", PATIENCE, || {
            Ok((sensor(deployment, "memory.available") + (20 << 20) > shown).then_some(()))
        })
        .unwrap();
}

/// With the agent frozen: after a storm of births and ends the process table lists those who are there, and nobody else.
fn everybody_is_known(machine: &Vm, deployment: &Deployment<'_, Vm>) {
    let find = format!(
        "cat /proc/[0-9]*/status 2>/dev/null | awk '/^State:/ {{ alive = $2 != \"Z\" && $2 != \"X\" }} \
         /^Pid:/ {{ pid = $2 }} /^Uid:/ && $2 == {USER} && alive {{ print pid }}'"
    );
    let there = || {
        let text = machine.shell(&find).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<BTreeSet<u64>>()
    };
    let listed = || {
        let listing = deployment.json("ps target").unwrap();
        let processes = listing["processes"].as_array().unwrap();
        let users = processes.iter().filter(|process| process["user"] == USER);
        users.map(|process| process["pid"].as_u64().unwrap()).collect::<BTreeSet<u64>>()
    };
    machine.spawn(GuestCommand::new(STORM).user(USER)).unwrap();
    // Twenty sleepers and their shell.
    let raging = || machine.shell("pidof timeout | wc -w").unwrap().trim() != "0";
    let over = || Ok((there().len() == 21 && !raging()).then_some(()));
    machine.wait_for("the storm's end", PATIENCE, over).unwrap();
    let compared = machine
        .wait_for("the table to say so", Duration::from_secs(10), || Ok((listed() == there()).then_some(())));
    compared.unwrap_or_else(|error| panic!("{error}: {:?} are there, listed are {:?}", there(), listed()));
    deployment.backdoors(&format!("heal target --uid {USER}")).unwrap();
}

/// With the agent frozen: forks of a user fail until they may again, and a control group is stopped, goes on and is killed.
fn hooks_do_what_they_are_for(machine: &Vm, deployment: &Deployment<'_, Vm>) {
    let heal = |what: String| {
        let said = deployment.backdoors(&format!("heal target {what}")).unwrap();
        assert!(said.contains("done"), "{said}");
    };
    let forks = || machine.run(GuestCommand::new("sleep 0; echo forked").user(USER)).unwrap();
    assert!(forks().stdout.contains("forked"));
    heal(format!("--uid {USER} --refuse-forks 5m"));
    let refused = forks();
    assert!(!refused.succeeded() && refused.stderr.contains("fork"), "{refused:?}");
    assert!(sensor(deployment, "forks.refused") > 0);
    machine.shell("sleep 0").unwrap();
    heal(format!("--uid {USER} --refuse-forks 0s"));
    assert!(forks().stdout.contains("forked"));

    let group = "/sys/fs/cgroup/hooks";
    machine.shell(format!("mkdir {group}")).unwrap();
    machine.spawn(GuestCommand::new(SLEEPERS).user(USER)).unwrap();
    let all = || Ok((machine.processes_of(USER)? >= 41).then_some(()));
    machine.wait_for("sleepers", PATIENCE, all).unwrap();
    let ids = machine.shell(format!(
        "pgrep -u {USER} | while read p; do echo $p > {group}/cgroup.procs; done; stat -c %i {group}"
    ));
    let id = ids.unwrap();
    for (deed, state) in [("freeze", "frozen 1"), ("thaw", "frozen 0")] {
        heal(format!("--cgroup {id} --{deed}"));
        let events = machine.shell(format!("cat {group}/cgroup.events")).unwrap();
        assert!(events.contains(state), "{events}");
    }
    // On kernels that are shown sleepers' groups by the table alone the agent must have looked at who was moved.
    machine.shell(format!("kill -CONT {}", deployment.agent)).unwrap();
    let known = || {
        let listing = deployment.json("ps target")?;
        let processes = listing["processes"].as_array().into_iter().flatten();
        let moved = processes.filter(|process| process["cgroup_name"] == "hooks").count();
        Ok((moved >= 41).then_some(()))
    };
    machine.wait_for("their group in the table", PATIENCE, known).unwrap();
    machine.shell(format!("kill -STOP {}", deployment.agent)).unwrap();
    heal("--cgroup hooks".to_owned());
    assert_eq!(machine.processes_of(USER).unwrap(), 0);
    machine.shell(format!("rmdir {group}")).unwrap();
}

/// A machine with all that targets and monitors run.
fn boot(kernel: Kernel, wire: &Wire) -> Vm {
    let programs = ["backdoors-nic", "backdoors-agent", "backdoors", "backdoors-rogue"];
    let config = VmConfig {
        name: "target",
        kernel,
        network: Some(wire),
        programs: programs.map(String::from).to_vec(),
        memory_mib: 768,
        ..VmConfig::default()
    };
    Vm::boot(config).unwrap()
}

fn kernel_half_serves(kernel: Kernel, capability: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let wire = Wire::new().unwrap();
    let machine = boot(kernel, &wire);
    let plan = Plan {
        provider: "emulated",
        agent: String::new(),
        monitor: String::new(),
        // On a machine that is busy the guest answers late, and once the agent is frozen it gives no new connections.
        watch: "deadline = \"10s\"\nconnections = 8\n".to_owned(),
        healers: String::new(),
        acquainted: false,
        monitor_prefix: "",
    };
    let said = || machine.shell("cat /run/backdoors/*.log").unwrap();
    let mut deployment =
        Deployment::install(&machine, &machine, plan).unwrap_or_else(|error| panic!("{error}\n{}", said()));
    deployment.start_daemon().unwrap();
    let listing = deployment.backdoors("sensors target").unwrap();
    for capability in ["kernel-half", "kernel-sees-memory", "kernel-refuses-forks", "errands", capability] {
        assert!(listing.contains(capability), "{listing}\n{}", said());
    }
    machine.shell(format!("kill -STOP {}", deployment.agent)).unwrap();
    for name in ["kernel.timer", "cpu.switches", "cpu.ticks", "cpu.softirqs", "forks"] {
        let before = sensor(&deployment, name);
        machine
            .wait_for(name, PATIENCE, || Ok((sensor(&deployment, name) > before).then_some(())))
            .unwrap_or_else(|error| {
                panic!("{error}\n{}\n{}", said(), deployment.backdoors("sensors target").unwrap())
            });
    }
    // At least the owner of the memory runs while it is read.
    for name in ["cpu.busy", "agent.alive"] {
        machine.wait_for(name, PATIENCE, || Ok((sensor(&deployment, name) == 1).then_some(()))).unwrap();
    }
    memory_is_seen(&machine, &deployment);
    everybody_is_known(&machine, &deployment);
    hooks_do_what_they_are_for(&machine, &deployment);
    for script in [SLEEPERS, BOMB] {
        machine.spawn(GuestCommand::new(format!("ulimit -u 60; {script}")).user(USER)).unwrap();
        machine
            .wait_for("victims", PATIENCE, || Ok((machine.processes_of(USER)? >= 35).then_some(())))
            .unwrap();
        let said = deployment.backdoors(&format!("heal target --uid {USER}")).unwrap();
        assert!(said.contains("done"), "{said}");
        assert_eq!(machine.processes_of(USER).unwrap(), 0, "{said}");
    }
    // The command line knows no kernel thread to name; a monitor gone wrong does. Process 2 makes all of them.
    // It comes under the daemon's name, and the two would take each other's connections away.
    machine.shell(format!("kill -CONT {}; kill -KILL {}", deployment.agent, deployment.daemon())).unwrap();
    let rogue = format!(
        "backdoors-rogue --address {}:7801 --certificate /run/backdoors/target.crt --identity /run/backdoors \
         --name monitor command --opcode 2 --subject 2",
        Machine::address(&machine)
    );
    let answer = machine.shell(rogue.as_str()).unwrap();
    assert!(answer.contains("refused") && answer.contains("a kernel thread"), "{answer}");
    let answer = machine.shell(format!("{rogue} --token {}", 99u64 << 32 | 1 << 24)).unwrap();
    assert!(answer.contains("refused") && answer.contains("not the lease holder"), "{answer}");
    deployment.start_daemon().unwrap();
    machine.shell(format!("kill -KILL {}", deployment.agent)).unwrap();
    machine
        .wait_for("its end", PATIENCE, || Ok((sensor(&deployment, "agent.alive") == 0).then_some(())))
        .unwrap();
    let record = deployment.backdoors("audit target").unwrap();
    for told in [&format!("--uid {USER}: done, "), "a kernel thread", "not the lease holder"] {
        assert!(record.contains(told), "{record}");
    }
}

#[test]
fn sensors_move_and_victims_die_on_linux_6_1() {
    kernel_half_serves(Kernel::Stable61, "kernel-kills-running");
}

#[test]
fn sensors_move_and_victims_die_on_the_newest_kernel() {
    kernel_half_serves(Kernel::Newest, "kernel-kills-all");
}

/// What is sent from an address that is fenced does not leave, also while the agent is frozen, and though the monitor has
/// another key by then; what else is sent does.
fn fences_hold(machine: &Vm, deployment: &Deployment<'_, Vm>) {
    let rogue = |deed: &str| {
        let told = machine.shell(format!(
            "backdoors-rogue --address {}:7801 --certificate /run/backdoors/target.crt --identity /run/backdoors \
             --name monitor fence {deed}",
            Machine::address(machine)
        ));
        serde_json::from_str::<Value>(&told.unwrap()).unwrap()
    };
    machine.shell("ip addr add 10.99.0.5/24 dev eth0 && ip addr add 10.99.0.6/24 dev eth0").unwrap();
    // It asks for the other one's card, in its own name. Nobody answers.
    let speak = |address: &str| {
        machine.shell(format!("ping -c 1 -W 1 -I {address} 10.99.0.1; true")).unwrap();
    };
    let told = rogue("--set");
    assert!(told["holds"] == true && told["covered"] == 1 && told["interfaces"] == 1, "{told}");
    machine.shell(format!("kill -STOP {}", deployment.agent)).unwrap();
    speak("10.99.0.6");
    speak("10.99.0.5");
    machine.shell(format!("kill -CONT {}", deployment.agent)).unwrap();
    let after = rogue("");
    assert!(after["held"] == 1 && after["holds"] == false, "{after}");
    assert!(after["withheld"].as_u64() > told["withheld"].as_u64(), "{after}");
    let lifted = rogue("--lift");
    speak("10.99.0.5");
    let later = rogue("--word 1");
    assert!(lifted["holds"] == false && later["withheld"] == lifted["withheld"], "{lifted} {later}");
    speak("10.99.0.5");
    let last = rogue("--lift");
    assert!(last["held"] == 0 && last["withheld"] == later["withheld"], "{last}");
}

/// On a path that loses, repeats and reorders packets: what a server that reads nothing was sent is held, byte for byte, also
/// while the agent is frozen; and once it is read, that is known.
fn live_connections_are_captured(kernel: Kernel) {
    const NUMBERS: usize = 9_000;
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let wire = Wire::new().unwrap();
    let machine = boot(kernel, &wire);
    let plan = Plan {
        provider: "emulated",
        agent: "service_addresses = [\"10.99.0.5\"]\n[[service]]\nname = \"pages\"\nports = [8080]\nsessions = 8\n"
            .to_owned(),
        ..Plan::default()
    };
    let said = || machine.shell("cat /run/backdoors/*.log").unwrap();
    let deployment =
        Deployment::install(&machine, &machine, plan).unwrap_or_else(|error| panic!("{error}\n{}", said()));
    fences_hold(&machine, &deployment);
    machine.shell(format!("kill -STOP {}", deployment.agent)).unwrap();
    machine.shell("tc qdisc add dev lo root netem limit 1000 delay 3ms 2ms loss 3% duplicate 3%").unwrap();
    let server = machine.spawn(GuestCommand::new("sleep 1000 | nc -l -p 8080 > /run/got")).unwrap();
    machine
        .wait_for("a server", PATIENCE, || {
            Ok(machine.shell("ss -ltn").unwrap().contains(":8080").then_some(()))
        })
        .unwrap();
    machine.shell("kill -STOP $(pidof nc)").unwrap();
    let client = format!("(seq {NUMBERS}; sleep 1000) | nc 127.0.0.1 8080");
    machine.spawn(GuestCommand::new(client)).unwrap();
    let sent: String = (1..=NUMBERS).map(|number| format!("{number}\n")).collect();
    // A frozen agent gives nobody a new connection.
    let look = || {
        machine.shell(format!("kill -CONT {}", deployment.agent)).unwrap();
        let told = machine.shell(format!(
            "backdoors-rogue --address {}:7801 --certificate /run/backdoors/target.crt --identity /run/backdoors \
             --name monitor sessions",
            Machine::address(&machine)
        ));
        serde_json::from_str::<Value>(&told.unwrap_or_else(|error| panic!("{error}\n{}", said()))).unwrap()
    };
    let arrived = || {
        let lines = machine.shell("ss -tn state established sport = :8080").unwrap();
        let queued =
            lines.lines().nth(1).and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        Ok((queued == Some(sent.len())).then_some(()))
    };
    machine.wait_for("all bytes", PATIENCE, arrived).unwrap();
    // What is read of the memory takes the same way.
    machine.shell("tc qdisc del dev lo root").unwrap();
    let told = look();
    let session = &told["sessions"][0];
    assert_eq!(told["sessions"].as_array().unwrap().len(), 1, "{told}");
    assert!(session["protected"] == true && session["read"] == 0 && session["start"] == 0, "{told}");
    assert!(session["bytes"] == sent.as_str(), "{told}");
    machine.shell("kill -CONT $(pidof nc)").unwrap();
    machine
        .wait_for("the server to read", PATIENCE, || {
            Ok((look()["sessions"][0]["read"] == sent.len()).then_some(()))
        })
        .unwrap();
    // It writes what it has read a moment later.
    let got = || Ok((machine.shell("cat /run/got").unwrap() == sent.trim_end()).then_some(()));
    machine.wait_for("what it read", PATIENCE, got).unwrap();
    drop(server);
}

#[test]
fn live_connections_are_captured_on_linux_6_1() {
    live_connections_are_captured(Kernel::Stable61);
}

#[test]
fn live_connections_are_captured_on_the_newest_kernel() {
    live_connections_are_captured(Kernel::Newest);
}
