//! Healers besides the one against fork bombs, on two hosts with a real kernel between them.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use std::time::Duration;

/// The users of a host. No others on the machine have these numbers.
const SPINNER: u32 = 61_201;
const SLEEPER: u32 = 61_202;
const SHOPKEEPER: u32 = 61_203;
const CROWD: u32 = 61_204;
const SOCKET: &str = "/run/backdoors/applications.sock";
const OWN: &str = "/run/backdoors/own";
const PATIENCE: Duration = Duration::from_secs(60);

fn watched<'p>(pair: &'p Pair, healers: &str, own: &str) -> Deployment<'p, Host> {
    let plan = Plan {
        provider: "emulated",
        agent: format!(
            "applications = \"{SOCKET}\"\nscope = \"pid-namespace\"\n[limits]\n\"user.processes\" = 20\n"
        ),
        watch: "period = \"20ms\"\n".to_owned(),
        healers: healers.to_owned(),
        ..Plan::default()
    };
    let mut deployment = pair.install(plan).unwrap();
    pair.monitor.write(OWN, own).unwrap();
    pair.monitor.shell(&format!("chmod 755 {OWN}")).unwrap();
    deployment.start_daemon().unwrap();
    deployment
}

fn wait_for_nobody(target: &Host, user: u32) {
    target.wait_for("its end", PATIENCE, || Ok((target.processes_of(user)? == 0).then_some(()))).unwrap();
}

#[test]
fn a_process_that_spins_is_killed_and_one_that_sleeps_is_not() {
    let pair = Pair::boot(100).unwrap();
    // The tests beside this one have the processors, too.
    let healer = "[[target.healer]]\nname = \"runaway\"\nlevel = 0.1\nfor = \"3s\"\nmode = \"act\"\n";
    let deployment = watched(&pair, healer, "");
    pair.target.shell_as(SLEEPER, "exec sleep 1000").unwrap();
    pair.target.shell_as(SPINNER, "while :; do :; done").unwrap();
    wait_for_nobody(&pair.target, SPINNER);
    let blamed = deployment.wait_for_entry("diagnosis", 0, PATIENCE).unwrap();
    let text = blamed["text"].as_str().unwrap();
    assert!(
        text.starts_with("runaway blames process ") && text.contains(&format!("of user {SPINNER} held ")),
        "{text}"
    );
    assert_eq!(pair.target.processes_of(SLEEPER).unwrap(), 1);
}

#[test]
fn an_application_that_is_stuck_is_killed_by_the_repair_that_was_configured() {
    let pair = Pair::boot(100).unwrap();
    let healer = format!(
        "[[target.healer]]\nname = \"stuck-application\"\napplication = \"shop\"\nrepair = \"kill-process\"\n\
         user = {SHOPKEEPER}\nmode = \"act\"\n"
    );
    let deployment = watched(&pair, &healer, "");
    let target = &pair.target;
    let ticker = target.program("backdoors-ticker").unwrap();
    target
        .shell(&format!("chmod 711 /run/backdoors; chgrp {SHOPKEEPER} {SOCKET}; cp {ticker} /run/ticker"))
        .unwrap();
    let log = "/run/backdoors/shop.log";
    let command = format!(
        "setpriv --reuid {SHOPKEEPER} --regid {SHOPKEEPER} --clear-groups /run/ticker {SOCKET} shop 100 500 7"
    );
    let pid = target.start(&command, log).unwrap();
    let ticking = || Ok(target.shell(&format!("cat {log}"))?.contains("ticking").then_some(()));
    target.wait_for("the shop", PATIENCE, ticking).unwrap();
    let healthy = || {
        let verdicts = deployment.json("verdicts target")?;
        let layers = verdicts[0]["layers"].as_array().cloned().unwrap_or_default();
        Ok(layers.iter().any(|layer| layer["subject"] == "shop" && layer["state"] == "healthy").then_some(()))
    };
    target.wait_for("the shop to be judged", PATIENCE, healthy).unwrap();
    target.signal("STOP", pid).unwrap();
    wait_for_nobody(target, SHOPKEEPER);
    let blamed = deployment.wait_for_entry("diagnosis", 0, PATIENCE).unwrap();
    let text = blamed["text"].as_str().unwrap();
    assert!(text.contains("shop.ticks stood still for ") && text.contains("waits"), "{text}");
    deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
}

#[test]
fn a_program_of_ones_own_heals_a_real_machine() {
    let pair = Pair::boot(100).unwrap();
    let healer = format!(
        "[[target.healer]]\nname = \"own\"\ncommand = [\"{OWN}\"]\nwatches = [\"user.processes\"]\n\
         timeout = \"30s\"\nmode = \"act\"\n"
    );
    let own = format!(
        "#!/bin/sh\ngrep -q '\"sensor\":\"user.processes\",\"instance\":{CROWD}' || exit 9\n\
         echo '{{\"version\":1,\"culprit\":{{\"user\":{CROWD}}},\"evidence\":[{{\"name\":\"own\",\"text\":\"a crowd\"}}],\
         \"repair\":{{\"opcode\":\"kill-user\",\"subject\":{CROWD}}}}}'\n"
    );
    let deployment = watched(&pair, &healer, &own);
    pair.target.shell_as(SLEEPER, "exec sleep 1000").unwrap();
    pair.target.shell_as(CROWD, "for i in $(seq 40); do sleep 1000 & done; wait").unwrap();
    deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
    wait_for_nobody(&pair.target, CROWD);
    assert_eq!(pair.target.processes_of(SLEEPER).unwrap(), 1);
}

#[test]
fn a_daemon_that_is_told_to_stop_leaves_no_program_behind() {
    let pair = Pair::boot(100).unwrap();
    let healer = format!(
        "[[target.healer]]\nname = \"own\"\ncommand = [\"{OWN}\"]\nwatches = [\"user.processes\"]\ntimeout = \"60s\"\n"
    );
    let own = "#!/bin/sh\nsleep 1000 &\necho $$ $! > /run/backdoors/pids\nwait\n";
    let deployment = watched(&pair, &healer, own);
    pair.target.shell_as(CROWD, "for i in $(seq 40); do sleep 1000 & done; wait").unwrap();
    let pids = || {
        let text = pair.monitor.shell("cat /run/backdoors/pids 2>/dev/null || true")?;
        Ok(text.ends_with('\n').then_some(text))
    };
    let pids = pair.monitor.wait_for("the program", PATIENCE, pids).unwrap();
    pair.monitor.signal("TERM", deployment.daemon()).unwrap();
    for pid in pids.split_whitespace() {
        let gone = || {
            let state = pair
                .monitor
                .shell(&format!("awk '/^State:/ {{ print $2 }}' /proc/{pid}/status 2>/dev/null || true"))?;
            Ok(matches!(state.trim(), "" | "Z" | "X").then_some(()))
        };
        pair.monitor.wait_for("its end", Duration::from_secs(20), gone).unwrap();
    }
    assert_eq!(pids.split_whitespace().count(), 2);
}
