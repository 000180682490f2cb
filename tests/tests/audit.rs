//! What a target's own record tells of what was done to it, read without the help of its processors.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_sensor_box::Opcode;
use backdoors_tests::deployment::{Deployment, FOLDER};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use backdoors_tests::rogue::{deed_of, order};
use serde_json::Value;
use std::time::Duration;

/// Users of the target; no others on the machine have these numbers.
const BOMBER: u32 = 61_801;
const OTHER: u32 = 61_802;
const PATIENCE: Duration = Duration::from_secs(60);
const ACT: &str = "[[target.healer]]\nname = \"forkbomb\"\nmode = \"act\"\n";
const PROPOSE: &str = "[[target.healer]]\nname = \"forkbomb\"\nmode = \"propose\"\n";

fn deployed<'p>(pair: &'p Pair, mode: &str, healers: &str) -> Deployment<'p, Host> {
    let mut plan = plan("emulated", "");
    healers.clone_into(&mut plan.healers);
    plan.agent = format!("scope = \"pid-namespace\"\nmode = \"{mode}\"\n[limits]\n\"user.processes\" = 20\n");
    pair.install(plan).unwrap()
}

/// The first record like that.
fn record(deployment: &Deployment<'_, Host>, is_it: impl Fn(&Value) -> bool) -> Value {
    let look = || {
        // It may not be connected yet.
        let Ok(answer) = deployment.json("audit target") else { return Ok(None) };
        Ok(answer["records"].as_array().and_then(|all| all.iter().find(|record| is_it(record)).cloned()))
    };
    deployment.monitor.wait_for("a record", PATIENCE, look).unwrap()
}

#[test]
fn the_record_tells_a_healed_bomb_and_a_refused_stranger_also_while_the_agent_is_frozen() {
    for mode in ["auto", "procfs"] {
        let pair = Pair::boot(100).unwrap();
        let mut deployment = deployed(&pair, mode, ACT);
        // A stranger in the monitor's slot, before the monitor is there: what it wrote is not sealed with the key.
        let deed = format!("{} --other-key 255", order(Opcode::KillUser, OTHER));
        deed_of(&deployment, deployment.first(), &deed).unwrap();
        deployment.start_daemon().unwrap();
        pair.target.shell_as(BOMBER, "for i in $(seq 25); do sleep 1000 & done; wait").unwrap();
        let ended = record(&deployment, |record| record["kind"] == "ended");
        assert_eq!((&ended["opcode"], &ended["subject"]), (&"kill-user".into(), &BOMBER.into()), "{ended}");
        assert_eq!((&ended["state"], &ended["slot"]), (&"done".into(), &0.into()), "{ended}");
        assert!(ended["signalled"].as_u64().unwrap() >= 20, "{ended}");
        let why = ended["reason"].as_str().unwrap();
        assert!(why.starts_with(&format!("forkbomb: user {BOMBER}")), "{ended}");
        let order_text = format!("backdoors heal target --uid {BOMBER}");
        assert!(ended["order"].as_str().unwrap().starts_with(&order_text), "{ended}");
        let judged = record(&deployment, |record| record["subject"] == BOMBER);
        assert_eq!((&judged["kind"], &judged["outcome"]), (&"judged".into(), &"accepted".into()), "{judged}");
        assert_eq!((&judged["reason"], &judged["whose"]), (&ended["reason"], &ended["whose"]), "{judged}");
        let refused = record(&deployment, |record| record["subject"] == OTHER);
        assert_eq!((&refused["state"], &refused["kind"]), (&"refused".into(), &"judged".into()), "{refused}");
        assert!(refused["refusal"].as_str().unwrap().starts_with("not authentic"), "{refused}");
        if mode == "auto" {
            let config = format!("{FOLDER}/agent.toml");
            let agent = pair.target.program("backdoors-agent").unwrap();
            let own = pair.target.shell(&format!("{agent} audit --config {config}")).unwrap();
            assert!(own.contains(&format!("kill-user {BOMBER}")) && own.contains(why), "{own}");
        }
        deployment.freeze_agent().unwrap();
        let text = deployment.backdoors("audit target --last 100").unwrap();
        assert!(text.contains(&order_text) && text.contains(why) && text.contains("not authentic"), "{text}");
    }
}

#[test]
fn a_proposal_is_in_the_record_though_nothing_was_done() {
    let pair = Pair::boot(100).unwrap();
    let mut deployment = deployed(&pair, "auto", PROPOSE);
    deployment.start_daemon().unwrap();
    pair.target.shell_as(BOMBER, "for i in $(seq 25); do sleep 1000 & done; wait").unwrap();
    let told = record(&deployment, |record| record["outcome"] == "told");
    let proposals = deployment.json("proposals target").unwrap();
    let expected = format!("proposal {} of forkbomb: user {BOMBER}: ", proposals[0]["id"]);
    assert!(told["reason"].as_str().unwrap().starts_with(&expected), "{told} {proposals}");
    assert!(pair.target.processes_of(BOMBER).unwrap() > 20);
}
