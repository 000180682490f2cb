//! A target whose user half fills the sensor box from `/proc`, as on a machine without eBPF.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use backdoors_tests::healing::plan;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use serde_json::Value;
use std::time::Duration;

const CULPRIT: u32 = 61_011;
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_user_half_shows_the_same_sensors_kills_on_command_and_says_what_it_is() {
    let pair = Pair::boot(250).unwrap();
    let mut plan = plan("emulated", "");
    plan.agent.insert_str(0, "mode = \"procfs\"\n");
    plan.healers.clear();
    let mut deployment = pair.install(plan).unwrap();
    deployment.start_daemon().unwrap();

    pair.target.shell_as(CULPRIT, "for i in $(seq 20); do sleep 1000 & done; wait").unwrap();
    let sensors = || -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&deployment.backdoors("sensors target --json")?)?)
    };
    let name = format!("user.processes[{CULPRIT}]");
    let shown = || {
        let sensors = sensors()?;
        let mut rows = sensors["sensors"].as_array().into_iter().flatten();
        Ok(rows.any(|row| row["name"] == name.as_str() && row["value"] == 21).then_some(()))
    };
    pair.target.wait_for("the culprit's processes in the box", PATIENCE, shown).unwrap();
    let text = sensors().unwrap().to_string();
    assert!(text.contains("\"procfs\"") && text.contains("\"helper-kills\""), "{text}");
    assert!(!text.contains("kernel-half"), "{text}");

    let refused = deployment.backdoors(&format!("heal target --pid {}", deployment.agent)).unwrap_err();
    // Two stands for a refusal by the target.
    assert!(format!("{refused:#}").contains("exit status: 2"), "{refused:#}");
    deployment.backdoors(&format!("heal target --uid {CULPRIT} --json")).unwrap();
    assert_eq!(pair.target.processes_of(CULPRIT).unwrap(), 0);
}
