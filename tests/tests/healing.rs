//! The main job on two hosts: what a monitor does about a bomb, by itself and when it is told to.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::Deployment;
use backdoors_tests::healing::useful::{Round, median_and_longest, rounds};
use backdoors_tests::healing::{BOMB, Healing, plan};
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use serde_json::Value;
use std::time::{Duration, Instant};

/// The users of a host. No others on the machine have these numbers.
const CULPRIT: u32 = 61_001;
const BYSTANDER: u32 = 61_002;
/// More than the limit on a user's processes, and not so many that the tests beside this one suffer.
const MOST: u64 = 250;
const PATIENCE: Duration = Duration::from_secs(30);

/// As many processes as make an event, none of which ever runs.
const SLEEPERS: &str = "for i in $(seq 180); do sleep 1000 & done; wait";

fn index(journal: &[Value], kind: &str) -> usize {
    journal
        .iter()
        .position(|entry| entry["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}: {journal:#?}"))
}

/// Process ids of a user's living processes.
fn pids(host: &Host, user: u32) -> Vec<u32> {
    let script = format!(
        "for p in /proc/[0-9]*; do awk '/^State:/ {{ s = $2 }} /^Uid:/ {{ u = $2 }} /^Pid:/ {{ p = $2 }} \
         END {{ if (u == {user} && s != \"Z\" && s != \"X\") print p }}' $p/status 2>/dev/null; done; true"
    );
    host.shell(&script).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

fn wait_for_processes(host: &Host, user: u32, right: impl Fn(usize) -> bool) -> usize {
    host.wait_for("a user's processes", PATIENCE, || {
        let count = host.processes_of(user)?;
        Ok(right(count).then_some(count))
    })
    .unwrap()
}

/// A host whose monitor runs and whose healer may only propose.
fn proposing(pair: &Pair) -> Deployment<'_, Host> {
    let mut plan = plan("emulated", "");
    plan.healers = "[[target.healer]]\nname = \"forkbomb\"\nmode = \"propose\"\n".to_owned();
    let mut deployment = pair.install(plan).unwrap();
    deployment.start_daemon().unwrap();
    deployment
}

#[test]
fn a_fork_bomb_is_eradicated_while_the_agent_is_frozen_and_the_journal_tells_how() {
    let pair = Pair::boot(MOST).unwrap();
    let mut deployment = pair.install(plan("emulated", "chrt --rr 10")).unwrap();
    deployment.start_daemon().unwrap();
    let calm = Duration::from_secs(1);
    let healing = Healing { user: CULPRIT, processes: MOST as u32, calm, patience: PATIENCE };
    // It sees to it that the agent is frozen, and stays so until the last process of the bomb is gone.
    let report = healing.watch(&deployment).unwrap();

    let kinds = ["event", "diagnosis", "command-written", "acknowledged", "repaired"];
    let places = kinds.map(|kind| index(&report.journal, kind));
    assert!(places.is_sorted(), "{:#?}", report.journal);
    let entry = |kind| &report.journal[index(&report.journal, kind)];
    let sensor = entry("event")["sensor"].as_str().unwrap();
    assert!(sensor.starts_with("user.") && sensor.contains(&CULPRIT.to_string()), "{sensor}");
    let diagnosis = entry("diagnosis");
    assert_eq!(diagnosis["healer"], "forkbomb");
    assert!(diagnosis["text"].as_str().unwrap().contains(&CULPRIT.to_string()), "{diagnosis}");
    let evidence = diagnosis["evidence"].as_array().unwrap();
    assert!(evidence.iter().any(|evidence| !evidence["text"].as_str().unwrap().is_empty()), "{diagnosis}");
    assert_eq!(entry("command-written")["opcode"], "kill-user");
    assert_eq!(entry("command-written")["subject"], CULPRIT);
    assert!(entry("repaired")["signalled"].as_u64().unwrap() > 0);
    assert_eq!(entry("repaired")["remaining"], 0);

    // The tests beside this one have bombs too, but none that lasts.
    let [(_, before), ..] = report.phases();
    let (before, _) = median_and_longest(&before).unwrap();
    let mut seen = (0.0, 0.0);
    pair.target
        .wait_for("the useful program to be as fast as before", PATIENCE, || {
            let rounds = rounds(&pair.target.shell("cat /run/backdoors/useful.log")?);
            let after: Vec<Round> = rounds.into_iter().filter(|round| round.at > report.gone_at).collect();
            let last = &after[after.len().saturating_sub(7)..];
            seen = median_and_longest(last).unwrap_or(seen);
            Ok((last.len() == 7 && seen.0 <= 3.0 * before).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: median {before} before, {seen:?} after"));
}

#[test]
fn a_bomb_lives_on_without_a_monitor_and_dies_once_there_is_one() {
    let pair = Pair::boot(MOST).unwrap();
    let mut deployment = pair.install(plan("emulated", "chrt --rr 10")).unwrap();
    deployment.target.shell_as(CULPRIT, BOMB).unwrap();
    wait_for_processes(&pair.target, CULPRIT, |count| count > 150);
    // Many times as long as a repair takes.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert_ne!(pair.target.processes_of(CULPRIT).unwrap(), 0, "the bomb ended by itself");
    }
    deployment.start_daemon().unwrap();
    deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
    wait_for_processes(&pair.target, CULPRIT, |count| count == 0);
}

#[test]
fn a_bomb_of_sleepers_dies_and_nobody_else_does() {
    let pair = Pair::boot(MOST).unwrap();
    let mut plan = plan("emulated", "");
    // On a fast machine their rate would be exceptional before their number.
    plan.agent.push_str("\"user.fork_rate\" = 1000000\n");
    let mut deployment = pair.install(plan).unwrap();
    pair.target.shell_as(BYSTANDER, "sleep 1000 & sleep 1000 & while :; do :; done").unwrap();
    pair.target.start("sleep 1000", "/dev/null").unwrap();
    wait_for_processes(&pair.target, BYSTANDER, |count| count == 3);
    deployment.start_daemon().unwrap();
    // What root runs for longer than this look at it.
    let lasting = || -> Vec<u32> {
        let (first, second) = (pids(&pair.target, 0), pids(&pair.target, 0));
        first.into_iter().filter(|pid| second.contains(pid)).collect()
    };
    let (roots, bystanders) = (lasting(), pids(&pair.target, BYSTANDER));

    pair.target.shell_as(CULPRIT, SLEEPERS).unwrap();
    let repaired = deployment.wait_for_entry("repaired", 0, PATIENCE).unwrap();
    assert!(repaired["signalled"].as_u64().unwrap() > 150, "{repaired}");
    wait_for_processes(&pair.target, CULPRIT, |count| count == 0);
    assert_eq!(pids(&pair.target, BYSTANDER), bystanders);
    let after = pids(&pair.target, 0);
    assert!(roots.len() >= 5 && roots.iter().all(|pid| after.contains(pid)), "{roots:?} {after:?}");
}

#[test]
fn a_healer_that_may_only_propose_kills_nobody_and_its_proposal_can_be_carried_out() {
    let pair = Pair::boot(MOST).unwrap();
    let deployment = proposing(&pair);
    pair.target.shell_as(CULPRIT, SLEEPERS).unwrap();
    let proposal = deployment.wait_for_entry("proposal", 0, PATIENCE).unwrap();
    let order = proposal["orders"][0].as_str().unwrap().strip_prefix("backdoors ").unwrap().to_owned();
    assert_eq!(order, format!("heal target --uid {CULPRIT}"));
    let all = wait_for_processes(&pair.target, CULPRIT, |count| count == 181);

    let counted = deployment.json(&format!("{order} --dry-run")).unwrap();
    assert_eq!((&counted["outcome"], &counted["dry_run"]), (&"done".into(), &true.into()), "{counted}");
    assert_eq!(counted["end"]["matched"], all, "{counted}");
    assert_eq!(counted["end"]["signalled"], 0, "{counted}");
    assert_eq!(counted["matching"], all, "{counted}");
    assert_eq!(pair.target.processes_of(CULPRIT).unwrap(), all);
    let journal = deployment.journal().unwrap();
    assert!(journal.iter().all(|entry| entry["kind"] != "command-written" || entry["dry_run"] == true));

    // The number stands for the same command.
    let approval = proposal["approval"].as_str().unwrap().strip_prefix("backdoors ").unwrap().to_owned();
    assert_eq!(approval, format!("approve target {}", proposal["proposal"]));
    let killed = deployment.json(&approval).unwrap();
    assert_eq!((&killed["outcome"], &killed["end"]["signalled"]), (&"done".into(), &all.into()), "{killed}");
    wait_for_processes(&pair.target, CULPRIT, |count| count == 0);
}

#[test]
fn one_process_dies_or_a_tree_and_their_kin_live_on() {
    let pair = Pair::boot(MOST).unwrap();
    let deployment = proposing(&pair);
    // The first bash, and below it a sleep of its own and a bash with two more.
    let script = "sleep 1000 & bash -c 'sleep 2000 & sleep 2000 & wait' & wait; sleep 3000";
    pair.target.shell_as(CULPRIT, script).unwrap();
    wait_for_processes(&pair.target, CULPRIT, |count| count == 5);
    let rows = || -> Vec<Value> {
        let all = deployment.json("ps target").unwrap();
        all["processes"].as_array().unwrap().iter().filter(|row| row["user"] == CULPRIT).cloned().collect()
    };
    let rows_then = rows();
    let is_shell = |row: &&Value| row["command"] == "bash";
    let inner = rows_then
        .iter()
        .filter(is_shell)
        .find(|row| rows_then.iter().any(|other| is_shell(&other) && other["pid"] == row["parent"]))
        .expect("a shell below a shell");
    let own = rows_then
        .iter()
        .find(|row| row["command"] == "sleep" && row["parent"] == inner["parent"])
        .expect("the outer shell's sleep");

    let killed = deployment.json(&format!("heal target --pid {}", own["pid"])).unwrap();
    assert_eq!(killed["end"]["signalled"], 1, "{killed}");
    wait_for_processes(&pair.target, CULPRIT, |count| count == 4);
    let killed = deployment.json(&format!("heal target --tree {}", inner["pid"])).unwrap();
    assert_eq!(killed["end"]["signalled"], 3, "{killed}");
    // The outer shell has nobody left to wait for, and becomes its last sleep.
    wait_for_processes(&pair.target, CULPRIT, |count| count == 1);
    assert!(rows().iter().any(|row| row["pid"] == inner["parent"]));
}

#[test]
fn programs_can_read_what_people_can() {
    let pair = Pair::boot(MOST).unwrap();
    let deployment = proposing(&pair);
    pair.target.shell_as(BYSTANDER, "exec sleep 1000").unwrap();
    wait_for_processes(&pair.target, BYSTANDER, |count| count == 1);

    let targets = deployment.json("targets").unwrap();
    let summary = &targets.as_array().unwrap()[0];
    assert_eq!((&summary["name"], &summary["reach"]), (&"target".into(), &"reachable".into()));
    let capabilities = summary["capabilities"].as_array().unwrap();
    assert!(capabilities.contains(&"kernel-half".into()) && capabilities.contains(&"scoped".into()));

    let processes = deployment.json("ps target").unwrap();
    let row = |of: &dyn Fn(&Value) -> bool| {
        processes["processes"].as_array().unwrap().iter().find(|row| of(row)).cloned().unwrap()
    };
    assert_eq!(row(&|row| row["user"] == BYSTANDER)["command"], "sleep");
    assert_eq!(row(&|row| row["pid"] == 1)["parent"], 0);
    for protected in [deployment.agent, deployment.owner] {
        assert_eq!(row(&|row| row["pid"] == protected)["protected"], true, "{processes:#}");
    }

    // A user's sensor comes with the next sample.
    let name = format!("user.processes[{BYSTANDER}]");
    let sensors = pair
        .target
        .wait_for("a sensor", PATIENCE, || {
            let sensors = deployment.json("sensors target")?;
            let found = sensors["sensors"].as_array().unwrap().iter().any(|row| row["name"] == name.as_str());
            Ok(found.then_some(sensors))
        })
        .unwrap();
    for (name, value) in [(name.as_str(), Some(1)), ("kernel.timer", None), ("agent.heartbeat", None)] {
        let row = sensors["sensors"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        assert!(value.is_none_or(|value: u64| row["value"] == value), "{row}");
        assert_eq!(row["exceeded"], false, "{row}");
    }

    let lines = deployment.backdoors("events target --json").unwrap();
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries, deployment.journal().unwrap());
    assert_eq!(entries[0]["kind"], "connected");
}

#[test]
fn exit_codes_tell_refusals_from_giving_up_and_from_silence() {
    let pair = Pair::boot(MOST).unwrap();
    let mut plan = plan("emulated", "");
    plan.healers.clear();
    plan.watch = "period = \"20ms\"\nlost_after = \"300ms\"\npatience = \"2s\"\n".to_owned();
    let mut deployment = pair.install(plan).unwrap();
    let expect = |deployment: &Deployment<'_, Host>, arguments: &str, code: i32, words: &str| {
        let (found, printed) = deployment.try_backdoors(arguments).unwrap();
        assert_eq!(found, code, "`{arguments}`: {printed}");
        assert!(printed.contains(words), "`{arguments}`: {printed}");
    };
    expect(&deployment, "targets", 1, "monitor");
    deployment.start_daemon().unwrap();
    pair.target.shell_as(BYSTANDER, "sleep 1000 & sleep 1000 & wait").unwrap();
    wait_for_processes(&pair.target, BYSTANDER, |count| count == 3);

    expect(&deployment, "targets", 0, "target");
    expect(&deployment, "heal target", 64, "--uid");
    expect(&deployment, "sensors nowhere", 1, "no target is called `nowhere`");
    expect(&deployment, "heal target --uid somebody", 1, "user `somebody` is unknown");
    expect(&deployment, "heal target --pid 999999", 1, "no process 999999");
    expect(&deployment, "heal target --uid 0", 2, "a spared user");
    expect(&deployment, "heal target --tree 1", 2, "the init process");
    expect(&deployment, &format!("heal target --pid {}", deployment.agent), 2, "the agent itself");
    // One of three may die; the target waits some seconds for the others before it gives them up.
    expect(&deployment, &format!("heal target --uid {BYSTANDER} --most 1"), 4, "");
    wait_for_processes(&pair.target, BYSTANDER, |count| count == 2);

    let known = deployment.journal().unwrap().len();
    pair.target.signal("KILL", deployment.owner).unwrap();
    deployment.wait_for_entry("lost", known, PATIENCE).unwrap();
    expect(&deployment, &format!("heal target --uid {BYSTANDER}"), 3, "cannot be reached");
    expect(&deployment, "ps target", 3, "");
    expect(&deployment, "targets", 0, "lost");
}
