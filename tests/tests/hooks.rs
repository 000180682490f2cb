//! Repair that does not kill, by the command line: signals, variables that the target offers, hooks of applications.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, Plan};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use std::time::Duration;

const SOCKET: &str = "/run/backdoors/applications.sock";
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit codes of `backdoors`.
const FAILED: i32 = 1;
const REFUSED: i32 = 2;
const NOT_DONE: i32 = 4;

fn install(pair: &Pair) -> Deployment<'_, Host> {
    let variable = "[[variable]]\nname = \"workers\"\nfile = \"/run/workers\"\nleast = 1\nmost = 64\n";
    let agent = format!("applications = \"{SOCKET}\"\nscope = \"pid-namespace\"\n{variable}");
    pair.target.shell("echo 8 > /run/workers").unwrap();
    let mut deployment = pair.install(Plan { provider: "emulated", agent, ..Plan::default() }).unwrap();
    deployment.start_daemon().unwrap();
    deployment
}

#[test]
fn an_applications_hook_is_called_by_its_name_and_answers_for_itself() {
    let pair = Pair::boot(200).unwrap();
    let deployment = install(&pair);
    let ticker = pair.target.program("backdoors-ticker").unwrap();
    pair.target.start(&format!("{ticker} {SOCKET} shop 100 500 7"), "/run/shop.log").unwrap();
    let offered = || {
        let offers = deployment.json("offers target")?;
        Ok((offers["hooks"].as_array().map(Vec::len) == Some(1)).then_some(offers))
    };
    let offers = pair.target.wait_for("the hook", PATIENCE, offered).unwrap();
    assert_eq!(
        (&offers["hooks"][0]["application"], &offers["hooks"][0]["hook"]),
        (&"shop".into(), &"level".into())
    );
    let level = || -> Option<u64> {
        let sensors = deployment.json("sensors target").ok()?;
        let sensors = sensors["applications"][0]["sensors"].as_array()?.clone();
        sensors.iter().find(|sensor| sensor["name"].as_str().is_some_and(|name| name.ends_with("level")))?["value"].as_u64()
    };
    pair.target.wait_for("the level", PATIENCE, || Ok((level() == Some(7)).then_some(()))).unwrap();
    let said = deployment.backdoors("heal target --call shop level 40").unwrap();
    assert!(said.contains("done"), "{said}");
    pair.target.wait_for("the word", PATIENCE, || Ok((level() == Some(40)).then_some(()))).unwrap();
    // It says itself that it failed, and by which code.
    let (code, said) = deployment.try_backdoors("heal target --call shop level 13").unwrap();
    assert!(code == NOT_DONE && said.contains("failed") && said.contains('2'), "{code} {said}");
    for (wrong, why) in
        [("shop level 1001", "0 to 1000"), ("shop lever 1", "no hook"), ("mail level 1", "`mail`")]
    {
        let (code, said) = deployment.try_backdoors(&format!("heal target --call {wrong}")).unwrap();
        assert!(
            code == FAILED && said.contains(why) && said.contains("nothing was written"),
            "{code} {said}"
        );
    }
    assert_eq!(level(), Some(40));
}

#[test]
fn a_variable_that_is_offered_is_set_by_its_name_while_the_agent_is_frozen() {
    let pair = Pair::boot(200).unwrap();
    let deployment = install(&pair);
    deployment.freeze_agent().unwrap();
    let offers = deployment.json("offers target").unwrap();
    assert_eq!(
        (&offers["variables"][0]["name"], &offers["variables"][0]["value"]),
        (&"workers".into(), &8.into())
    );
    let said = deployment.backdoors("heal target --set workers 3").unwrap();
    assert!(said.contains("done"), "{said}");
    assert_eq!(pair.target.shell("cat /run/workers").unwrap().trim(), "3");
    assert_eq!(deployment.json("offers target").unwrap()["variables"][0]["value"], 3);
    for (wrong, why) in [("workers 65", "1 to 64"), ("pid_max 3", "no variable")] {
        let (code, said) = deployment.try_backdoors(&format!("heal target --set {wrong}")).unwrap();
        assert!(code == FAILED && said.contains(why), "{code} {said}");
    }
    assert_eq!(pair.target.shell("cat /run/workers").unwrap().trim(), "3");
}

#[test]
fn what_the_target_does_not_let_a_monitor_do_it_refuses() {
    let pair = Pair::boot(200).unwrap();
    let deployment = install(&pair);
    // The only monitor's table is the last of the file.
    let only = "echo 'may = [\"signal-process\"]' >> /run/backdoors/agent.toml";
    pair.target.shell(&format!("{only}; kill -HUP {}", deployment.agent)).unwrap();
    let sleeper = pair
        .target
        .start("setpriv --reuid 61241 --regid 61241 --clear-groups sleep 1000", "/run/sleeper.log")
        .unwrap();
    let known = || Ok(deployment.backdoors("ps target")?.contains(&format!("{sleeper} ")).then_some(()));
    pair.target.wait_for("the sleeper", PATIENCE, known).unwrap();
    for deed in
        ["--set workers 3".to_owned(), format!("--pid {sleeper}"), format!("--pid {sleeper} --nice 5")]
    {
        let (code, said) = deployment.try_backdoors(&format!("heal target {deed}")).unwrap();
        assert!(code == REFUSED && said.contains("does not allow"), "{code} {said}");
    }
    let stopped =
        || Ok(pair.target.shell(&format!("cat /proc/{sleeper}/stat"))?.contains(") T ").then_some(()));
    deployment.backdoors(&format!("heal target --pid {sleeper} --stop")).unwrap();
    pair.target.wait_for("a stopped process", PATIENCE, stopped).unwrap();
    assert_eq!(pair.target.shell("cat /run/workers").unwrap().trim(), "8");
}
