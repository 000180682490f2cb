//! A monitor makes a target silent on its service address by an order, also while the target's agent is frozen, and lets it speak again.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::pair::Pair;
use serde_json::Value;

/// An address of the target's besides the one by which its memory is reached.
const SERVICE: &str = "10.88.0.80";

fn deployed(pair: &Pair) -> Deployment<'_, Host> {
    let mut plan = plan("emulated", "");
    plan.agent = format!("scope = \"pid-namespace\"\nservice_addresses = [\"{SERVICE}\"]\n");
    pair.target.shell(&format!("ip address add {SERVICE}/24 dev eth0")).unwrap();
    let mut deployment = pair.install(plan).unwrap();
    deployment.start_daemon().unwrap();
    deployment
}

fn answers(pair: &Pair) -> bool {
    pair.monitor.shell(&format!("ping -c 1 -W 1 {SERVICE}")).is_ok()
}

fn kinds(deployment: &Deployment<'_, Host>) -> Vec<String> {
    let all = deployment.journal().unwrap();
    let of = all.iter().filter(|entry| entry["kind"].as_str().is_some_and(|kind| kind.starts_with("fence")));
    of.map(|entry: &Value| entry["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_frozen_target_is_fenced_by_an_order_and_speaks_again_when_the_fence_is_lifted() {
    let pair = Pair::boot(100).unwrap();
    let deployment = deployed(&pair);
    assert!(answers(&pair));
    let look = deployment.backdoors("fence target --dry-run").unwrap();
    assert!(
        look.starts_with(&format!("target is not fenced\na fence would hold, for {SERVICE}\n")),
        "{look}"
    );
    assert!(answers(&pair) && kinds(&deployment).is_empty());

    deployment.freeze_agent().unwrap();
    let set = deployment.json("fence target").unwrap();
    assert_eq!((&set["by_this"], &set["addresses"][0]), (&true.into(), &SERVICE.into()), "{set}");
    assert!(!answers(&pair));
    let told = deployment.backdoors("fence target --dry-run").unwrap();
    assert!(told.starts_with(&format!("target is fenced: it sends nothing from {SERVICE}\n")), "{told}");
    assert!(deployment.json("fence target --dry-run").unwrap()["withheld"].as_u64() > Some(0));

    let lifted = deployment.json("fence target --lift").unwrap();
    assert_eq!((&lifted["by_this"], &lifted["by_another"]), (&false.into(), &false.into()), "{lifted}");
    assert!(answers(&pair));
    let kinds = kinds(&deployment);
    let [fenced, lifted] = &kinds[..] else { panic!("{kinds:?}") };
    assert!(fenced.starts_with("fenced: it sends nothing from its service addresses (by user 0"), "{fenced}");
    assert!(lifted.starts_with("the fence of this monitor is lifted (by user 0"), "{lifted}");
}

#[test]
fn a_target_without_service_addresses_is_not_fenced_and_the_remedy_is_named() {
    let pair = Pair::boot(100).unwrap();
    let mut deployment = pair.install(plan("emulated", "")).unwrap();
    deployment.start_daemon().unwrap();
    let (code, said) = deployment.try_backdoors("fence target").unwrap();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("name `service_addresses` in its agent's configuration"), "{said}");
    let (_, entries) = deployment.try_backdoors("events").unwrap();
    assert!(entries.contains("not begun: backdoors fence target (by user 0"), "{entries}");
}
