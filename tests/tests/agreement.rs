//! Two monitors whose target obeys them only if both want the same: the one that holds the lease gives the command, the other
//! one's healer comes to the same diagnosis by itself and votes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::healing::plan;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Trio;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// A user of the target; no others on the machine have this number.
const USER: u32 = 61_401;
const CROWD: &str = "i=0; while [ $i -lt 170 ]; do sleep 1000 & i=$((i+1)); done; wait; exec sleep 1000";

#[test]
fn a_crowd_is_killed_only_when_both_monitors_want_it_while_the_agent_is_frozen() {
    let trio = Trio::boot(200).unwrap();
    let mut plan = plan("emulated", "");
    plan.agent.push_str("[agreement]\nneeded = 2\nwindow = \"1s\"\ncommands = [\"kill-user\"]\n");
    let mut deployment = trio.install(plan).unwrap();
    deployment.watchers[0].start().unwrap();
    deployment.wait_for_entry("lease", 0, PATIENCE).unwrap();
    deployment.target.shell_as(USER, CROWD).unwrap();
    let refused = deployment.wait_for_entry("refused", 0, PATIENCE).unwrap();
    assert!(refused["text"].as_str().unwrap().contains("too few monitors wanted the same"), "{refused}");
    assert!(deployment.target.processes_of(USER).unwrap() > 150);

    deployment.watchers[1].start().unwrap();
    deployment.freeze_agent().unwrap();
    let gone = || Ok((deployment.target.processes_of(USER)? == 0).then_some(()));
    let gone = deployment.target.wait_for("the death of all", PATIENCE, gone);
    gone.unwrap_or_else(|error| panic!("{error}\n{}", deployment.logs()));
    deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
    let voted = deployment.watchers[1].wait_for_entry("voted", 0, PATIENCE).unwrap();
    assert!(voted["text"].as_str().unwrap().ends_with(&format!("a vote for kill-user {USER}")), "{voted}");
    assert!(!deployment.watchers[1].journal().unwrap().iter().any(|entry| entry["kind"] == "repaired"));
}
