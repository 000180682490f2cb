//! Two monitors of one target: one acts, the other stands by; it takes over when the first is gone and gives back when
//! the first is fit again.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Watcher};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Trio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// A user of the target; no others on the machine have this number.
const USER: u32 = 61_301;

/// A target with two monitors, the first of which is preferred, and holds the lease.
fn preferring_the_first(trio: &Trio) -> Deployment<'_, Host> {
    let mut plan = plan("emulated", "");
    plan.watch =
        "period = \"20ms\"\nlease = { duration = \"1s\", preference = 1, take_back_after = \"2s\" }\n"
            .to_owned();
    plan.healers.clear();
    let mut deployment = trio.install(plan).unwrap();
    trio.monitor2.shell("sed -i 's/preference = 1/preference = 0/' /run/backdoors/monitor.toml").unwrap();
    deployment.watchers[0].start().unwrap();
    wait_for_holder(&deployment.watchers[0]);
    deployment.watchers[1].start().unwrap();
    deployment
}

fn holds(watcher: &Watcher<'_, Host>) -> bool {
    watcher.json("targets").unwrap()[0]["holds_lease"] == true
}

fn wait_for_holder(watcher: &Watcher<'_, Host>) {
    let what = format!("{} to hold the lease", watcher.name);
    watcher.machine.wait_for(&what, PATIENCE, || Ok(holds(watcher).then_some(()))).unwrap();
}

#[test]
fn a_backup_takes_over_from_a_monitor_that_stands_still_and_gives_back_when_it_is_fit_again() {
    let trio = Trio::boot(200).unwrap();
    let deployment = preferring_the_first(&trio);
    let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };

    // The backup watches, and is told to leave the repair to the other.
    deployment.target.shell_as(USER, "sleep 1000 & wait").unwrap();
    let victims = |wanted: usize| {
        let reached = || Ok((deployment.target.processes_of(USER)? == wanted).then_some(()));
        deployment.target.wait_for("victims", PATIENCE, reached).unwrap();
    };
    victims(2);
    let (code, text) = second.try_backdoors(&format!("heal target --uid {USER}")).unwrap();
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("the monitor in slot 0 of the target holds its lease"), "{text}");
    victims(2);

    first.machine.signal("STOP", first.daemon).unwrap();
    wait_for_holder(second);
    let healed = second.json(&format!("heal target --uid {USER}")).unwrap();
    assert_eq!(healed["outcome"], "done", "{healed}");
    victims(0);

    // It wakes up, sees that it has lost the lease, and gets it back only when it was fit for a while.
    first.machine.signal("CONT", first.daemon).unwrap();
    wait_for_holder(first);
    // What is noted is written a moment later.
    let texts = || -> Vec<String> {
        let journal = second.journal().unwrap();
        let leases = journal.iter().filter(|entry| entry["kind"] == "lease");
        leases.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
    };
    second.machine.wait_for("the journal", PATIENCE, || Ok((texts().len() >= 2).then_some(()))).unwrap();
    let texts = texts();
    assert!(texts[0].ends_with("that of the monitor in slot 0 had run out"), "{texts:?}");
    assert_eq!(texts[1], "gave the lease back to the monitor in slot 0, which is preferred");
    assert!(!holds(second));
}

#[test]
fn a_monitor_that_is_told_to_stop_gives_the_lease_up_at_once() {
    let trio = Trio::boot(200).unwrap();
    let deployment = preferring_the_first(&trio);
    let [first, second] = &deployment.watchers[..] else { panic!("two monitors") };
    first.machine.signal("TERM", first.daemon).unwrap();
    wait_for_holder(second);
    let journal = first.journal().unwrap();
    let last = journal.iter().rfind(|entry| entry["kind"] == "lease").unwrap();
    assert_eq!(last["text"], "gave the lease up: this monitor stops");
}
