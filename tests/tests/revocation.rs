//! A target that is told of other monitors while it runs: who is gone from its configuration is cut off at once, at the keys
//! of the memory, too.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_sensor_box::Opcode;
use backdoors_sensor_box::layout::RegionKind;
use backdoors_tests::deployment::{Deployment, Watcher};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Trio;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const FOLDER: &str = "/run/backdoors";
/// A user of the target; no others on the machine have this number.
const USER: u32 = 61_501;

fn installed<'lab>(trio: &'lab Trio, mode: &str) -> Deployment<'lab, Host> {
    let mut plan = plan("emulated", "");
    plan.agent = format!("scope = \"pid-namespace\"\nmode = \"{mode}\"\n");
    plan.healers.clear();
    trio.install(plan).unwrap()
}

fn section(name: &str, certificate: &str, slot: u32) -> String {
    format!("[[monitor]]\nname = \"{name}\"\ncertificate = {certificate}\nslot = {slot}\n")
}

/// Has the agent read its configuration again, in which `old` is replaced, and waits until it says so.
fn tell(deployment: &Deployment<'_, Host>, old: &str, new: &str, answer: &str) {
    let (target, file) = (deployment.target, format!("{FOLDER}/agent.toml"));
    let count = || {
        let log = target.shell(&format!("cat {FOLDER}/agent.log")).unwrap();
        log.lines().filter(|line| line.contains(answer)).count()
    };
    let text = target.shell(&format!("cat {file}")).unwrap();
    assert!(text.contains(old), "{old} is not in {text}");
    target.write(&file, &text.replace(old, new)).unwrap();
    let before = count();
    target.signal("HUP", deployment.agent).unwrap();
    target.wait_for(answer, PATIENCE, || Ok((count() > before).then_some(()))).unwrap_or_else(|error| {
        panic!("{error}\n{}", deployment.logs());
    });
}

fn rogue(deployment: &Deployment<'_, Host>, watcher: &Watcher<'_, Host>, name: &str, deed: &str) -> String {
    let program = watcher.machine.program("backdoors-rogue").unwrap();
    let address = deployment.target.address();
    format!(
        "{program} --address {address}:7801 --certificate {FOLDER}/target.crt --identity {FOLDER} --name {name} {deed}"
    )
}

fn result(watcher: &Watcher<'_, Host>, command: &str) -> Result<Value, String> {
    let (code, printed) = watcher.try_command(command).unwrap();
    if code == 0 { Ok(serde_json::from_str(&printed).unwrap()) } else { Err(printed) }
}

#[test]
fn a_monitor_that_was_removed_reads_nothing_more_and_is_not_obeyed_while_the_other_goes_on() {
    for mode in ["auto", "procfs"] {
        let trio = Trio::boot(100).unwrap();
        let deployment = installed(&trio, mode);
        deployment.target.shell_as(USER, "exec sleep 1000").unwrap();
        let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };
        // It has its connections, and its key, and keeps them.
        let keep =
            rogue(&deployment, first, "monitor", &format!("keep-reading --kind {}", RegionKind::SENSORS));
        first.machine.start(&keep, &format!("{FOLDER}/keep.log")).unwrap();
        let log = || first.machine.shell(&format!("cat {FOLDER}/keep.log; true"));
        first.machine.wait_for("reads", PATIENCE, || Ok(log()?.contains("reading").then_some(()))).unwrap();

        let known = section("monitor", &format!("\"{FOLDER}/monitor.crt\""), 0);
        tell(&deployment, &known, "", "the configuration's monitors are known");
        let line = || Ok(log()?.lines().find(|line| line.starts_with('{')).map(str::to_owned));
        let seen: Value =
            serde_json::from_str(&first.machine.wait_for("its end", PATIENCE, line).unwrap()).unwrap();
        assert_ne!(seen["read"]["outcome"], "done", "{seen}");
        assert_ne!(seen["write"]["outcome"], "done", "{seen}");
        let again = rogue(&deployment, first, "monitor", "hello");
        assert!(result(first, &again).unwrap_err().contains("the target does not know this monitor"));
        assert_eq!(deployment.target.processes_of(USER).unwrap(), 1);

        let kill = format!("command --opcode {} --subject {USER}", Opcode::KillUser as u32);
        // It may have held the lease; whoever stays takes it.
        result(second, &rogue(&deployment, second, "monitor2", "take-lease")).unwrap();
        let killed = result(second, &rogue(&deployment, second, "monitor2", &kill)).unwrap();
        assert_eq!((&killed["state"], &killed["signalled"]), (&"done".into(), &1.into()), "{killed}");
    }
}

#[test]
fn a_monitor_whose_certificate_is_revoked_is_cut_off() {
    let trio = Trio::boot(100).unwrap();
    let mut deployment = installed(&trio, "auto");
    deployment.start_daemon().unwrap();
    let program = deployment.target.program("backdoors").unwrap();
    deployment.target.shell(&format!("{program} keys revoke --name monitor --dir {FOLDER}")).unwrap();
    tell(&deployment, "", "", "a certificate is revoked");
    deployment.wait_for_entry("lost", 0, PATIENCE).unwrap();
    let again = rogue(&deployment, deployment.first(), "monitor", "hello");
    assert!(
        result(deployment.first(), &again).unwrap_err().contains("the target does not know this monitor")
    );
    let second = &deployment.watchers[1];
    assert_eq!(result(second, &rogue(&deployment, second, "monitor2", "hello")).unwrap()["slot"], 1);
}

#[test]
fn a_configuration_that_cannot_be_used_cuts_nobody_off() {
    let trio = Trio::boot(100).unwrap();
    let mut deployment = installed(&trio, "auto");
    deployment.start_daemon().unwrap();
    let with = |certificate: &str| format!("certificate = {certificate}\nslot = 0\n");
    let right = with(&format!("\"{FOLDER}/monitor.crt\""));
    // A file that is not there, another monitor's certificate, and no certificate.
    for wrong in [format!("\"{FOLDER}/nobody.crt\""), format!("\"{FOLDER}/monitor2.crt\""), "7".to_owned()] {
        tell(&deployment, &right, &with(&wrong), "the monitors stay who they were");
        tell(&deployment, &with(&wrong), &right, "the configuration's monitors are known");
    }
    let kinds: Vec<Value> = deployment.journal().unwrap().iter().map(|entry| entry["kind"].clone()).collect();
    assert_eq!(kinds, ["connected", "lease"]);
    assert_eq!(deployment.json("targets").unwrap()[0]["reach"], "reachable");
}

#[test]
fn while_a_key_is_rolled_over_both_are_good_and_afterwards_the_new_one_alone() {
    let trio = Trio::boot(100).unwrap();
    let deployment = installed(&trio, "auto");
    let first = deployment.first();
    let keys = |arguments: &str| first.backdoors(&format!("keys {arguments} --dir {FOLDER}")).unwrap();
    keys("roll --name monitor");
    let new = first.machine.shell(&format!("cat {FOLDER}/monitor.next.crt")).unwrap();
    deployment.target.write(&format!("{FOLDER}/monitor.next.crt"), &new).unwrap();
    let (old, both) = (
        format!("\"{FOLDER}/monitor.crt\""),
        format!("[\"{FOLDER}/monitor.crt\", \"{FOLDER}/monitor.next.crt\"]"),
    );
    let hello = |name: &str| result(first, &rogue(&deployment, first, name, "hello"));
    assert!(hello("monitor.next").is_err());
    tell(&deployment, &old, &both, "the configuration's monitors are known");
    for name in ["monitor", "monitor.next", "monitor"] {
        assert_eq!(hello(name).unwrap()["slot"], 0, "{name}");
    }
    keys("roll --name monitor --finish");
    assert_eq!(hello("monitor").unwrap()["slot"], 0);
    assert_eq!(hello("monitor.old").unwrap()["slot"], 0);
    tell(
        &deployment,
        &both,
        &format!("\"{FOLDER}/monitor.next.crt\""),
        "the configuration's monitors are known",
    );
    assert!(hello("monitor.old").unwrap_err().contains("the target does not know this monitor"));
    assert_eq!(hello("monitor").unwrap()["slot"], 0);
    let listed: Value = serde_json::from_str(&keys("list --json")).unwrap();
    let of =
        |name: &str| listed.as_array().unwrap().iter().find(|line| line["name"] == name).cloned().unwrap();
    assert_eq!((&of("monitor")["private_key"], &of("target")["private_key"]), (&true.into(), &false.into()));
    assert_ne!(of("monitor")["fingerprint"], of("monitor.old")["fingerprint"]);
}
